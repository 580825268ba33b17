import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.learning_curve import (
    area_under_curve,
    isotonic_violation,
    isotonic_violation_by_seed,
    mean_over_rounds,
    paired_area_difference,
)
from bayesgrid.random_streams import random_stream

LABELLED = [200, 250, 300, 420, 1000]
curves = hnp.arrays(np.float64, (4, 5), elements=st.floats(-50, 50))


@given(curves)
def test_area_is_the_integral_of_the_interpolated_curve(values):
    areas = area_under_curve(LABELLED, values)
    for area, curve in zip(areas, values, strict=True):
        expected = integrate.trapezoid(curve, LABELLED) / 800
        fine = np.linspace(200, 1000, 80_001)
        assert area == pytest.approx(expected, abs=1e-9)
        assert area == pytest.approx(np.interp(fine, LABELLED, curve).mean(), abs=1e-2)


def test_area_of_a_constant_is_the_constant_and_of_a_line_its_middle():
    assert area_under_curve(LABELLED, np.full(5, 3.5)) == pytest.approx(3.5)
    assert area_under_curve(LABELLED, np.array(LABELLED) * 2.0) == pytest.approx(1200)


def test_area_does_not_depend_on_the_query_size_but_the_row_mean_does():
    coarse, fine = np.array([0.0, 100.0, 800.0]), np.arange(0.0, 801.0, 50.0)
    line = [np.interp(counts, [0, 800], [1.0, 0.0]) for counts in (coarse, fine)]
    assert area_under_curve(coarse, line[0]) == pytest.approx(area_under_curve(fine, line[1]))
    assert mean_over_rounds(coarse, line[0]) == pytest.approx((1 + 0.875 + 0) / 3)
    assert mean_over_rounds(fine, line[1]) == pytest.approx(0.5)


def test_paired_difference_removes_what_seeds_share():
    generator = np.random.default_rng(2)
    seed_effect = generator.normal(scale=5, size=(8, 1))
    second = seed_effect + generator.normal(scale=0.01, size=(8, 5))
    first = second + 0.3 + generator.normal(scale=0.01, size=(8, 5))
    interval = paired_area_difference(LABELLED, first, second, generator=random_stream(0, "bootstrap"))
    assert interval.excludes(0)
    assert interval.lower < 0.3 < interval.upper
    areas = area_under_curve(LABELLED, first) - area_under_curve(LABELLED, second)
    expected = stats.ttest_rel(area_under_curve(LABELLED, first), area_under_curve(LABELLED, second))
    bounds = expected.confidence_interval(0.95)
    assert (interval.estimate, interval.lower, interval.upper) == pytest.approx((areas.mean(), bounds.low, bounds.high))


@pytest.mark.parametrize(
    "call",
    [
        lambda: area_under_curve([200], [1.0]),
        lambda: area_under_curve([200, 200], [1.0, 2.0]),
        lambda: area_under_curve([200, 300], [1.0]),
        lambda: area_under_curve([200, 300], [1.0, np.nan]),
        lambda: mean_over_rounds([], []),
        lambda: paired_area_difference([1, 2], [[1.0, 2]] * 3, [[1.0, 2]] * 2, generator=np.random.default_rng()),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()


def non_increasing_fit(curve):
    """The min-max formula of Barlow et al.: min over starts of the max over ends of the mean from start to end."""
    rounds = range(len(curve))
    return np.array(
        [min(max(np.mean(curve[s : t + 1]) for t in rounds if t >= r) for s in rounds if s <= r) for r in rounds]
    )


@given(hnp.arrays(np.float64, st.integers(1, 9), elements=st.floats(-50, 50)))
def test_the_violation_is_the_largest_rise_above_the_best_non_increasing_fit(curve):
    wanted = float((curve - non_increasing_fit(curve)).max())
    assert isotonic_violation(curve) == pytest.approx(wanted, abs=1e-9)
    assert isotonic_violation(curve) >= -1e-12


@given(hnp.arrays(np.float64, 6, elements=st.floats(-50, 50)))
def test_a_curve_that_never_rises_has_no_violation(curve):
    assert isotonic_violation(np.sort(curve)[::-1]) == pytest.approx(0.0, abs=1e-12)


def test_a_single_bump_is_measured_from_the_mean_of_what_it_is_pooled_with():
    assert isotonic_violation([3.0, 1.0, 2.0, 0.0]) == pytest.approx(0.5)
    assert isotonic_violation([0.0, 0.0, 3.0]) == pytest.approx(2.0)


@given(curves)
def test_the_violations_of_seeds_average_to_that_of_the_mean_curve(values):
    by_seed = isotonic_violation_by_seed(values)
    assert by_seed.shape == (4,)
    assert by_seed.mean() == pytest.approx(isotonic_violation(values.mean(axis=0)), abs=1e-9)


def test_seeds_are_contrasted_at_the_round_where_their_mean_rises_most():
    # The mean 2, 0, 3 rises most in the last round, which is pooled with the one before it.
    assert isotonic_violation_by_seed([[2.0, 0.0, 6.0], [2.0, 0.0, 0.0]]).tolist() == pytest.approx([3.0, 0.0])


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [1.0, np.inf]])
def test_curves_without_a_fit_are_refused(values):
    with pytest.raises(DataError):
        isotonic_violation(values)
