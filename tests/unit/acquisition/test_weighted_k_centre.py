import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bayesgrid.acquisition.selection import k_centre_greedy
from bayesgrid.acquisition.weighted_k_centre import weighted_k_centre
from bayesgrid.errors import DataError


def _brute_force(scores, candidates, labelled, query_size):
    chosen = []
    for _ in range(query_size):
        centres = np.concatenate([labelled, candidates[chosen]])
        chosen.append(int(np.argmax(scores * cdist(candidates, centres).min(axis=1))))
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_choices_are_those_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    points, scores = rng.normal(size=(60, 5)), rng.exponential(size=50)
    choice = weighted_k_centre(scores, points[:50], points[50:], 25)
    assert choice.positions.tolist() == _brute_force(scores, points[:50], points[50:], 25)


def test_equal_scores_give_the_k_centre_choice():
    points = np.random.default_rng(5).normal(size=(50, 4))
    expected = k_centre_greedy(points[:45], points[45:], 20)
    assert weighted_k_centre(np.full(45, 0.3), points[:45], points[45:], 20).positions.tolist() == (
        expected.positions.tolist()
    )


def test_neither_scale_matters():
    rng = np.random.default_rng(6)
    points, scores = rng.normal(size=(30, 3)), rng.exponential(size=26)
    plain, other = (
        weighted_k_centre(a * scores, b * points[:26], b * points[26:], 10).positions.tolist()
        for a, b in ((1.0, 1.0), (1e-6, 1e3))
    )
    assert plain == other


def test_a_score_that_is_not_finite_puts_its_candidate_last():
    scores = np.array([np.nan, 1.0, np.inf, 0.0])
    choice = weighted_k_centre(scores, np.arange(1.0, 5.0)[:, None], np.zeros((1, 1)), 4)
    assert choice.positions.tolist() == [1, 3, 0, 2]
    assert choice.nonfinite == 2


def test_scores_that_cannot_weight_are_refused():
    with pytest.raises(DataError, match="negative"):
        weighted_k_centre(np.array([1.0, -0.1]), np.ones((2, 1)), np.zeros((1, 1)), 1)
    with pytest.raises(DataError, match="differ in number"):
        weighted_k_centre(np.ones(3), np.ones((2, 1)), np.zeros((1, 1)), 1)
