import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesgrid.errors import DataError
from bayesgrid.metrics.intransitivity import (
    all_pairs,
    condorcet_winner,
    cyclic_triad_rate,
    hodge_decomposition,
)

CIRCLE = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]], dtype=float)


def skew(size, seed):
    values = np.random.default_rng(seed).standard_normal((size, size))
    return values - values.T


@given(st.integers(2, 9), st.integers(0, 10_000))
def test_complete_flow_has_the_row_means_as_ratings(size, seed):
    table = skew(size, seed)
    parts = hodge_decomposition(*all_pairs(table))
    np.testing.assert_allclose(parts.ratings, table.mean(axis=1), atol=1e-9)
    rest = table - (table.mean(axis=1)[:, None] - table.mean(axis=1))
    assert parts.cyclic_share == pytest.approx((rest**2).sum() / (table**2).sum(), abs=1e-9)


@given(st.integers(3, 9), st.integers(0, 10_000), st.floats(0.3, 1))
def test_incomplete_flow_is_split_as_by_dense_least_squares(size, seed, kept):
    rng = np.random.default_rng(seed)
    first, second, flow = all_pairs(skew(size, seed))
    taken = rng.random(first.size) < kept
    taken[0] = True
    first, second, flow = first[taken], second[taken], flow[taken]
    weight = rng.uniform(0.1, 3, flow.size)
    incidence = np.zeros((flow.size, size))
    incidence[np.arange(flow.size), first], incidence[np.arange(flow.size), second] = 1, -1
    root = np.sqrt(weight)
    ratings = np.linalg.lstsq(incidence * root[:, None], flow * root)[0]
    parts = hodge_decomposition(first, second, flow, weight=weight)
    np.testing.assert_allclose(parts.gradient, incidence @ ratings, atol=1e-8)
    np.testing.assert_allclose(parts.gradient + parts.cyclic, flow, atol=1e-12)
    # The rest is orthogonal to the gradient of any ratings.
    np.testing.assert_allclose(incidence.T @ (weight * parts.cyclic), 0, atol=1e-8)


def test_gradient_and_circle_are_the_two_ends():
    reward = np.array([1.0, 3.0, -2.0, 0.5])
    assert hodge_decomposition(*all_pairs(reward[:, None] - reward)).cyclic_share == pytest.approx(0, abs=1e-12)
    parts = hodge_decomposition(*all_pairs(CIRCLE))
    assert parts.cyclic_share == pytest.approx(1)
    np.testing.assert_allclose(parts.ratings, 0, atol=1e-12)


def test_groups_that_nothing_connects_are_centred_apart():
    parts = hodge_decomposition([7, 2], [5, 9], [4.0, 1.0])
    assert parts.items.tolist() == [2, 5, 7, 9]
    np.testing.assert_allclose(parts.ratings, [0.5, -2, 2, -0.5])
    assert parts.cyclic_share == 0


def test_energies_of_both_parts_add_up():
    first, second, flow = all_pairs(skew(8, 1))
    parts = hodge_decomposition(first, second, flow)
    assert (parts.gradient**2).sum() + (parts.cyclic**2).sum() == pytest.approx((flow**2).sum())


@given(st.integers(3, 10), st.integers(0, 10_000))
def test_triads_of_a_tournament_are_counted_as_kendall_does(size, seed):
    # C(n, 3) - sum C(wins, 2) triads are cyclic (Kendall and Babington Smith 1940).
    table = np.sign(skew(size, seed))
    wins = (table > 0).sum(axis=1)
    triads = size * (size - 1) * (size - 2) / 6
    expected = (triads - (wins * (wins - 1) / 2).sum()) / triads
    assert cyclic_triad_rate(table) == pytest.approx(expected, abs=1e-12)


def test_triads_with_ties_and_unknown_pairs():
    assert cyclic_triad_rate(CIRCLE) == 1
    tied = CIRCLE.copy()
    tied[0, 1] = tied[1, 0] = 0
    assert cyclic_triad_rate(tied) == 0
    unknown = CIRCLE.copy()
    unknown[0, 1] = unknown[1, 0] = np.nan
    assert np.isnan(cyclic_triad_rate(unknown))


def test_winner_of_all_beats_a_circle():
    assert condorcet_winner(CIRCLE) is None
    table = np.zeros((4, 4))
    table[:3, :3] = CIRCLE
    table[3, :3], table[:3, 3] = 1, -1
    assert condorcet_winner(table) == 3
    table[3, 1] = table[1, 3] = 0
    assert condorcet_winner(table) is None


@pytest.mark.parametrize(
    ("first", "second", "flow", "weight"),
    [([0], [0], [1.0], None), ([], [], [], None), ([0], [1], [1.0, 2.0], None), ([0], [1], [1.0], [0.0])],
)
def test_what_is_no_flow_is_refused(first, second, flow, weight):
    with pytest.raises(DataError):
        hodge_decomposition(first, second, flow, weight=weight)
