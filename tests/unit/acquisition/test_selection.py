import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from bayesgrid.acquisition.selection import k_centre_greedy, top_q, uniform_without_replacement
from bayesgrid.errors import DataError


def _brute_force_k_centre(candidates, labelled, query_size):
    centres, chosen = list(labelled), []
    for _ in range(query_size):
        distance = cdist(candidates, np.array(centres)).min(axis=1)
        distance[chosen] = -1
        chosen.append(int(np.argmax(distance)))
        centres.append(candidates[chosen[-1]])
    return chosen


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30), st.data())
def test_top_q_takes_the_highest_finite_scores_first(values, data):
    scores = np.array(values)
    query_size = data.draw(st.integers(1, len(values)))
    choice = top_q(scores, query_size, np.random.default_rng(0))
    finite = scores[np.isfinite(scores)]
    taken = scores[choice.positions]
    expected = np.sort(finite)[::-1][:query_size]
    assert len(set(choice.positions.tolist())) == query_size
    assert choice.nonfinite == len(values) - len(finite)
    assert taken[: len(expected)].tolist() == expected.tolist()
    assert not np.isfinite(taken[len(expected) :]).any()


def test_top_q_breaks_ties_at_random():
    scores = np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    first = [int(top_q(scores, 1, np.random.default_rng(seed)).positions[0]) for seed in range(400)]
    counts = np.bincount(first, minlength=5)
    assert counts[1] == 0
    assert (counts[[0, 2, 3, 4]] > 60).all()


def test_top_q_repeats_with_its_generator():
    scores = np.zeros(50)
    once, again = (top_q(scores, 10, np.random.default_rng(3)).positions.tolist() for _ in range(2))
    assert once == again


def test_uniform_choice_has_no_duplicates_and_covers_all_positions():
    choices = np.array([uniform_without_replacement(10, 4, np.random.default_rng(s)).positions for s in range(1000)])
    assert all(len(set(row.tolist())) == 4 for row in choices)
    assert np.bincount(choices.ravel(), minlength=10) == pytest.approx(np.full(10, 400), abs=80)


@pytest.mark.parametrize("seed", range(4))
def test_k_centre_is_the_brute_force_choice(seed):
    rng = np.random.default_rng(seed)
    candidates, labelled = rng.normal(size=(60, 5)), rng.normal(size=(7, 5))
    choice = k_centre_greedy(candidates.astype(np.float32), labelled.astype(np.float32), 25)
    expected = _brute_force_k_centre(candidates.astype(np.float32), labelled.astype(np.float32), 25)
    assert choice.positions.tolist() == expected


def test_k_centre_does_not_take_neighbours_of_one_outlier():
    candidates = np.array([[10.0], [10.1], [5.0], [-4.0]])
    assert k_centre_greedy(candidates, np.zeros((1, 1)), 3).positions.tolist() == [1, 2, 3]


def test_k_centre_takes_duplicates_once_each_and_last():
    candidates = np.array([[3.0], [3.0], [3.0], [1.0], [0.0]])
    chosen = k_centre_greedy(candidates, np.zeros((2, 1)), 5).positions.tolist()
    assert chosen[:2] == [0, 3]
    assert sorted(chosen) == [0, 1, 2, 3, 4]


def test_k_centre_takes_candidates_that_are_not_finite_last_and_counts_them():
    candidates = np.array([[np.nan], [1.0], [np.inf], [2.0]])
    before = candidates.copy()
    choice = k_centre_greedy(candidates, np.array([[0.0], [np.nan]]), 4)
    assert choice.positions.tolist() == [3, 1, 0, 2]
    assert choice.nonfinite == 2
    assert np.array_equal(candidates, before, equal_nan=True)


@pytest.mark.parametrize("query_size", [0, 4])
def test_a_query_that_does_not_fit_the_candidates_is_refused(query_size):
    rng = np.random.default_rng(0)
    for choose in (
        lambda: top_q(np.zeros(3), query_size, rng),
        lambda: uniform_without_replacement(3, query_size, rng),
        lambda: k_centre_greedy(np.zeros((3, 2)), np.zeros((1, 2)), query_size),
    ):
        with pytest.raises(DataError, match="from 1 to 3"):
            choose()


def test_k_centre_refuses_other_features_and_no_centre():
    with pytest.raises(DataError, match="different features"):
        k_centre_greedy(np.zeros((3, 2)), np.zeros((1, 3)), 1)
    with pytest.raises(DataError, match="at least one finite"):
        k_centre_greedy(np.zeros((3, 2)), np.zeros((0, 2)), 1)
