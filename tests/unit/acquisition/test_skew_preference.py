import numpy as np
import pytest

from bayesgrid.acquisition.skew_preference import (
    ResponseMoments,
    euclidean_variance,
    pair_score,
    projected_normal_moments,
    sphere_pair_moments,
)
from bayesgrid.errors import DataError


def _operator(gate):
    """Return R, written out."""
    matrix = np.zeros((2 * len(gate), 2 * len(gate)))
    for block, multiplier in enumerate(gate):
        matrix[2 * block, 2 * block + 1] = -multiplier
        matrix[2 * block + 1, 2 * block] = multiplier
    return matrix


def _unit(rng, shape):
    values = rng.normal(size=shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_the_first_of_a_quarter_turn_is_preferred():
    one, two = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert pair_score(one, two).tolist() == [1.0]
    assert pair_score(two, one).tolist() == [-1.0]
    assert pair_score(one, one).tolist() == [0.0]


@pytest.mark.parametrize("gated", [False, True])
def test_scores_are_those_of_the_operator_and_change_sign_when_swapped(gated):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 30, 8))
    gate = np.exp(rng.normal(size=(30, 4))) if gated else None
    scores = pair_score(first, second, gate)
    for pair in range(30):
        operator = _operator(gate[pair] if gated else np.ones(4))
        assert scores[pair] == pytest.approx((operator @ first[pair]) @ second[pair], rel=1e-12)
    np.testing.assert_array_equal(pair_score(second, first, gate), -scores)


def test_one_gate_serves_all_pairs():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 5, 6))
    gate = np.array([0.5, 2.0, 0.1])
    np.testing.assert_array_equal(pair_score(first, second, gate), pair_score(first, second, np.tile(gate, (5, 1))))


def test_equal_variances_and_unit_means_have_one_variance():
    rng = np.random.default_rng(2)
    first, second = _unit(rng, (2, 300, 12))
    variance = euclidean_variance(first, np.full((300, 12), 0.03), second, np.full((300, 12), 0.03))
    np.testing.assert_allclose(variance, 2 * 0.03 + 12 * 0.03**2, rtol=1e-12)
    np.testing.assert_allclose(variance, 0.0708, atol=1e-12)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [2, 6])
def test_the_euclidean_variance_is_that_of_draws(full, size):
    rng = np.random.default_rng(3)
    draws, pairs = 200_000, 4
    first, second = rng.normal(size=(2, pairs, size))
    gate = np.exp(rng.normal(size=(pairs, size // 2)))
    roots = rng.normal(size=(2, pairs, size, size)) * 0.4
    if not full:
        roots = roots * np.eye(size)
    covariances = roots @ roots.transpose(0, 1, 3, 2)
    given = covariances if full else np.einsum("spaa->spa", covariances)
    found = euclidean_variance(first, given[0], second, given[1], gate)
    for pair in range(pairs):
        i = first[pair] + rng.normal(size=(draws, size)) @ roots[0, pair].T
        j = second[pair] + rng.normal(size=(draws, size)) @ roots[1, pair].T
        scores = np.einsum("sa,sa->s", i @ _operator(gate[pair]).T, j)
        squares = (scores - scores.mean()) ** 2
        assert abs(squares.mean() - found[pair]) < 4.5 * squares.std() / np.sqrt(draws)


def test_diagonal_covariances_are_variances():
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(2, 70_000, 4))
    one, two = rng.uniform(size=(2, 70_000, 4))
    whole = euclidean_variance(first, one, second, two)
    few = slice(65_530, 65_545)  # across the end of a block
    full = euclidean_variance(first[few], one[few, :, None] * np.eye(4), second[few], two[few, :, None] * np.eye(4))
    np.testing.assert_allclose(whole[few], full, rtol=1e-12)


@pytest.mark.parametrize(("size", "variance"), [(2, 0.03), (6, 0.3), (12, 0.0067), (12, 1.0)])
def test_sphere_moments_are_those_of_draws(size, variance):
    rng = np.random.default_rng(5)
    means = _unit(rng, (6, size))
    variances = variance * np.exp(0.3 * rng.normal(size=means.shape))
    gate = np.exp(0.5 * rng.normal(size=(3, size // 2)))
    first, second = np.array([0, 1, 4]), np.array([3, 2, 5])
    found = sphere_pair_moments(projected_normal_moments(means, variances), first, second, gate)
    draws = 300_000
    for pair in range(3):
        one, two = (
            means[r] + np.sqrt(variances[r]) * rng.normal(size=(draws, size)) for r in (first[pair], second[pair])
        )
        one, two = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (one, two))
        scores = pair_score(one, two, gate[pair])
        squares = (scores - scores.mean()) ** 2
        assert abs(scores.mean() - found[0][pair]) < 4.5 * scores.std() / np.sqrt(draws)
        assert abs(squares.mean() - found[1][pair]) < 4.5 * squares.std() / np.sqrt(draws)


def test_sphere_moments_are_those_of_the_operator():
    rng = np.random.default_rng(6)
    moments = projected_normal_moments(rng.normal(size=(9, 6)), rng.uniform(size=(9, 6)))
    first, second = rng.integers(9, size=(2, 40))
    gate = rng.normal(size=(40, 3))
    mean, variance = sphere_pair_moments(moments, first, second, gate)
    for pair in range(40):
        operator, i, j = _operator(gate[pair]), first[pair], second[pair]
        expected = (operator @ moments.mean[i]) @ moments.mean[j]
        square = np.trace(operator @ moments.second_moment[i] @ operator.T @ moments.second_moment[j])
        assert mean[pair] == pytest.approx(expected, abs=1e-13)
        assert variance[pair] == pytest.approx(square - expected**2, abs=1e-13)
    swapped = sphere_pair_moments(moments, second, first, gate)
    np.testing.assert_allclose(swapped[0], -mean, atol=1e-15)
    np.testing.assert_allclose(swapped[1], variance, atol=1e-14)


@pytest.mark.parametrize("variance", [1e-9, 1e-7, 1e-5])
def test_little_noise_has_the_variance_of_a_tangent(variance):
    rng = np.random.default_rng(7)
    means = _unit(rng, (60, 12))
    moments = projected_normal_moments(means, np.full((60, 12), variance))
    mean, found = sphere_pair_moments(moments, np.arange(30), np.arange(30, 60))
    np.testing.assert_allclose(found, 2 * variance * (1 - mean**2), rtol=20 * 12 * variance, atol=2e-14)


def test_no_noise_has_no_variance_and_much_noise_that_of_random_directions():
    rng = np.random.default_rng(8)
    means = _unit(rng, (20, 6))
    pairs = np.arange(10), np.arange(10, 20)
    none = sphere_pair_moments(projected_normal_moments(means, np.zeros((20, 6))), *pairs, np.array([1.0, 3.0, 0.2]))
    np.testing.assert_allclose(none[0], pair_score(means[:10], means[10:], np.array([1.0, 3.0, 0.2])), atol=1e-14)
    assert none[1].tolist() == [0.0] * 10
    # <R u, v> of independent uniform directions has variance tr(R R^T) / d^2 = 1 / d.
    much = sphere_pair_moments(projected_normal_moments(means, np.full((20, 6), 1e12)), *pairs)
    np.testing.assert_allclose(much[0], 0.0, atol=1e-10)
    np.testing.assert_allclose(much[1], 1 / 6, atol=1e-10)


def test_impossible_pairs_are_refused():
    ones = np.ones((3, 4))
    with pytest.raises(DataError, match="blocks of two"):
        pair_score(np.ones((3, 5)), np.ones((3, 5)))
    with pytest.raises(DataError, match="do not pair up"):
        pair_score(ones, np.ones((2, 4)))
    with pytest.raises(DataError, match="gate"):
        pair_score(ones, ones, np.ones((3, 4)))
    with pytest.raises(DataError, match="variances"):
        euclidean_variance(ones, ones, ones, np.ones((3, 4, 4)))
    moments = ResponseMoments(ones, np.ones((3, 4, 4)))
    with pytest.raises(DataError, match="not there"):
        sphere_pair_moments(moments, np.array([0]), np.array([3]))
    with pytest.raises(DataError, match="one length"):
        sphere_pair_moments(moments, np.array([0]), np.array([1, 2]))
