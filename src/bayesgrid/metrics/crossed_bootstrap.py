"""Intervals of any score over seeds and examples, both of them random, for many methods on the same resamples.

:func:`~bayesgrid.metrics.bootstrap.hierarchical_interval` is for means. A calibration error or an area under a curve
is a function of which examples there are, so it is computed anew on every resample, from how often each example is
drawn. All methods see the same resamples: the replicates of a difference are the differences of the replicates, and
comparisons are paired on the same examples and seeds.

Examples of one group, such as questions about one picture, are no independent evidence: groups are drawn whole, and
count as one towards the degrees of freedom.

Standard errors are those of resamples of one seed and one example or group fewer than there are (Rao & Wu 1988), ends
and p-values those of Student's t with Satterthwaite's degrees of freedom, as in ``hierarchical_interval``. Quantiles of
the replicates would not do: a resample repeats examples, and that alone makes a calibration error larger.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import FloatArray

__all__ = ["CrossedEstimate", "ExampleStatistic", "Resampled", "crossed_estimate", "resampled_statistics"]

ExampleStatistic: TypeAlias = Callable[[FloatArray], FloatArray]
"""From counts ``[B, N]``, how often each example is in a resample, to the score of every resample, ``[B]``."""

Key = TypeVar("Key", bound=Hashable)

CHUNK_VALUES = 500_000
"""Counts held at once; 4 MB, so that a chunk stays in the cache of a core while all statistics pass over it."""


@dataclass(frozen=True)
class Resampled:
    """A score of S seeds on the examples at hand and on B resamples of them."""

    observed: FloatArray
    """``[S]``."""
    replicates: FloatArray
    """``[S, B]``; all seeds and methods have the same resamples in the same order."""
    units: int
    """Examples that are drawn one by one, and groups that are drawn whole."""

    def of_seeds(self, rows: Sequence[int]) -> "Resampled":
        """Return the score of some of the seeds, by their places."""
        return Resampled(self.observed[list(rows)], self.replicates[list(rows)], self.units)

    def minus(self, other: "Resampled") -> "Resampled":
        """Return the paired difference to ``other``, which has the same seeds and resamples.

        Raises:
            DataError: if it has others.
        """
        if self.replicates.shape != other.replicates.shape or self.units != other.units:
            raise DataError(
                "scores of different seeds, examples or resamples",
                given=f"{self.replicates.shape} and {other.replicates.shape}",
                allowed="one shape",
            )
        return Resampled(self.observed - other.observed, self.replicates - other.replicates, self.units)


@dataclass(frozen=True)
class CrossedEstimate:
    """The mean over seeds, its interval, and the two-sided p-value that it is 0."""

    interval: Interval
    p_value: float
    """NaN where there is no standard error."""


def resampled_statistics(
    statistics: Mapping[Key, Sequence[ExampleStatistic]],
    strata: Sequence[int],
    *,
    generator: np.random.Generator,
    replicates: int = 10_000,
    groups: Sequence[str] | None = None,
) -> dict[Key, Resampled]:
    """Return every statistic of every seed on the examples at hand and on ``replicates`` resamples, the same for all.

    Args:
        statistics: for each name one statistic a seed.
        strata: number of examples of each kind, which are resampled by themselves: one number, or two for scores that
            set inputs of two data sets against each other. Examples are ordered by kind.
        generator: source of the resamples.
        replicates: resamples; the memory used beside the result does not grow with them.
        groups: the group of every example, ordered as they are; an example whose group is empty stands alone. None if
            all do. Groups of different kinds are different groups.

    Raises:
        DataError: for no statistic, fewer than 2 examples or groups of a kind, fewer than 2 replicates, or a number of
            groups that is not that of the examples.
    """
    if groups is not None and len(groups) != sum(strata):
        raise DataError("not one group for each example", given=len(groups), allowed=sum(strata))
    units = [_units(own) for own in _by_stratum(groups, strata)]
    sizes = [int(own.max(initial=-1)) + 1 for own in units]
    if not statistics or min(sizes, default=0) < 2 or replicates < 2:
        raise DataError(
            "nothing to resample",
            given=f"{len(statistics)} statistics, {sizes} examples or groups, {replicates} replicates",
            allowed="a statistic, 2 examples or groups of each kind, 2 replicates",
        )
    examples = sum(strata)
    found = {name: np.empty((len(own), replicates)) for name, own in statistics.items()}
    chunk = max(1, CHUNK_VALUES // examples)
    for start in range(0, replicates, chunk):
        counts = _counts(units, min(chunk, replicates - start), generator)
        for name, own in statistics.items():
            for seed, statistic in enumerate(own):
                found[name][seed, start : start + chunk] = statistic(counts)
    once = np.ones((1, examples))
    return {
        name: Resampled(np.array([float(statistic(once)[0]) for statistic in own]), found[name], sum(sizes))
        for name, own in statistics.items()
    }


def crossed_estimate(resampled: Resampled, *, generator: np.random.Generator, level: float = 0.95) -> CrossedEstimate:
    """Return the mean over seeds with its interval for new seeds and new examples.

    Each replicate draws ``S - 1`` of the S seeds and averages their scores on one resample of examples. With a single
    seed the interval is for new examples alone. Replicates on which the score does not exist (a curve of errors where
    none was drawn) are left out; a mean that is not finite has no interval.

    Args:
        resampled: of the score, or of a paired difference of scores.
        generator: source of the seeds drawn.
        level: coverage.

    Raises:
        DataError: for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise DataError("not a confidence level", where="level", given=level, allowed="between 0 and 1")
    seeds, replicates = resampled.replicates.shape
    estimate = float(resampled.observed.mean())
    nothing = CrossedEstimate(Interval(estimate, math.nan, math.nan), math.nan)
    if not math.isfinite(estimate):
        return nothing
    shares = np.ones((replicates, 1))
    if seeds > 1:
        shares = generator.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=replicates) / (seeds - 1)
    means = (shares * resampled.replicates.T).sum(axis=1)
    over_examples = resampled.replicates.mean(axis=0)
    known = np.isfinite(means) & np.isfinite(over_examples)
    if known.sum() < 2:
        return nothing
    error = float(means[known].std(ddof=1))
    parts = float(over_examples[known].var(ddof=1)), 0.0
    if seeds > 1:
        parts = parts[0], float(resampled.observed.var(ddof=1)) / seeds
    freedom = _freedom(parts, resampled.units - 1, max(seeds - 1, 1))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    interval = Interval(estimate, estimate - half, estimate + half)
    if error == 0:
        return CrossedEstimate(interval, p_value=1.0 if estimate == 0 else 0.0)
    return CrossedEstimate(interval, p_value=float(2 * stats.t.sf(abs(estimate) / error, freedom)))


def _freedom(parts: tuple[float, float], units: int, seeds: int) -> float:
    total = sum(parts)
    if total == 0:
        return float(seeds)
    return 1 / ((parts[0] / total) ** 2 / units + (parts[1] / total) ** 2 / seeds)


def _by_stratum(groups: Sequence[str] | None, strata: Sequence[int]) -> list[Sequence[str]]:
    ends = np.cumsum([0, *strata])
    every = [""] * int(ends[-1]) if groups is None else groups
    return [every[start:end] for start, end in pairwise(ends)]


def _units(groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return which unit of resampling each example is of, ``[N]``, numbered in order of appearance."""
    places: dict[str | int, int] = {}
    # A place in the sequence is the name of an example without a group, so that it is like no other.
    names = (group or number for number, group in enumerate(groups))
    return np.array([places.setdefault(name, len(places)) for name in names], dtype=np.int64)


def _counts(strata: Sequence[npt.NDArray[np.int64]], size: int, generator: np.random.Generator) -> FloatArray:
    drawn = []
    for units in strata:
        number = int(units.max()) + 1
        counts = generator.multinomial(number - 1, np.full(number, 1 / number), size=size).astype(np.float64)
        drawn.append(counts if number == units.size else counts[:, units])
    return np.concatenate(drawn, axis=1)
