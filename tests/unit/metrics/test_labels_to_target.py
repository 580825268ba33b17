import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.isotonic import IsotonicRegression

from bayesgrid.errors import DataError
from bayesgrid.metrics.labels_to_target import labels_to_target, paired_label_ratio, smoothed_mean_curve
from bayesgrid.random_streams import random_stream

LABELLED = np.array([200.0, 250, 300, 420, 1000])
curves = hnp.arrays(np.float64, (3, 5), elements=st.floats(-20, 20))


def stream(index: int = 0) -> np.random.Generator:
    return random_stream(7, "bootstrap", index)


@given(curves, st.booleans())
def test_smoothing_is_the_isotonic_regression_of_the_mean(values, lower_is_better):
    expected = IsotonicRegression(increasing=not lower_is_better).fit_transform(LABELLED, values.mean(axis=0))
    np.testing.assert_allclose(smoothed_mean_curve(values, lower_is_better=lower_is_better), expected, atol=1e-9)


@pytest.mark.parametrize("counts", [LABELLED, np.linspace(200, 1000, 41)], ids=["uneven", "every 20"])
def test_a_straight_line_is_crossed_where_its_equation_says(counts):
    loss = 1 - counts / 1000
    needed = labels_to_target(counts, [loss - 0.1, loss + 0.1], 0.37, lower_is_better=True)
    assert needed.labels == pytest.approx(630)
    assert not needed.censored


def test_a_power_law_is_crossed_where_its_equation_says():
    counts = np.arange(100.0, 2001, 10)
    needed = labels_to_target(counts, [counts**-0.5, 3 * counts**-0.5], 0.06, lower_is_better=True)
    assert needed.labels == pytest.approx((2 / 0.06) ** 2, rel=1e-4)


@given(hnp.arrays(np.int64, (3, 5), elements=st.integers(-20, 20)), st.integers(-20, 20))
def test_losses_and_their_negatives_need_the_same_labels(values, whole):
    # Means of up to 15 integers never come within rounding of this target.
    target = whole + 0.001
    loss = labels_to_target(LABELLED, values, target, lower_is_better=True)
    gain = labels_to_target(LABELLED, -values, -target, lower_is_better=False)
    assert loss.labels == pytest.approx(gain.labels)
    assert loss.censored == gain.censored


def test_a_dip_that_is_not_kept_does_not_count():
    dipping = [[1.0, 0.2, 1.0, 0.8, 0.4]]
    # Pooled to 1, 0.667, 0.667, 0.667, 0.4 and 0.733 with the value after: (0.2 + 1 + 0.8) / 3.
    needed = labels_to_target([0, 1, 2, 3, 4], dipping, 0.5, lower_is_better=True)
    assert needed.labels == pytest.approx(3 + (2 / 3 - 0.5) / (2 / 3 - 0.4))


def test_a_target_never_met_is_censored_at_the_last_round_and_one_met_at_once_is_not():
    never = labels_to_target(LABELLED, [[5.0, 4, 3, 2, 1]], 0.5, lower_is_better=True)
    assert (never.labels, never.censored) == (1000, True)
    at_once = labels_to_target(LABELLED, [[5.0, 4, 3, 2, 1]], 6, lower_is_better=True)
    assert (at_once.labels, at_once.censored) == (200, False)
    exactly = labels_to_target(LABELLED, [[1.0, 2, 3, 3, 3]], 3.0, lower_is_better=False)
    assert (exactly.labels, exactly.censored) == (300, False)
    flat = labels_to_target(LABELLED, [[2.0] * 5], 3.0, lower_is_better=False)
    assert (flat.labels, flat.censored) == (1000, True)


def lines(slopes):
    """Losses 1 - slope (n - 200) of each seed."""
    return 1 - np.asarray(slopes)[:, None] * (LABELLED - 200)


def test_ratio_of_lines_is_the_ratio_of_their_crossings():
    # 0.6 is reached at 200 + 0.4 / slope: 400 against 600 labels, whichever seeds are drawn.
    ratio = paired_label_ratio(
        LABELLED,
        lines([0.002] * 4),
        lines([0.001] * 4),
        target=0.6,
        lower_is_better=True,
        generator=stream(),
        replicates=50,
    )
    assert ratio.interval.estimate == pytest.approx(400 / 600)
    assert (ratio.interval.lower, ratio.interval.upper) == pytest.approx((400 / 600, 400 / 600))
    assert (ratio.first_censored, ratio.reference_censored) == (0, 0)


def test_interval_over_two_seeds_is_that_of_the_enumerated_resamples():
    # Slopes average over the seeds drawn: (0.001, 0.002), or one of them twice; the reference is the same seed's half.
    slopes = np.array([0.001, 0.004])
    ratio = paired_label_ratio(
        LABELLED,
        lines(slopes),
        lines(slopes / 2),
        target=0.8,
        lower_is_better=True,
        generator=stream(),
        level=0.8,
        replicates=400,
    )
    every = [(200 + 0.2 / s) / (200 + 0.4 / s) for s in (0.001, 0.0025, 0.004)]
    assert (ratio.interval.lower, ratio.interval.upper) == pytest.approx((min(every), max(every)))
    assert ratio.interval.estimate == pytest.approx(every[1])


def test_ends_of_the_interval_are_resamples_themselves_rounded_outwards():
    slopes = np.array([0.001, 0.0013, 0.0017, 0.0023, 0.0029])
    ratio = paired_label_ratio(
        LABELLED,
        lines(slopes),
        lines(np.full(5, 0.001)),
        target=0.7,
        lower_is_better=True,
        generator=stream(),
        level=0.5,
        replicates=2,
    )
    # Quartiles of two resamples: the smaller and the larger, not a mixture.
    means = slopes[stream().integers(0, 5, size=(2, 5))].mean(axis=1)
    expected = (200 + 0.3 / means) / 500
    assert (ratio.interval.lower, ratio.interval.upper) == pytest.approx((expected.min(), expected.max()))
    assert ratio.interval.upper > ratio.interval.lower + 1e-6


def test_the_last_value_of_the_reference_is_the_target_unless_one_is_given():
    ratio = paired_label_ratio(
        LABELLED,
        lines([0.002, 0.002]),
        lines([0.001, 0.001]),
        lower_is_better=True,
        generator=stream(),
        replicates=20,
    )
    assert ratio.reference.labels == pytest.approx(1000)
    assert ratio.interval.estimate == pytest.approx(600 / 1000)
    assert ratio.reference_censored == 0


@pytest.mark.parametrize("swapped", [False, True])
def test_censored_resamples_widen_the_interval_to_what_is_known(swapped):
    # Seeds of slope 0.0004 alone reach 0.68 at best, those of slope 0.002 soon: a quarter of resamples is censored.
    mixed, fast = lines([0.0004, 0.002]), lines([0.002, 0.002])
    pair = (fast, mixed) if swapped else (mixed, fast)
    ratio = paired_label_ratio(LABELLED, *pair, target=0.5, lower_is_better=True, generator=stream(), replicates=2000)
    censored, other = ratio.first_censored, ratio.reference_censored
    if swapped:
        censored, other = other, censored
        assert ratio.interval.lower == 0
        assert np.isfinite(ratio.interval.upper)
    else:
        assert ratio.interval.upper == np.inf
        assert ratio.interval.lower == pytest.approx(1)
    assert censored == pytest.approx(0.25, abs=0.04)
    assert other == 0


def test_nothing_is_known_when_neither_reaches_the_target():
    slow = lines([0.0001, 0.0002])
    ratio = paired_label_ratio(
        LABELLED, slow, slow, target=0.1, lower_is_better=True, generator=stream(), replicates=20
    )
    assert np.isnan(ratio.interval.estimate)
    assert (ratio.interval.lower, ratio.interval.upper) == (0, np.inf)
    assert ratio.first.censored
    assert ratio.reference.censored


@settings(deadline=None, max_examples=10)
@given(curves)
def test_a_method_needs_as_many_labels_as_itself_in_every_resample(values):
    ratio = paired_label_ratio(
        LABELLED, values, values, lower_is_better=True, generator=stream(), replicates=20
    ).interval
    assert (ratio.lower, ratio.estimate, ratio.upper) == (1, 1, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: labels_to_target([200, 200], [[1.0, 2.0]], 1, lower_is_better=True),
        lambda: labels_to_target([200, 300], [[1.0, 2.0, 3.0]], 1, lower_is_better=True),
        lambda: labels_to_target([200, 300], [1.0, 2.0], 1, lower_is_better=True),
        lambda: labels_to_target([200, 300], [[1.0, 2.0]], np.nan, lower_is_better=True),
        lambda: paired_label_ratio([1, 2], [[1.0, 2]], [[1.0, 2]], lower_is_better=True, generator=stream()),
        lambda: paired_label_ratio([0, 2], [[1.0, 2]] * 2, [[1.0, 2]] * 2, lower_is_better=True, generator=stream()),
        lambda: paired_label_ratio([1, 2], [[1.0, 2]] * 2, [[1.0, 2]] * 3, lower_is_better=True, generator=stream()),
        lambda: paired_label_ratio(
            [1, 2], [[1.0, 2]] * 2, [[1.0, 2]] * 2, lower_is_better=True, generator=stream(), level=1.0
        ),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
