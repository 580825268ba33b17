import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import chisquare

from bayesgrid.acquisition.badge import badge
from bayesgrid.errors import DataError


def test_the_first_has_the_largest_gradient_and_the_second_is_drawn_by_squared_distance():
    rng = np.random.default_rng(3)
    features, deviations = rng.normal(size=(6, 3)), rng.uniform(0.1, 2, 6)
    gradients = features * deviations[:, None]
    largest = int(np.argmax(np.linalg.norm(gradients, axis=1)))
    stream = np.random.default_rng(0)
    choices = np.array([badge(features, deviations, 2, stream).positions for _ in range(4000)])
    assert (choices[:, 0] == largest).all()
    weights = cdist(gradients, gradients[[largest]])[:, 0] ** 2
    others = np.flatnonzero(weights)
    counts = np.bincount(choices[:, 1], minlength=6)[others]
    assert chisquare(counts, 4000 * weights[others] / weights.sum()).pvalue > 1e-3


def test_candidates_whose_outcome_is_certain_are_chosen_last():
    features = np.random.default_rng(4).normal(size=(10, 2))
    deviations = np.where(np.arange(10) < 4, 1.0, 0.0)
    for seed in range(50):
        # One certain candidate is like all other certain ones: the gradient zero.
        taken = badge(features, deviations, 5, np.random.default_rng(seed)).positions
        assert set(range(4)) <= set(taken.tolist())


def test_a_deviation_that_is_not_finite_puts_its_candidate_last():
    deviations = np.array([1.0, np.nan, 2.0])
    choice = badge(np.ones((3, 1)) * [[1], [5], [2]], deviations, 3, np.random.default_rng(0))
    assert choice.positions.tolist() == [2, 0, 1]
    assert choice.nonfinite == 1


def test_deviations_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="belong together"):
        badge(np.ones((3, 2)), np.ones(4), 1, np.random.default_rng(0))
    with pytest.raises(DataError, match="negative"):
        badge(np.ones((3, 2)), np.array([1.0, -1.0, 1.0]), 1, np.random.default_rng(0))
