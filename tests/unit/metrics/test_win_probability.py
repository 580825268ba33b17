import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.win_probability import wilson_interval, win_probability


@given(st.integers(1, 60), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_that_of_scipy(trials, share, level):
    successes = round(share * trials)
    interval = wilson_interval(successes, trials, level=level)
    wanted = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    assert (interval.lower, interval.upper) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    assert interval.estimate == pytest.approx(successes / trials)


@given(st.integers(1, 30), st.floats(0, 1))
def test_the_interval_holds_the_share_and_mirrors_with_wins_and_losses(trials, share):
    own, other = wilson_interval(share * trials, trials), wilson_interval((1 - share) * trials, trials)
    assert 0 <= own.lower <= own.estimate + 1e-12
    assert own.estimate - 1e-12 <= own.upper <= 1
    assert (own.lower, own.upper) == pytest.approx((1 - other.upper, 1 - other.lower), abs=1e-12)


def test_ties_count_as_half_a_win():
    result = win_probability([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 4.0])
    assert (result.wins, result.ties, result.pairs) == (1, 2, 4)
    assert result.interval.estimate == 0.5


def test_pairs_count_and_not_means():
    # One seed went very wrong: the mean is higher, and yet three of four seeds are won.
    result = win_probability([1.0, 1.0, 1.0, 99.0], [2.0, 2.0, 2.0, 2.0])
    assert result.interval.estimate == 0.75


def test_values_that_are_not_finite_lose_and_tie_among_themselves():
    result = win_probability([np.nan, 1.0, np.inf, np.nan], [5.0, np.nan, np.nan, np.inf])
    assert (result.wins, result.ties) == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "trial"),
        (([1.0], [1.0, 2.0]), "shapes"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        win_probability(*arguments)


@pytest.mark.parametrize(
    ("successes", "trials", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 0.0), (1, 2, 1.0), (0, 0, 0.95)]
)
def test_counts_and_levels_that_are_none_are_refused(successes, trials, level):
    with pytest.raises(DataError):
        wilson_interval(successes, trials, level=level)
