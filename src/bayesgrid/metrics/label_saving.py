"""How many labels a rule saves at matched accuracy, seed by seed and over a range of accuracies.

For each seed the curve is made monotone by isotonic least squares, and n(a) is the first number of labels at which it
has the accuracy a, with straight lines between rounds; labels include the ones that a run starts with. The saving is
``1 - n_rule(a) / n_reference(a)``, its median over seeds is reported, and a is a grid: a saving at one accuracy that
somebody has chosen says little.

An accuracy that a curve never reaches needs more labels than were bought, so the saving of that seed is known only as a
range, and the median over seeds has a lower and an upper end. They are equal where few enough seeds are censored.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape
from bayesgrid.metrics.labels_to_target import smoothed_mean_curve

__all__ = ["LabelSaving", "accuracy_grid", "label_saving", "labels_at_accuracies"]

BETWEEN = (0.25, 0.95)
"""Shares of the labels bought at which the reference's accuracies are the ends of the grid."""
ROUNDING = 1e-12
"""Accuracies that are closer are the same; means over seeds and blocks round."""


@dataclass(frozen=True)
class LabelSaving:
    """Savings at G accuracies, as shares of the reference's labels; each field is ``[G]``."""

    accuracy: FloatArray
    estimate: FloatArray
    """Median over seeds, the least that the data allow: ``-inf`` if half of the seeds or more never get there."""
    at_most: FloatArray
    """The most that the data allow; equal to ``estimate`` unless censored seeds decide the median."""
    lower: FloatArray
    upper: FloatArray
    """Of the interval; NaN for a single seed."""
    unreached: FloatArray
    """Share of seeds on which the rule never reaches the accuracy."""
    reference_unreached: FloatArray
    """Share of seeds on which the reference does not."""


def accuracy_grid(
    labelled: npt.ArrayLike, reference: npt.ArrayLike, *, points: int = 15, between: tuple[float, float] = BETWEEN
) -> FloatArray:
    """Return ``points`` accuracies, evenly spaced between two of the reference's mean curve, ``[G]``.

    The ends are the accuracies that the curve, made monotone, has when the shares ``between`` of the labels that were
    bought are bought. A curve that is flat there gives one accuracy.

    Args:
        labelled: ``[R]``, labels at each round, increasing.
        reference: ``[S, R]``, accuracy of S seeds.
        points: of the grid.
        between: two shares of the labels bought.

    Raises:
        DataError: for fewer than 2 rounds or points, shares that do not increase within [0, 1], NaN, infinity, or
            shapes that do not fit.
    """
    counts, curves = _checked(labelled, reference)
    if counts.size < 2 or points < 2 or not 0 <= between[0] < between[1] <= 1:
        raise DataError(
            "no range of accuracies",
            given=f"{counts.size} rounds, {points} points, shares {between}",
            allowed="2 rounds, 2 points, shares that increase between 0 and 1",
        )
    at = counts[0] + np.array(between) * (counts[-1] - counts[0])
    lowest, highest = np.interp(at, counts, smoothed_mean_curve(curves, lower_is_better=False))
    return np.asarray(
        np.linspace(lowest, highest, points) if highest > lowest + ROUNDING else [lowest], dtype=np.float64
    )


def labels_at_accuracies(labelled: npt.ArrayLike, accuracy: npt.ArrayLike, grid: npt.ArrayLike) -> FloatArray:
    """Return the labels that each seed's monotone curve needs for each accuracy of ``grid``, ``[S, G]``.

    Infinity where the accuracy is never reached.

    Args:
        labelled: ``[R]``, labels at each round, increasing.
        accuracy: ``[S, R]``, of S seeds.
        grid: ``[G]``.

    Raises:
        DataError: for counts that do not increase, NaN, infinity, or shapes that do not fit.
    """
    counts, curves = _checked(labelled, accuracy)
    targets = checked_array(grid, name="grid", dimensions=1)
    return np.stack([_first_crossings(counts, curve, targets) for curve in curves])


def label_saving(
    labelled: npt.ArrayLike,
    rule: npt.ArrayLike,
    reference: npt.ArrayLike,
    grid: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    replicates: int = 2000,
) -> LabelSaving:
    """Return the median over seeds of the share of labels that ``rule`` saves at each accuracy, with its interval.

    The interval is a percentile bootstrap over seeds, each of which keeps its own pair of curves. It takes the quantile
    of the lower ends and that of the upper ends, so it is as wide as what was not seen requires, infinite if need be.
    The grid is taken as given. With few seeds it covers less than its level.

    Args:
        labelled: ``[R]``, increasing, greater than 0.
        rule: ``[S, R]``, accuracy of S seeds.
        reference: ``[S, R]``, of the same seeds in the same order.
        grid: ``[G]``, accuracies.
        generator: source of the resamples.
        level: coverage.
        replicates: bootstrap resamples.

    Raises:
        DataError: for counts that are not positive or do not increase, NaN, infinity, shapes that differ, a level
            outside (0, 1) or fewer than 2 replicates.
    """
    counts, first = _checked(labelled, rule)
    second = checked_array(reference, name="reference", dimensions=2)
    same_shape(rule=first, reference=second)
    if counts[0] <= 0:
        raise DataError("a ratio needs labels", where="labelled", given=counts[0], allowed="greater than 0")
    if not 0 < level < 1 or replicates < 2:
        raise DataError(
            "no interval",
            given=f"level {level}, {replicates} replicates",
            allowed="a level between 0 and 1, 2 replicates",
        )
    targets = checked_array(grid, name="grid", dimensions=1)
    own, other = (labels_at_accuracies(counts, curves, targets) for curves in (first, second))
    last = counts[-1]
    # Labels that were not seen are more than the last number, and may be any number beyond.
    least = 1 - own / np.minimum(other, last)
    most = 1 - np.where(np.isinf(other), 0.0, np.minimum(own, last) / other)
    estimate, at_most = np.median(least, axis=0), np.median(most, axis=0)
    lower, upper = np.full_like(estimate, np.nan), np.full_like(estimate, np.nan)
    seeds = len(first)
    if seeds > 1:
        rows = generator.integers(0, seeds, size=(replicates, seeds))
        # Quantiles that are order statistics: an infinite end must not be averaged with its neighbour.
        lower = np.quantile(np.median(least[rows], axis=1), (1 - level) / 2, axis=0, method="lower")
        upper = np.quantile(np.median(most[rows], axis=1), (1 + level) / 2, axis=0, method="higher")
    return LabelSaving(
        targets, estimate, at_most, lower, upper, np.isinf(own).mean(axis=0), np.isinf(other).mean(axis=0)
    )


def _first_crossings(counts: FloatArray, curve: FloatArray, targets: FloatArray) -> FloatArray:
    smooth = smoothed_mean_curve(curve[None], lower_is_better=False)
    after = np.searchsorted(smooth, targets - ROUNDING, side="left")
    reached, later = after < counts.size, after > 0
    end = np.minimum(after, counts.size - 1)
    start = np.maximum(end - 1, 0)
    inside = reached & later
    rise = np.where(inside, smooth[end] - smooth[start], 1.0)
    share = np.minimum(np.where(inside, (targets - smooth[start]) / rise, 1.0), 1.0)
    labels = np.where(inside, counts[start] + share * (counts[end] - counts[start]), counts[end])
    return np.where(reached, labels, np.inf)


def _checked(labelled: npt.ArrayLike, curves: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    counts = checked_array(labelled, name="labelled", dimensions=1)
    values = checked_array(curves, name="curves", dimensions=2)
    if values.shape[1] != counts.size:
        raise DataError(
            "the curve has another number of rounds", given=f"{values.shape[1]} values", allowed=f"{counts.size}"
        )
    if (np.diff(counts) <= 0).any():
        raise DataError("the numbers of labels do not increase", where="labelled", given=counts.tolist())
    return counts, values
