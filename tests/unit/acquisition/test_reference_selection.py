import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from bayesgrid.acquisition.reference_selection import distances_to_labelled, nan_first, uniform_with_replacement
from bayesgrid.acquisition.selection import k_centre_greedy
from bayesgrid.errors import DataError


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30), st.data())
def test_the_order_of_values_is_that_of_topk(values, data):
    scores = np.array(values)
    query_size = data.draw(st.integers(1, len(values)))
    choice = nan_first(scores, query_size)
    assert len(set(choice.positions.tolist())) == query_size
    expected = torch.topk(torch.from_numpy(scores), query_size).values.numpy()
    np.testing.assert_array_equal(scores[choice.positions], expected)
    assert choice.nonfinite == np.sum(~np.isfinite(scores))


def test_ties_are_taken_in_order_and_nan_comes_first():
    assert nan_first(np.array([1, 2, np.nan, 2, np.inf, np.nan]), 6).positions.tolist() == [2, 5, 4, 1, 3, 0]


class _Drawn:
    def __init__(self, drawn):
        self.drawn = drawn

    def integers(self, high, size):
        assert len(self.drawn) == size
        assert max(self.drawn) < high
        return np.array(self.drawn)


@pytest.mark.parametrize(
    ("drawn", "bought"),
    [
        ([3, 7, 1], [7, 3, 1]),
        ([2, 5, 2], [5, 2, 3]),  # row 3 has moved into place 2
        ([2, 3, 2], [3, 2, 4]),  # row 3 is gone, row 4 follows
        ([9, 9, 4], [9, 8, 4]),  # beyond the end: the last one left
        ([9, 8, 9, 8], [9, 8, 7, 6]),
        ([0] * 10, list(range(10))),
    ],
)
def test_a_repeated_index_buys_the_row_that_has_moved_into_its_place(drawn, bought):
    assert uniform_with_replacement(10, len(drawn), _Drawn(drawn)).positions.tolist() == bought


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.data())
def test_a_batch_with_replacement_is_full_and_distinct(candidates, seed, data):
    query_size = data.draw(st.integers(1, candidates))
    positions = uniform_with_replacement(candidates, query_size, np.random.default_rng(seed)).positions
    assert len(set(positions.tolist())) == len(positions) == query_size
    assert 0 <= positions.min() <= positions.max() < candidates


def test_batches_with_replacement_hold_neighbours_more_often_than_by_chance():
    pairs = [uniform_with_replacement(10, 2, np.random.default_rng(seed)).positions for seed in range(3000)]
    neighbours = np.mean([abs(a - b) == 1 for a, b in pairs])
    # Two of ten without replacement are neighbours with probability 9 / 45; a repeat, one in ten, adds to that.
    assert neighbours == pytest.approx(9 / 45 * 0.9 + 0.1, abs=0.025)


@pytest.mark.parametrize("seed", range(3))
def test_distances_to_the_labelled_are_those_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    candidates, labelled = rng.normal(3, 1, (2100, 16)).astype(np.float32), rng.normal(3, 1, (40, 16))
    expected = cdist(candidates.astype(np.float64), labelled).min(axis=1)
    assert distances_to_labelled(candidates, labelled) == pytest.approx(expected, rel=1e-9)
    assert distances_to_labelled(labelled, labelled) == pytest.approx(np.zeros(40), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_farthest_at_once_are_k_centre_for_one_label_only(seed):
    rng = np.random.default_rng(seed)
    # A tight group far away: at once it is all that is bought.
    candidates = np.concatenate([rng.normal(0, 1, (30, 4)), rng.normal(20, 0.1, (5, 4))])
    labelled = rng.normal(0, 1, (6, 4))
    distances = distances_to_labelled(candidates, labelled)
    greedy = k_centre_greedy(candidates, labelled, 5).positions.tolist()
    assert nan_first(distances, 1).positions.tolist() == greedy[:1]
    assert sorted(nan_first(distances, 5).positions.tolist()) == [30, 31, 32, 33, 34]
    assert sorted(greedy) != [30, 31, 32, 33, 34]


def test_an_encoding_that_is_not_finite_has_no_distance():
    candidates = np.ones((3, 2))
    candidates[1, 0] = np.nan
    assert np.isnan(distances_to_labelled(candidates, np.zeros((2, 2)))).tolist() == [False, True, False]


@pytest.mark.parametrize("labelled", [np.zeros((0, 2)), np.zeros((3, 3)), np.zeros(2)])
def test_nothing_comparable_is_refused(labelled):
    with pytest.raises(DataError, match="compared"):
        distances_to_labelled(np.ones((3, 2)), labelled)


@pytest.mark.parametrize("query_size", [0, 4])
def test_a_query_that_does_not_fit_is_refused(query_size):
    with pytest.raises(DataError):
        nan_first(np.zeros(3), query_size)
    with pytest.raises(DataError):
        uniform_with_replacement(3, query_size, np.random.default_rng(0))
