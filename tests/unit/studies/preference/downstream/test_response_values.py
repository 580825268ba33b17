import numpy as np
import pytest

from bayesgrid.acquisition.response_bounds import difference_moments
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.metrics.reward_bench import borda_scores
from bayesgrid.studies.preference.downstream.response_values import (
    borda_values,
    lower_bounds_of_draws,
    lower_bounds_of_moments,
)


def utilities(count=5, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((count, count))
    return rng.standard_normal(count), root @ root.T


def test_values_are_the_means_against_the_others_and_the_diagonal_is_not_read():
    table = np.array([[9.0, 0.9, 0.6], [0.1, 9.0, 0.3], [0.4, 0.7, 9.0]])
    np.testing.assert_allclose(borda_values(table), [0.75, 0.2, 0.55])
    scores = np.stack([np.triu(np.random.default_rng(draw).standard_normal((4, 4)), 1) for draw in range(3)])
    scores = scores - scores.transpose(0, 2, 1)
    np.testing.assert_allclose(borda_values(scores), [borda_scores(draw) for draw in scores])


def test_bounds_of_moments_are_those_of_the_covariance_of_rewards():
    mean, covariance = utilities()
    count = len(mean)
    # The value is a linear map of the rewards, whose variance follows without any difference of two.
    weights = np.eye(count) - (1 - np.eye(count)) / (count - 1)
    expected = weights @ mean - 1.7 * np.sqrt(np.diag(weights @ covariance @ weights.T))
    np.testing.assert_allclose(lower_bounds_of_moments(*difference_moments(mean, covariance), 1.7), expected)


def test_bounds_of_draws_of_rewards_are_those_of_the_draws_moments():
    drawn = np.random.default_rng(1).multivariate_normal(*utilities(), 30)
    bounds = lower_bounds_of_draws(drawn[:, :, None] - drawn[:, None, :], 1.3)
    moments = difference_moments(drawn.mean(axis=0), np.cov(drawn, rowvar=False))
    np.testing.assert_allclose(bounds, lower_bounds_of_moments(*moments, 1.3))


def test_what_all_rewards_share_is_no_doubt_about_the_best():
    mean = np.array([1.0, 0.5, 0.0])
    # The best response varies most by itself, but all vary together: no difference is uncertain.
    shared = np.full((3, 3), 4.0)
    np.testing.assert_allclose(
        lower_bounds_of_moments(*difference_moments(mean, shared), 3.0), borda_values(mean[:, None] - mean)
    )
    own = shared + np.diag([9.0, 0.0, 0.0])
    assert np.argmax(lower_bounds_of_moments(*difference_moments(mean, own), 0.0)) == 0
    assert np.argmax(lower_bounds_of_moments(*difference_moments(mean, own), 1.0)) == 1


def test_variances_that_no_rewards_have_are_refused():
    # One response is far from two others that are the same: impossible for a joint distribution.
    variance = np.array([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(DataError, match="no rewards have differences"):
        lower_bounds_of_moments(np.zeros((3, 3)), variance)
    with pytest.raises(ConfigurationError, match="negative"):
        lower_bounds_of_moments(np.zeros((3, 3)), np.zeros((3, 3)), -1.0)
    with pytest.raises(DataError, match="no joint draws"):
        lower_bounds_of_draws(np.zeros((1, 3, 3)))
    with pytest.raises(DataError, match="not tables"):
        borda_values(np.zeros((3, 1, 1)))
