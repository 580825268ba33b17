import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgrid.errors import NumericalError
from bayesgrid.studies.bayesian_lora.width_search import Criterion, largest_feasible, loss_change, reference_width


def _quadratic(bound, tolerance=0.003):
    """A change that reaches the tolerance exactly at ``bound``."""
    return lambda width: Criterion(tolerance * (width / bound) ** 2, tolerance)


@given(st.floats(math.log(1.2e-4), math.log(0.29)))
@settings(deadline=None, max_examples=300)
def test_the_search_finds_any_bound_in_the_bracket_to_two_percent(log_bound):
    bound = math.exp(log_bound)
    search = largest_feasible(_quadratic(bound))
    assert search.status == "found"
    assert search.width <= bound < search.smallest_infeasible
    assert bound / search.width < 1.02
    assert search.relative_accuracy < 0.02
    assert len(search.evaluations) <= 10


@given(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=40), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=200)
def test_the_search_agrees_with_a_grid_on_any_monotone_staircase(heights, tolerance):
    stairs = np.sort(heights)
    edges = np.geomspace(1e-4, 0.3, len(stairs) + 1)[1:-1]

    def criterion(width):
        return Criterion(float(stairs[np.searchsorted(edges, width, side="right")]), tolerance)

    grid = np.geomspace(1e-4, 0.3, 4000)
    feasible = [width for width in grid if criterion(width).feasible]
    search = largest_feasible(criterion)
    if not feasible:
        assert (search.width, search.status) == (0.0, "none_feasible")
    elif len(feasible) == len(grid):
        assert search.status == "never_violated"
        assert search.width >= 0.3
    else:
        assert search.status == "found"
        assert criterion(search.width).feasible
        assert max(feasible) / search.width < 1.025
        assert search.width / max(feasible) < 1.005


@pytest.mark.parametrize("bound", [0.31, 0.9, 1.5, 6.0, 15.0])
def test_the_bracket_moves_up_when_its_upper_end_is_feasible(bound):
    search = largest_feasible(_quadratic(bound))
    assert search.status == "found"
    assert len(search.evaluations) <= 10
    assert search.width <= bound < search.smallest_infeasible
    assert search.relative_accuracy < (0.02 if bound < 1.2 else 0.05)


def test_a_lower_end_that_violates_gives_zero_and_says_so():
    search = largest_feasible(_quadratic(5e-5))
    assert (search.width, search.status) == (0.0, "none_feasible")
    assert len(search.evaluations) == 2
    assert search.relative_accuracy == math.inf


def test_a_criterion_that_is_never_violated_is_told_apart_from_a_bound():
    search = largest_feasible(lambda width: Criterion(0.0, 0.1))
    assert search.status == "never_violated"
    assert search.smallest_infeasible is None
    assert search.width == pytest.approx(0.3 * 4**3)
    assert search.width == max(evaluation.width for evaluation in search.evaluations)


def test_evaluations_carry_their_errors_and_name_those_that_noise_could_turn():
    def criterion(width):
        return Criterion(width, 0.01, standard_error=0.002)

    search = largest_feasible(criterion)
    assert all(evaluation.criterion.standard_error == 0.002 for evaluation in search.evaluations)
    expected = [e.width for e in search.evaluations if abs(e.width - 0.01) <= 0.004]
    assert [evaluation.width for evaluation in search.undecided] == expected
    assert expected


def test_few_evaluations_give_a_coarser_bracket_that_still_holds_the_bound():
    search = largest_feasible(_quadratic(0.02), maximum_evaluations=4)
    assert len(search.evaluations) == 4
    assert search.width <= 0.02 < search.smallest_infeasible


def test_a_criterion_that_is_not_a_number_stops_the_search():
    with pytest.raises(NumericalError, match="width"):
        largest_feasible(lambda width: Criterion(math.nan, 0.1))
    with pytest.raises(ValueError, match="0 < low < high"):
        largest_feasible(_quadratic(0.1), low=0.2, high=0.1)


def test_the_reference_search_returns_its_edge_values():
    assert reference_width(lambda width: 1.0) == pytest.approx(0.0072, abs=5e-5)
    assert reference_width(lambda width: 0.0) == 0.2


@given(st.floats(0.008, 0.19))
@settings(deadline=None, max_examples=100)
def test_the_reference_search_returns_a_violating_width_within_its_resolution(bound):
    width = reference_width(lambda width: 0.003 * (width / bound) ** 2)
    assert bound < width <= bound + 0.199 / 32 + 1e-12


def test_loss_change_is_the_change_of_the_mixtures_loss():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 30, 4, generator=generator, dtype=torch.float64)
    answers = torch.randint(0, 4, (30,), generator=generator)
    log_likelihoods = logits.log_softmax(-1)[:, torch.arange(30), answers]
    mixture = logits.softmax(-1).mean(0)
    expected = float(-mixture[torch.arange(30), answers].log().mean()) - 1.2
    result = loss_change(log_likelihoods, 1.2)
    assert result.change == pytest.approx(abs(expected), rel=1e-10)
    assert result.tolerance == pytest.approx(0.003 * 1.2 + 1e-3)
    assert loss_change(log_likelihoods[:1], 1.2).standard_error == math.inf


def test_the_jackknife_error_is_the_spread_over_repeated_sets_of_draws():
    generator = torch.Generator().manual_seed(1)
    sets = torch.randn(400, 10, 50, generator=generator) * 0.4 - 1.0
    results = [loss_change(draws, 0.0) for draws in sets]
    spread = np.std([result.change for result in results])
    errors = np.mean([result.standard_error for result in results])
    assert errors == pytest.approx(spread, rel=0.15)


def test_an_absolute_tolerance_keeps_a_nearly_perfect_fit_from_forbidding_every_width():
    nearly_zero = torch.full((5, 20), -5e-5)
    assert loss_change(nearly_zero, 1e-5).feasible
    assert not loss_change(nearly_zero, 1e-5, absolute=0.0).feasible
