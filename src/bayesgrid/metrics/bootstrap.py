"""Intervals of a mean over seeds and examples, both of them random, and of paired differences of means.

Every seed is scored on the same examples, so seeds and examples are crossed. A bootstrap that redraws examples inside
each seed would average the shared difficulty of an example away; here one replicate draws seeds, then one set of
examples for all of them (Owen 2007, The pigeonhole bootstrap).

Which method: ``student`` keeps its level from two seeds up. ``percentile`` and ``bca`` follow skewness but cannot reach
beyond the extreme seeds: a nominal 95 % interval covers about 84 % with 5 seeds, 91 % with 10, 94 % with 30.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = [
    "HierarchicalMethod",
    "Interval",
    "SeedMethod",
    "hierarchical_interval",
    "paired_interval",
    "seed_interval",
]

SeedMethod: TypeAlias = Literal["student", "percentile", "bca"]
HierarchicalMethod: TypeAlias = Literal["student", "percentile"]

MAXIMUM_CHUNK_VALUES = 2_000_000
"""Resampled values held at once, 16 MB each for indices and values."""


@dataclass(frozen=True)
class Interval:
    """A point estimate and the interval around it."""

    estimate: float
    lower: float
    upper: float

    def excludes(self, value: float) -> bool:
        """Return whether ``value`` lies outside the interval."""
        return value < self.lower or value > self.upper


def seed_interval(
    values: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    replicates: int = 10_000,
    method: SeedMethod = "student",
) -> Interval:
    """Return the mean over seeds with its confidence interval, the examples taken as given.

    ``student``: mean ± t_{S-1} s / sqrt(S). ``percentile``, ``bca``: bootstrap over seeds (Efron 1987 for BCa).

    Args:
        values: ``[S]``, one value a seed.
        generator: source of the resamples; ``student`` draws nothing.
        level: coverage.
        replicates: bootstrap resamples.
        method: see the module.

    Raises:
        DataError: for fewer than 2 seeds, NaN, infinity, or a level outside (0, 1).
    """
    sample = checked_array(values, name="values per seed", dimensions=1)
    _check(sample.shape[0], level, replicates)
    mean = float(sample.mean())
    if np.ptp(sample) == 0:
        return Interval(mean, mean, mean)
    if method == "student":
        half = _student_quantile(level, sample.size - 1) * float(sample.std(ddof=1)) / np.sqrt(sample.size)
        return Interval(mean, mean - half, mean + half)
    result = stats.bootstrap(
        (sample,),
        np.mean,
        confidence_level=level,
        n_resamples=replicates,
        batch=max(1, MAXIMUM_CHUNK_VALUES // sample.size),
        method="percentile" if method == "percentile" else "BCa",
        rng=generator,
    )
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))


def hierarchical_interval(
    values: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    replicates: int = 2000,
    method: HierarchicalMethod = "student",
) -> Interval:
    """Return the mean over seeds and examples with an interval for new seeds and new examples.

    A replicate draws seeds, then examples shared by them, and averages. ``percentile`` takes the replicates' quantiles.
    ``student`` takes their standard deviation as standard error, drawing one seed and one example fewer than there are
    so that it is not too small (Rao & Wu 1988), and Student's t with Satterthwaite's degrees of freedom,
    ``(a + b)^2 / (a^2/(S-1) + b^2/(N-1))`` for the variances a of the mean over seeds, b over examples.

    Args:
        values: ``[S, N]``, a score of every seed on every example.
        generator: source of the resamples.
        level: coverage.
        replicates: bootstrap resamples; the memory used does not grow with them.
        method: see the module.

    Raises:
        DataError: for fewer than 2 seeds or examples, NaN, infinity, or a level outside (0, 1).
    """
    table = checked_array(values, name="values per seed and example", dimensions=2)
    seeds, examples = table.shape
    _check(seeds, level, replicates)
    if examples < 2:
        raise DataError("an interval over examples needs several", given=f"{examples} example", allowed="at least 2")
    mean = float(table.mean())
    if method == "percentile":
        means = _resampled_means(table, generator, replicates, seeds, examples)
        lower, upper = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        return Interval(mean, float(lower), float(upper))
    means = _resampled_means(table, generator, replicates, seeds - 1, examples - 1)
    error = float(means.std(ddof=1))
    over_seeds = float(table.mean(axis=1).var(ddof=1)) / seeds
    over_examples = float(table.mean(axis=0).var(ddof=1)) / examples
    total = over_seeds + over_examples
    if total == 0:
        # Rows and columns of equal means; what is left varies within, and the seeds are the fewer.
        freedom = float(seeds - 1)
    else:
        shares = over_seeds / total, over_examples / total
        freedom = 1 / (shares[0] ** 2 / (seeds - 1) + shares[1] ** 2 / (examples - 1))
    half = _student_quantile(level, freedom) * error
    return Interval(mean, mean - half, mean + half)


def paired_interval(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    replicates: int | None = None,
    method: HierarchicalMethod = "student",
) -> Interval:
    """Return the mean of ``first - second`` with its interval, paired on the same seeds (and the same examples).

    Args:
        first: ``[S]`` or ``[S, N]``.
        second: the same shape, in the same order of seeds and examples.
        generator: source of the resamples.
        level: coverage.
        replicates: bootstrap resamples; None takes the default of the interval used.
        method: see the module.

    Raises:
        DataError: if the shapes differ, and as :func:`seed_interval` and :func:`hierarchical_interval` do.
    """
    left = checked_array(first, name="first")
    right = checked_array(second, name="second")
    same_shape(first=left, second=right)
    if left.ndim == 1:
        return seed_interval(
            left - right, generator=generator, level=level, replicates=replicates or 10_000, method=method
        )
    return hierarchical_interval(
        left - right, generator=generator, level=level, replicates=replicates or 2000, method=method
    )


def _resampled_means(
    table: FloatArray, generator: np.random.Generator, replicates: int, drawn_seeds: int, drawn_examples: int
) -> FloatArray:
    seeds, examples = table.shape
    chosen_seeds = generator.integers(0, seeds, size=(replicates, drawn_seeds))
    counts = np.zeros((replicates, seeds))
    np.add.at(counts, (np.arange(replicates)[:, None], chosen_seeds), 1.0)
    means = np.empty(replicates)
    chunk = max(1, MAXIMUM_CHUNK_VALUES // examples)
    for start in range(0, replicates, chunk):
        per_example = counts[start : start + chunk] @ table / drawn_seeds
        chosen = generator.integers(0, examples, size=(per_example.shape[0], drawn_examples))
        means[start : start + chunk] = np.take_along_axis(per_example, chosen, axis=1).mean(axis=1)
    return means


def _student_quantile(level: float, freedom: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, freedom))


def _check(seeds: int, level: float, replicates: int) -> None:
    if seeds < 2:
        raise DataError("an interval over seeds needs several", given=f"{seeds} seed", allowed="at least 2 seeds")
    if not 0 < level < 1:
        raise DataError("not a confidence level", where="level", given=level, allowed="between 0 and 1")
    if replicates < 2:
        raise DataError("too few bootstrap replicates", where="replicates", given=replicates, allowed="at least 2")
