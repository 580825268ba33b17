import numpy as np
import pytest
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.bootstrap import hierarchical_interval
from bayesgrid.metrics.calibration_error import expected_calibration_error
from bayesgrid.metrics.crossed_bootstrap import crossed_estimate, resampled_statistics
from bayesgrid.metrics.example_statistics import calibration_statistic, mean_statistic, roc_statistic
from bayesgrid.random_streams import random_stream


def stream(index: int = 0) -> np.random.Generator:
    return random_stream(5, "questions", index)


def crossed(generator, seeds, examples, *, seed_sd=1.0, example_sd=3.0, noise_sd=0.5):
    return (
        generator.normal(scale=seed_sd, size=(seeds, 1))
        + generator.normal(scale=example_sd, size=(1, examples))
        + generator.normal(scale=noise_sd, size=(seeds, examples))
    )


def estimated(table, *, replicates=2000, index=0):
    resampled = resampled_statistics(
        {"mean": [mean_statistic(row) for row in table]},
        [table.shape[1]],
        generator=stream(index),
        replicates=replicates,
    )
    return crossed_estimate(resampled["mean"], generator=stream(10_000 + index))


def test_interval_of_a_mean_is_that_of_the_hierarchical_bootstrap():
    table = crossed(np.random.default_rng(1), 5, 60)
    interval = estimated(table, replicates=20_000).interval
    other = hierarchical_interval(table, generator=stream(1), replicates=20_000)
    assert interval.estimate == pytest.approx(other.estimate)
    assert (interval.lower, interval.upper) == pytest.approx((other.lower, other.upper), rel=0.03, abs=0.03)


def test_one_seed_has_the_student_interval_over_examples():
    values = np.random.default_rng(2).normal(size=(1, 80))
    interval = estimated(values, replicates=20_000).interval
    bounds = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert (interval.lower, interval.upper) == pytest.approx((bounds.low, bounds.high), rel=0.03)


def test_p_value_is_that_of_the_interval_that_just_reaches_zero():
    values = np.random.default_rng(3).normal(loc=0.35, size=(1, 80))
    found = estimated(values, replicates=20_000)
    assert found.p_value == pytest.approx(stats.ttest_1samp(values[0], 0).pvalue, rel=0.15)


@pytest.mark.parametrize("seed_sd", [0.2, 1.5])
def test_interval_covers_new_seeds_and_new_examples(seed_sd):
    trials, hits = 400, 0
    generator = np.random.default_rng(7)
    for trial in range(trials):
        table = crossed(generator, 4, 40, seed_sd=seed_sd)
        interval = estimated(table, replicates=300, index=trial).interval
        hits += interval.lower <= 0 <= interval.upper
    # What the simulation's own noise, and Satterthwaite's approximation, may take off 95 %.
    assert hits / trials >= 0.93


def test_interval_of_a_calibration_error_covers_that_of_all_questions():
    # Over-confident by construction, with bins far enough from the diagonal for the bias of the estimate to be small.
    trials, hits, examples = 200, 0, 150
    generator = np.random.default_rng(9)
    levels = np.array([0.55, 0.75, 0.95])
    truth = 0.25
    for trial in range(trials):
        confidence = generator.choice(levels, size=examples)
        statistics = []
        for _ in range(3):
            correct = (generator.random(examples) < confidence - truth).astype(float)
            statistics.append(calibration_statistic(confidence, correct))
        resampled = resampled_statistics({"ece": statistics}, [examples], generator=stream(trial), replicates=300)
        interval = crossed_estimate(resampled["ece"], generator=stream(trial)).interval
        hits += interval.lower <= truth <= interval.upper
    assert hits / trials >= 0.93


def test_differences_are_paired_on_the_same_resamples():
    generator = np.random.default_rng(4)
    shared = generator.normal(scale=5.0, size=50)
    tables = [shared + generator.normal(scale=0.1, size=(3, 50)) + shift for shift in (0.0, 0.2)]
    statistics = {name: [mean_statistic(row) for row in table] for name, table in zip("ab", tables, strict=True)}
    found = resampled_statistics(statistics, [50], generator=stream(), replicates=2000)
    difference = crossed_estimate(found["b"].minus(found["a"]), generator=stream()).interval
    alone = crossed_estimate(found["b"], generator=stream()).interval
    assert difference.estimate == pytest.approx((tables[1] - tables[0]).mean())
    assert difference.upper - difference.lower < (alone.upper - alone.lower) / 10
    pairs = found["b"].of_seeds([2, 0]).observed
    assert pairs == pytest.approx(tables[1].mean(axis=1)[[2, 0]])


def test_the_same_stream_gives_the_same_replicates_whatever_else_is_resampled():
    values = np.random.default_rng(6).normal(size=(2, 30))
    one = {"a": [mean_statistic(row) for row in values]}
    both = {"b": [mean_statistic(row + 1) for row in values], **one}
    alone, beside = (resampled_statistics(own, [30], generator=stream(), replicates=500)["a"] for own in (one, both))
    assert (alone.replicates == beside.replicates).all()


def test_kinds_of_examples_are_resampled_by_themselves():
    sizes = [30, 10]
    kinds = np.repeat([0.0, 1.0], sizes)
    found = resampled_statistics({"share": [mean_statistic(kinds)]}, sizes, generator=stream(), replicates=300)
    # One example fewer of each kind, so the share is 9 of 38 in all of them.
    assert found["share"].replicates == pytest.approx(9 / 38)


def test_resamples_without_a_score_are_left_out_and_a_mean_without_one_has_no_interval():
    score, positive = np.arange(12.0), np.r_[np.zeros(11), 1.0]
    found = resampled_statistics({"roc": [roc_statistic(score, positive)]}, [12], generator=stream(), replicates=500)
    assert np.isnan(found["roc"].replicates).any()
    assert np.isfinite(crossed_estimate(found["roc"], generator=stream()).interval.lower)
    nothing = resampled_statistics(
        {"roc": [roc_statistic(score, np.zeros(12))]}, [12], generator=stream(), replicates=10
    )
    estimate = crossed_estimate(nothing["roc"], generator=stream())
    assert np.isnan([estimate.interval.estimate, estimate.interval.lower, estimate.p_value]).all()


def test_equal_scores_have_a_difference_of_exactly_nothing():
    values = np.random.default_rng(8).normal(size=(2, 30))
    found = resampled_statistics({"a": [mean_statistic(row) for row in values]}, [30], generator=stream())["a"]
    estimate = crossed_estimate(found.minus(found), generator=stream())
    assert (estimate.interval.lower, estimate.interval.upper, estimate.p_value) == (0, 0, 1)


def test_observed_values_are_those_of_the_plain_metric():
    generator = np.random.default_rng(12)
    confidence, correct = generator.random(90), generator.integers(0, 2, size=90)
    found = resampled_statistics(
        {"ece": [calibration_statistic(confidence, correct)]}, [90], generator=stream(), replicates=2
    )
    assert found["ece"].observed[0] == pytest.approx(expected_calibration_error(confidence, correct))


@pytest.mark.parametrize(
    ("statistics", "strata", "replicates"),
    [({}, [5], 10), ({"a": [mean_statistic([1.0])]}, [1], 10), ({"a": [mean_statistic([1.0, 2.0])]}, [2], 1)],
)
def test_nothing_to_resample_is_a_data_error(statistics, strata, replicates):
    with pytest.raises(DataError):
        resampled_statistics(statistics, strata, generator=stream(), replicates=replicates)


def test_differences_of_other_resamples_and_levels_beyond_one_are_data_errors():
    short, long = (
        resampled_statistics({"a": [mean_statistic(np.arange(5.0))]}, [5], generator=stream(), replicates=count)["a"]
        for count in (10, 20)
    )
    with pytest.raises(DataError):
        short.minus(long)
    with pytest.raises(DataError):
        crossed_estimate(short, generator=stream(), level=1.0)


def test_interval_covers_when_questions_come_in_groups_and_would_not_if_they_were_taken_for_independent():
    trials, groups, size = 300, 15, 4
    generator = np.random.default_rng(21)
    names = [f"picture-{place}" for place in range(groups) for _ in range(size)]
    hits = {True: 0, False: 0}
    for trial in range(trials):
        of_group = np.repeat(generator.normal(scale=2.0, size=groups), size)
        table = of_group + generator.normal(size=(3, groups * size)) + generator.normal(scale=0.2, size=(3, 1))
        for grouped in hits:
            resampled = resampled_statistics(
                {"mean": [mean_statistic(row) for row in table]},
                [table.shape[1]],
                generator=stream(trial),
                replicates=300,
                groups=names if grouped else None,
            )
            interval = crossed_estimate(resampled["mean"], generator=stream(trial)).interval
            hits[grouped] += interval.lower <= 0 <= interval.upper
    assert hits[True] / trials >= 0.92
    assert hits[False] / trials <= 0.8


def test_one_seed_of_equal_groups_has_the_student_interval_over_their_means():
    values = np.random.default_rng(22).normal(size=(30, 4)) + np.random.default_rng(23).normal(size=(30, 1))
    names = [str(place) for place in range(30) for _ in range(4)]
    resampled = resampled_statistics(
        {"mean": [mean_statistic(values.ravel())]}, [120], generator=stream(), replicates=20_000, groups=names
    )
    interval = crossed_estimate(resampled["mean"], generator=stream()).interval
    bounds = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert (interval.lower, interval.upper) == pytest.approx((bounds.low, bounds.high), rel=0.03)


def test_examples_without_a_group_have_the_numbers_they_have_where_there_are_none():
    values = np.random.default_rng(24).normal(size=30)
    plain, empty, alone = (
        resampled_statistics({"a": [mean_statistic(values)]}, [20, 10], generator=stream(), replicates=50, groups=own)
        for own in (None, [""] * 30, [f"g{place}" for place in range(30)])
    )
    for other in (empty, alone):
        assert (other["a"].replicates == plain["a"].replicates).all()
        assert other["a"].units == plain["a"].units == 30


def test_a_group_is_drawn_whole_within_its_kind_and_an_empty_name_is_no_group():
    seen = []

    def record(counts):
        seen.append(counts)
        return counts.sum(axis=1)

    names = ["g", "", "g", "", "g", "h", "g"]
    found = resampled_statistics({"a": [record]}, [4, 3], generator=stream(), replicates=200, groups=names)
    counts = seen[0]
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 4] == counts[:, 6]).all()
    # Equal names of two kinds, and two examples without one, are drawn independently of each other.
    assert (counts[:, 0] != counts[:, 4]).any()
    assert (counts[:, 1] != counts[:, 3]).any()
    assert found["a"].units == 5


@pytest.mark.parametrize("groups", [["a"] * 4, ["a", "b", "c"]])
def test_a_single_group_or_groups_of_other_examples_are_data_errors(groups):
    with pytest.raises(DataError):
        resampled_statistics({"a": [mean_statistic(np.arange(4.0))]}, [4], generator=stream(), groups=groups)
