from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesgrid.data.preference_games import play
from bayesgrid.errors import DataError
from bayesgrid.grid.preference_sets import DiscGame, DominantCycle, RockPaperScissors
from bayesgrid.metrics import transitive_ceiling as module
from bayesgrid.metrics.transitive_ceiling import accuracy_ceiling, pairwise_accuracy_ceiling, transitive_ceiling


def best_order(winner, loser, weight, size):
    """Return the share that the best of all orders keeps."""
    places = [np.argsort(order) for order in permutations(range(size))]
    return max(weight[place[winner] < place[loser]].sum() for place in places) / weight.sum()


@given(st.integers(2, 6), st.integers(1, 16), st.integers(0, 10_000))
def test_ceiling_is_that_of_the_best_of_all_orders(size, count, seed):
    rng = np.random.default_rng(seed)
    winner = rng.integers(0, size, count)
    loser = (winner + rng.integers(1, size, count)) % size
    weight = rng.integers(1, 5, count).astype(float)
    found = transitive_ceiling(winner, loser, weight)
    assert found.exact
    assert found.lower == pytest.approx(best_order(winner, loser, weight, size))


@pytest.mark.parametrize("size", [3, 4, 7, 16, 17, 40])
def test_cycle_loses_one_label(size):
    items = np.arange(size)
    found = transitive_ceiling(items, np.roll(items, -1))
    assert found.exact
    assert found.lower == pytest.approx((size - 1) / size)


def test_toy_of_gpm_allows_three_of_four():
    # A over B, B over C, C over D, D over A (general-preference-model, data/test_data/custom_test_data.jsonl).
    assert transitive_ceiling([0, 1, 2, 3], [1, 2, 3, 0]).upper == 0.75


@pytest.mark.parametrize("items", [5, 15, 31])
def test_whole_rock_paper_scissors_has_a_closed_form(items):
    # Each item beats the (n - 1) / 2 next ones on a circle; the order along it loses d labels of each distance d.
    payoff = play(RockPaperScissors(name="rock_paper_scissors", items=items), 0).payoff
    winner, loser = np.nonzero(payoff > 0)
    half = (items - 1) // 2
    found = transitive_ceiling(winner, loser)
    assert found.exact
    assert found.lower == pytest.approx(1 - half * (half + 1) / 2 / (items * half))


def test_item_that_beats_all_adds_labels_that_are_never_lost():
    alone = play(RockPaperScissors(name="rock_paper_scissors", items=9), 0).payoff
    with_one = play(DominantCycle(name="dominant_cycle", items=10), 0).payoff
    ceilings = [transitive_ceiling(*np.nonzero(payoff > 0)).lower for payoff in (alone, with_one)]
    assert ceilings[1] * 45 == pytest.approx(ceilings[0] * 36 + 9)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_of_large_parts_hold_the_exact_value(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((13, 13))
    winner, loser = np.nonzero(np.triu(np.ones((13, 13)), 1))
    weight = np.abs(table[winner, loser])
    swap = table[winner, loser] < 0
    winner, loser = np.where(swap, loser, winner), np.where(swap, winner, loser)
    exact = transitive_ceiling(winner, loser, weight)
    monkeypatch.setattr(module, "EXACT_ITEMS", 2)
    bounds = transitive_ceiling(winner, loser, weight)
    assert exact.exact
    assert bounds.lower - 1e-9 <= exact.lower <= bounds.upper + 1e-9
    assert bounds.upper - bounds.lower < 0.03


def test_disjoint_cycles_bound_what_programs_would_take_long_for(monkeypatch):
    payoff = play(RockPaperScissors(name="rock_paper_scissors", items=25), 0).payoff
    exact = transitive_ceiling(*np.nonzero(payoff > 0))
    monkeypatch.setattr(module, "_MOST_LABELS", 10)
    bounds = transitive_ceiling(*np.nonzero(payoff > 0))
    assert not bounds.exact
    assert bounds.lower - 1e-9 <= exact.lower <= bounds.upper < 0.9


def test_disc_game_of_64_items_is_bounded():
    payoff = play(DiscGame(name="disc", items=64), 0).payoff
    taken = np.triu(np.random.default_rng(0).random((64, 64)) < 0.25, 1)
    winner, loser = np.nonzero((payoff > 0) & (taken | taken.T))
    found = transitive_ceiling(winner, loser)
    assert 0.5 < found.lower <= found.upper < 1


def test_undecided_labels_count_half_in_accuracy():
    first, second = [0, 1, 2, 3], [1, 2, 0, 4]
    found = accuracy_ceiling(first, second, [1.0, 0.9, 0.7, 0.5])
    assert found.lower == found.upper == pytest.approx((2 + 0.5) / 4)
    assert accuracy_ceiling([0], [1], [0.5]).upper == 0.5


def test_side_of_a_pair_makes_no_difference():
    rng = np.random.default_rng(2)
    first = rng.integers(0, 5, 40)
    second = (first + rng.integers(1, 5, 40)) % 5
    target, swap = rng.random(40), rng.random(40) < 0.5
    other = (np.where(swap, second, first), np.where(swap, first, second), np.where(swap, 1 - target, target))
    assert accuracy_ceiling(first, second, target).lower == pytest.approx(accuracy_ceiling(*other).lower)
    assert pairwise_accuracy_ceiling(first, second, target) == pytest.approx(pairwise_accuracy_ceiling(*other))


def test_pair_with_both_labels_is_lost_by_any_model_of_pairs():
    # Twice 0 over 1 and once the reverse; 2 over 3.
    assert pairwise_accuracy_ceiling([0, 1, 0, 2], [1, 0, 1, 3], [1, 1, 1, 1]) == pytest.approx(3 / 4)
    assert accuracy_ceiling([0, 1, 0, 2], [1, 0, 1, 3], [1, 1, 1, 1]).lower == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("winner", "loser", "weight"), [([], [], None), ([0], [0], None), ([0], [1], [-1.0]), ([0], [1], [0.0])]
)
def test_what_is_no_set_of_labels_is_refused(winner, loser, weight):
    with pytest.raises(DataError):
        transitive_ceiling(winner, loser, weight)
