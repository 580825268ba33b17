import numpy as np
import pytest
from scipy import special

from bayesgrid.acquisition.projected_normal import projected_normal_moments
from bayesgrid.errors import ConfigurationError, DataError


def _rows(seed, responses, size, variance, spread=0.3):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(responses, size))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means, variance * np.exp(spread * rng.normal(size=means.shape))


def _fine_quadrature(mean, variance, nodes=40_000):
    """Return the moments of one row on an even grid in log t, from the integrals as they are written."""
    logarithms = np.linspace(-100.0, 140.0, nodes)
    t = np.exp(logarithms)[:, None]
    width = logarithms[1] - logarithms[0]
    below = 1 + 2 * t * variance
    density = np.exp(-0.5 * np.log(below).sum(1) - (t * mean**2 / below).sum(1))
    tilted = mean / below
    first = np.sqrt(t[:, 0] / np.pi) * density * width
    second = t[:, 0] * density * width
    return first @ tilted, np.einsum("t,ti,tj->ij", second, tilted, tilted) + np.diag(second @ (variance / below))


@pytest.mark.parametrize("size", [1, 2, 6, 12])
@pytest.mark.parametrize("variance", [1e-6, 0.03, 1.0, 1e3])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_moments_are_those_of_a_far_finer_rule(size, variance, spread):
    means, variances = _rows(0, 3, size, variance, spread)
    moments = projected_normal_moments(means, variances)
    for row in range(3):
        mean, second = _fine_quadrature(means[row], variances[row])
        np.testing.assert_allclose(moments.mean[row], mean, atol=2e-12)
        np.testing.assert_allclose(moments.second_moment[row], second, atol=2e-12)


@pytest.mark.parametrize(("size", "variance"), [(2, 0.03), (6, 0.3), (12, 0.0067), (12, 2.0)])
def test_moments_are_those_of_draws(size, variance):
    means, variances = _rows(1, 2, size, variance)
    moments = projected_normal_moments(means, variances)
    rng = np.random.default_rng(2)
    for row in range(2):
        draws = means[row] + np.sqrt(variances[row]) * rng.normal(size=(50_000, size))
        draws /= np.linalg.norm(draws, axis=1, keepdims=True)
        products = np.einsum("si,sj->sij", draws, draws).reshape(len(draws), -1)
        for values, found in ((draws, moments.mean[row]), (products, moments.second_moment[row].ravel())):
            errors = (values.mean(axis=0) - found) / (values.std(axis=0) / np.sqrt(len(draws)))
            assert np.abs(errors).max() < 4.5


@pytest.mark.parametrize("variance", [0.0, 1e-12, 1e-9, 1e-6, 0.03, 1.0, 1e2, 1e8])
@pytest.mark.parametrize("size", [2, 12])
def test_the_trace_of_the_second_moment_is_one(variance, size):
    means, variances = _rows(3, 20, size, variance, 1.0)
    moments = projected_normal_moments(means, variances)
    np.testing.assert_allclose(np.einsum("naa->n", moments.second_moment), 1.0, atol=1e-13)
    np.testing.assert_array_equal(moments.second_moment, moments.second_moment.transpose(0, 2, 1))


def test_isotropic_means_shrink_as_the_closed_form_says():
    # |E v| = Gamma((d + 1) / 2) / (sqrt(2) Gamma(d / 2 + 1)) r 1F1(1/2; d/2 + 1; -r^2 / 2), with r = |m| / sd.
    for size, variance in ((2, 0.03), (6, 0.2), (12, 0.0067), (12, 5.0)):
        mean = np.zeros((1, size))
        mean[0, 1] = 1.0
        ratio = 1.0 / np.sqrt(variance)
        scale = np.exp(special.gammaln((size + 1) / 2) - special.gammaln(size / 2 + 1)) / np.sqrt(2)
        shrunk = scale * ratio * special.hyp1f1(0.5, size / 2 + 1, -(ratio**2) / 2)
        moments = projected_normal_moments(mean, np.full((1, size), variance))
        np.testing.assert_allclose(moments.mean[0], shrunk * mean[0], atol=1e-10)


def test_without_a_mean_every_direction_is_as_likely():
    moments = projected_normal_moments(np.zeros((1, 6)), np.full((1, 6), 0.4))
    np.testing.assert_array_equal(moments.mean, 0.0)
    np.testing.assert_allclose(moments.second_moment[0], np.eye(6) / 6, atol=1e-14)


def test_without_variance_the_embedding_is_its_direction():
    means, variances = _rows(4, 5, 8, 0.0)
    moments = projected_normal_moments(3.0 * means, variances)
    np.testing.assert_allclose(moments.mean, means, atol=1e-15)
    np.testing.assert_allclose(moments.second_moment, means[:, :, None] * means[:, None, :], atol=1e-15)


def test_nothing_jumps_where_the_first_order_takes_over():
    means, variances = _rows(5, 50, 6, 1.0)
    scale = 1e-8 / variances.sum(axis=1, keepdims=True)
    below, above = (projected_normal_moments(means, variances * scale * (1 + step)) for step in (-1e-9, 1e-9))
    covariances = [m.second_moment - m.mean[:, :, None] * m.mean[:, None, :] for m in (below, above)]
    # Covariances are of the order of 1e-9 here.
    np.testing.assert_allclose(covariances[0], covariances[1], atol=2e-14)
    np.testing.assert_allclose(below.mean, above.mean, atol=2e-14)


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_only_the_direction_matters(scale):
    means, variances = _rows(6, 4, 6, 0.2)
    one, other = (
        projected_normal_moments(means, variances),
        projected_normal_moments(scale * means, scale**2 * variances),
    )
    np.testing.assert_allclose(one.second_moment, other.second_moment, atol=1e-14)


@pytest.mark.parametrize(("nodes", "error"), [(80, 2e-9), (100, 5e-12), (120, 2e-13)])
def test_fewer_nodes_are_as_exact_as_promised(nodes, error):
    for variance in (1e-7, 0.03, 1.0, 1e4):
        means, variances = _rows(7, 20, 6, variance, 1.0)
        few, many = (projected_normal_moments(means, variances, count) for count in (nodes, 1000))
        assert np.abs(few.mean - many.mean).max() < error
        assert np.abs(few.second_moment - many.second_moment).max() < error


def test_a_row_that_is_not_finite_is_not_a_number_and_leaves_the_others_alone():
    means, variances = _rows(8, 3, 4, 0.1)
    whole = projected_normal_moments(means, variances)
    broken = variances.copy()
    broken[1, 2] = np.nan
    moments = projected_normal_moments(means, broken)
    assert np.isnan(moments.mean[1]).all()
    np.testing.assert_array_equal(moments.mean[[0, 2]], whole.mean[[0, 2]])


def test_impossible_input_is_refused():
    ones = np.ones((2, 4))
    with pytest.raises(DataError, match="do not belong together"):
        projected_normal_moments(ones, np.ones((2, 3)))
    with pytest.raises(DataError, match="negative"):
        projected_normal_moments(ones, -ones)
    with pytest.raises(DataError, match="response 1"):
        projected_normal_moments(ones * [[1], [0]], ones * [[1], [0]])
    with pytest.raises(ConfigurationError, match="nodes"):
        projected_normal_moments(ones, ones, nodes=8)
