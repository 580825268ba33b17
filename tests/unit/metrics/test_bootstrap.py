import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics import bootstrap
from bayesgrid.metrics.bootstrap import hierarchical_interval, paired_interval, seed_interval
from bayesgrid.random_streams import random_stream

METHODS = ["student", "percentile", "bca"]


def stream(index: int = 0) -> np.random.Generator:
    return random_stream(11, "bootstrap", index)


def covered(interval, truth: float) -> bool:
    return interval.lower <= truth <= interval.upper


def within_simulation_error(hits: int, trials: int, level: float) -> bool:
    """Whether a binomial count is compatible with the level, at four standard errors."""
    return abs(hits / trials - level) <= 4 * np.sqrt(level * (1 - level) / trials)


def crossed(generator, seeds, examples, *, seed_sd, example_sd, noise_sd):
    return (
        generator.normal(scale=seed_sd, size=(seeds, 1))
        + generator.normal(scale=example_sd, size=(1, examples))
        + generator.normal(scale=noise_sd, size=(seeds, examples))
    )


def test_student_interval_over_seeds_equals_scipy():
    sample = np.array([1.0, 2.5, 0.3, 4.0])
    interval = seed_interval(sample, generator=stream(), level=0.9)
    bounds = stats.ttest_1samp(sample, 0).confidence_interval(0.9)
    assert (interval.lower, interval.upper) == pytest.approx((bounds.low, bounds.high))


def test_percentile_interval_over_three_seeds_equals_the_enumerated_bootstrap_distribution():
    sample = np.array([0.0, 1.0, 5.0])
    every_resample = np.array([[a, b, c] for a in sample for b in sample for c in sample]).mean(axis=1)
    interval = seed_interval(sample, generator=stream(), level=0.8, method="percentile", replicates=20_000)
    ends = np.quantile(every_resample, [0.1, 0.9], method="inverted_cdf")
    assert (interval.lower, interval.upper) == pytest.approx(tuple(ends))


def test_bca_interval_is_shifted_towards_the_long_tail():
    sample = np.random.default_rng(3).exponential(size=25)
    percentile = seed_interval(sample, generator=stream(), method="percentile")
    bca = seed_interval(sample, generator=stream(), method="bca")
    assert bca.lower > percentile.lower
    assert bca.upper > percentile.upper


@pytest.mark.parametrize("seeds", [2, 5, 30])
def test_student_interval_over_seeds_covers_at_its_level(seeds):
    trials = 3000
    samples = np.random.default_rng(seeds).normal(size=(trials, seeds))
    hits = sum(covered(seed_interval(s, generator=stream()), 0.0) for s in samples)
    assert within_simulation_error(hits, trials, 0.95)


def test_percentile_interval_over_five_seeds_covers_less_than_its_level_as_documented():
    trials = 400
    samples = np.random.default_rng(8).normal(size=(trials, 5))
    hits = [
        covered(seed_interval(s, generator=stream(i), method="percentile", replicates=600), 0.0)
        for i, s in enumerate(samples)
    ]
    assert not within_simulation_error(sum(hits), trials, 0.95)
    assert within_simulation_error(sum(hits), trials, 0.84)


@pytest.mark.parametrize(
    ("seed_sd", "example_sd"),
    [(1.0, 3.0), (1.0, 0.0), (0.1, 6.0)],
    ids=["both random", "seeds dominate", "examples dominate"],
)
def test_hierarchical_interval_covers_new_seeds_and_new_examples(seed_sd, example_sd):
    trials, seeds, examples = 1000, 5, 40
    generator = np.random.default_rng(17)
    hits = 0
    for trial in range(trials):
        table = crossed(generator, seeds, examples, seed_sd=seed_sd, example_sd=example_sd, noise_sd=0.5)
        hits += covered(hierarchical_interval(table, generator=stream(trial), replicates=400), 0.0)
    assert within_simulation_error(hits, trials, 0.95)


def test_intervals_that_take_examples_as_given_miss_new_examples():
    # The simulation above can fail: an interval over seeds alone, or one over examples alone, does fail it.
    trials, seeds, examples = 500, 5, 40
    generator = np.random.default_rng(17)
    over_seeds = over_examples = 0
    for trial in range(trials):
        table = crossed(generator, seeds, examples, seed_sd=2.0, example_sd=6.0, noise_sd=0.5)
        over_seeds += covered(seed_interval(table.mean(axis=1), generator=stream(trial)), 0.0)
        over_examples += covered(seed_interval(table.mean(axis=0), generator=stream(trial)), 0.0)
    assert not within_simulation_error(over_seeds, trials, 0.95)
    assert not within_simulation_error(over_examples, trials, 0.95)


def test_bootstrap_standard_error_is_that_of_the_two_way_analysis_of_variance():
    table = crossed(np.random.default_rng(4), 6, 200, seed_sd=1.0, example_sd=5.0, noise_sd=0.5)
    interval = hierarchical_interval(table, generator=stream(), replicates=20_000)
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    over_seeds, over_examples = rows.var(ddof=1) / 6, columns.var(ddof=1) / 200
    freedom = (over_seeds + over_examples) ** 2 / (over_seeds**2 / 5 + over_examples**2 / 199)
    residual = table - rows[:, None] - columns + table.mean()
    interaction = (residual**2).sum() / (5 * 199) / (6 * 200)
    half = (interval.upper - interval.lower) / 2 / stats.t.ppf(0.975, freedom)
    exact = over_seeds + over_examples - interaction
    # The bootstrap counts the interaction, 1/1200 of a variance of 0.25, up to three times.
    assert half**2 == pytest.approx(exact, rel=0.05)


@settings(deadline=None, max_examples=25)
@given(hnp.arrays(np.float64, (4, 7), elements=st.floats(-100, 100)), st.floats(-10, 10), st.floats(0.1, 10))
def test_intervals_move_with_the_unit_and_the_origin(table, shift, scale):
    base = hierarchical_interval(table, generator=stream(), replicates=50, method="percentile")
    moved = hierarchical_interval(table * scale + shift, generator=stream(), replicates=50, method="percentile")
    assert moved.lower == pytest.approx(base.lower * scale + shift, abs=1e-6)
    assert moved.upper == pytest.approx(base.upper * scale + shift, abs=1e-6)
    assert base.lower <= base.upper


@pytest.mark.parametrize("method", ["student", "percentile"])
def test_result_depends_on_the_stream_alone_and_not_on_the_chunk_size(monkeypatch, method):
    table = np.random.default_rng(6).normal(size=(5, 101))
    whole = hierarchical_interval(table, generator=stream(), replicates=333, method=method)
    assert whole == hierarchical_interval(table, generator=stream(), replicates=333, method=method)
    assert whole != hierarchical_interval(table, generator=stream(1), replicates=333, method=method)
    monkeypatch.setattr(bootstrap, "MAXIMUM_CHUNK_VALUES", 101 * 7)
    assert whole == hierarchical_interval(table, generator=stream(), replicates=333, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_identical_seeds_give_an_interval_of_width_zero(method):
    interval = seed_interval(np.full(6, 0.25), generator=stream(), method=method)
    assert (interval.lower, interval.upper) == (0.25, 0.25)
    assert not interval.excludes(0.25)


def test_paired_interval_removes_the_difficulty_that_both_share():
    generator = np.random.default_rng(9)
    second = crossed(generator, 6, 50, seed_sd=3.0, example_sd=10.0, noise_sd=0.1)
    first = second - 0.4 + generator.normal(scale=0.1, size=second.shape)
    interval = paired_interval(first, second, generator=stream())
    assert interval.upper < 0
    assert covered(interval, -0.4)
    difference = (first - second).mean(axis=1)
    assert paired_interval(first.mean(axis=1), second.mean(axis=1), generator=stream()) == seed_interval(
        first.mean(axis=1) - second.mean(axis=1), generator=stream()
    )
    assert interval.estimate == pytest.approx(difference.mean())


@pytest.mark.parametrize(
    "call",
    [
        lambda: seed_interval([1.0], generator=stream()),
        lambda: seed_interval([1.0, np.nan], generator=stream()),
        lambda: seed_interval([], generator=stream()),
        lambda: seed_interval([1.0, 2.0], generator=stream(), level=1.0),
        lambda: hierarchical_interval([1.0, 2.0], generator=stream()),
        lambda: hierarchical_interval([[1.0], [2.0]], generator=stream()),
        lambda: hierarchical_interval([[1.0, 2.0], [2.0, 2.0]], generator=stream(), replicates=1),
        lambda: paired_interval([1.0, 2.0], [1.0, 2.0, 3.0], generator=stream()),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
