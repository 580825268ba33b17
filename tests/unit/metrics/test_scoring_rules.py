import numpy as np
import pytest
import scoringrules
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.scoring_rules import (
    crps_from_cdf,
    crps_from_quantiles,
    ensemble_crps,
    gaussian_crps,
    mean_negative_log_density,
)

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def test_mean_negative_log_density_of_a_gaussian_sample_is_its_cross_entropy(generator):
    observed = generator.normal(size=40)
    log_density = stats.norm.logpdf(observed, 0.3, 1.7)
    expected = np.log(1.7) + 0.5 * np.log(2 * np.pi) + np.mean((observed - 0.3) ** 2) / (2 * 1.7**2)
    assert mean_negative_log_density(log_density) == pytest.approx(expected, rel=1e-12)


def test_an_observation_of_density_zero_costs_infinity():
    assert mean_negative_log_density([0.0, -np.inf]) == np.inf


@pytest.mark.parametrize("values", [[], [np.nan, 1.0], [np.inf], 3.0])
def test_mean_negative_log_density_refuses_what_is_no_log_density(values):
    with pytest.raises(DataError):
        mean_negative_log_density(values)


@pytest.mark.parametrize(("ours", "theirs"), [("fair", "fair"), ("plain", "nrg")])
def test_ensemble_crps_equals_scoringrules(generator, ours, theirs):
    draws = generator.normal(size=(7, 4, 21)) * 3
    observed = generator.normal(size=(7, 4)) * 5
    expected = scoringrules.crps_ensemble(observed, draws, estimator=theirs)
    np.testing.assert_allclose(ensemble_crps(draws, observed, estimator=ours), expected, rtol=1e-10)


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float64, st.integers(2, 12), elements=numbers), numbers)
def test_plain_ensemble_crps_is_the_integral_over_the_empirical_distribution(draws, observed):
    edges = np.sort(np.append(draws, observed))
    below = np.searchsorted(np.sort(draws), edges[:-1], side="right") / draws.size
    integrand = (below - (edges[:-1] >= observed)) ** 2
    expected = np.sum(integrand * np.diff(edges))
    assert ensemble_crps(draws, observed, estimator="plain") == pytest.approx(expected, abs=1e-8, rel=1e-9)


def test_fair_ensemble_crps_is_unbiased_and_plain_is_not(generator):
    draws = generator.normal(size=(40_000, 4))
    truth = gaussian_crps([0.0], [1.0], [0.5])[0]
    fair = ensemble_crps(draws, np.full(40_000, 0.5))
    error = fair.std() / np.sqrt(fair.size)
    assert abs(fair.mean() - truth) < 4 * error
    plain = ensemble_crps(draws, np.full(40_000, 0.5), estimator="plain").mean()
    # Half the mean distance of two draws, 1/sqrt(pi), divided by the number of draws.
    assert plain - truth == pytest.approx(1 / np.sqrt(np.pi) / 4, abs=4 * error)


def test_gaussian_crps_equals_scoringrules(generator):
    mean, observed = generator.normal(size=(2, 50))
    scale = generator.uniform(0.05, 4, 50)
    np.testing.assert_allclose(
        gaussian_crps(mean, scale, observed), scoringrules.crps_normal(observed, mean, scale), rtol=1e-9
    )


@pytest.mark.parametrize("distribution", [stats.norm(0.4, 2.1), stats.t(5, loc=1), stats.gamma(3.0)])
@pytest.mark.parametrize("observed", [-30.0, -0.7, 1.3, 40.0])
def test_crps_from_cdf_equals_adaptive_integration(distribution, observed):
    lower, upper = distribution.ppf(1e-9), distribution.ppf(1 - 1e-9)
    left = integrate.quad(lambda t: distribution.cdf(t) ** 2, min(lower, observed), observed, limit=400)[0]
    right = integrate.quad(lambda t: distribution.sf(t) ** 2, observed, max(upper, observed), limit=400)[0]
    result = crps_from_cdf(distribution.cdf, [observed], lower=[lower], upper=[upper], nodes=512)
    assert result[0] == pytest.approx(left + right, rel=1e-4)


def test_crps_from_cdf_with_the_default_nodes_is_exact_to_a_millionth_for_a_gaussian(generator):
    observed = generator.normal(size=30) * 2
    ends = stats.norm.ppf([1e-4, 1 - 1e-4])
    result = crps_from_cdf(stats.norm.cdf, observed, lower=np.full(30, ends[0]), upper=np.full(30, ends[1]))
    # 1e-4 tails are left out on purpose: their squared probabilities integrate to less than 1e-8.
    np.testing.assert_allclose(result, gaussian_crps(np.zeros(30), np.ones(30), observed), atol=1e-6)


def test_crps_from_quantiles_converges_to_the_closed_form(generator):
    observed = generator.normal(size=25)
    errors = []
    for count in (64, 1024):
        node, weight = np.polynomial.legendre.leggauss(count)
        levels = 0.5 * (node + 1)
        quantiles = np.tile(stats.norm.ppf(levels, 0.2, 1.4), (25, 1))
        result = crps_from_quantiles(quantiles, levels, weight / 2, observed)
        errors.append(np.abs(result - gaussian_crps(np.full(25, 0.2), np.full(25, 1.4), observed)).max())
    assert errors[1] < 1e-4
    assert errors[1] < errors[0] / 10


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float64, (3, 6), elements=numbers), hnp.arrays(np.float64, 3, elements=numbers), numbers)
def test_ensemble_crps_moves_with_the_unit_and_not_with_the_origin(draws, observed, shift):
    base = ensemble_crps(draws, observed, estimator="plain")
    np.testing.assert_allclose(ensemble_crps(draws + shift, observed + shift, estimator="plain"), base, atol=1e-8)
    np.testing.assert_allclose(ensemble_crps(-2 * draws, -2 * observed, estimator="plain"), 2 * base, atol=1e-8)
    assert (base > -1e-8).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ensemble_crps([[1.0, np.nan]], [0.0]),
        lambda: ensemble_crps([[1.0, 2.0]], [0.0, 1.0]),
        lambda: ensemble_crps([[1.0]], [0.0]),
        lambda: ensemble_crps(np.empty((0, 3)), np.empty(0)),
        lambda: ensemble_crps([[1.0, 2.0]], [np.nan]),
        lambda: gaussian_crps([0.0], [0.0], [1.0]),
        lambda: gaussian_crps([0.0, 1.0], [1.0], [1.0]),
        lambda: crps_from_cdf(lambda t: 2 * np.ones_like(t), [0.0], lower=[-1.0], upper=[1.0]),
        lambda: crps_from_cdf(stats.norm.cdf, [0.0], lower=[-1.0], upper=[1.0], nodes=1),
        lambda: crps_from_quantiles([[0.0, 1.0]], [0.25, 0.75], [0.5, 0.6], [0.0]),
        lambda: crps_from_quantiles([[0.0, 1.0]], [0.0, 0.75], [0.5, 0.5], [0.0]),
        lambda: crps_from_quantiles([[0.0, 1.0]], [0.25], [1.0], [0.0]),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
