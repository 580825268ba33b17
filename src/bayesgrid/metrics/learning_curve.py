"""One number for a whole learning curve: the area under a metric over the number of labels, or its largest rise."""

import numpy as np
import numpy.typing as npt
from scipy import optimize

from bayesgrid.errors import DataError
from bayesgrid.metrics.bootstrap import Interval, SeedMethod, seed_interval
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = [
    "area_under_curve",
    "isotonic_violation",
    "isotonic_violation_by_seed",
    "mean_over_rounds",
    "paired_area_difference",
]


def area_under_curve(labelled: npt.ArrayLike, values: npt.ArrayLike) -> FloatArray:
    """Return the trapezoid area under each curve divided by the labels bought: a mean in the unit of the metric.

    ``sum_r (n_{r+1} - n_r) (v_r + v_{r+1}) / 2 / (n_R - n_0)``; comparable between query sizes.

    Args:
        labelled: ``[R]``, labelled examples at each round, increasing.
        values: ``[..., R]``, the metric at each round.

    Returns:
        ``[...]``.

    Raises:
        DataError: for fewer than 2 rounds, counts that do not increase, NaN, infinity, or shapes that do not fit.
    """
    counts, curves = _curves(labelled, values)
    if counts.size < 2:
        raise DataError("an area needs two rounds", given=f"{counts.size} round", allowed="at least 2 rounds")
    return np.asarray(np.trapezoid(curves, counts, axis=-1) / (counts[-1] - counts[0]), dtype=np.float64)


def mean_over_rounds(labelled: npt.ArrayLike, values: npt.ArrayLike) -> FloatArray:
    """Return the unweighted mean over recorded rounds, which the BALSA reference code calls AUC, ``[...]``.

    Raises:
        DataError: as :func:`area_under_curve`, but one round is enough.
    """
    _, curves = _curves(labelled, values)
    return np.asarray(curves.mean(axis=-1), dtype=np.float64)


def isotonic_violation(values: npt.ArrayLike) -> float:
    """Return the largest rise of a curve above its best non-increasing fit, in the unit of the metric; 0 or more.

    ``max_r (v_r - f_r)`` for the isotonic least-squares fit f. 0 for a curve that never rises.

    Args:
        values: ``[R]``, a lower-is-better metric at each round, one number of labels after another.

    Raises:
        DataError: for NaN, infinity or an empty curve.

    Source: Barlow, Bartholomew, Bremner & Brunk (1972), Statistical inference under order restrictions.
    """
    return float(isotonic_violation_by_seed(checked_array(values, name="curve", dimensions=1)[np.newaxis]).mean())


def isotonic_violation_by_seed(values: npt.ArrayLike) -> FloatArray:
    """Return what each seed contributes to the violation of the mean curve, ``[S]``; the mean is that violation.

    The fit f of the mean curve is constant on blocks of rounds and there the mean of the curve. So the violation at
    round r is the contrast ``v_r - mean of v over the block of r``, which every seed has too, and its spread over seeds
    says how sure the rise is. The round is chosen where the mean curve rises most, so noise alone gives a mean above 0.

    Args:
        values: ``[S, R]``, curves of S seeds.

    Raises:
        DataError: for NaN, infinity or an empty table.
    """
    curves = checked_array(values, name="curves", dimensions=2)
    mean = curves.mean(axis=0)
    fit = optimize.isotonic_regression(mean, increasing=False)
    worst = int(np.argmax(mean - fit.x))
    block = int(np.searchsorted(fit.blocks, worst, side="right"))
    inside = slice(int(fit.blocks[block - 1]), int(fit.blocks[block]))
    return np.asarray(curves[:, worst] - curves[:, inside].mean(axis=1), dtype=np.float64)


def paired_area_difference(
    labelled: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    replicates: int = 10_000,
    method: SeedMethod = "student",
) -> Interval:
    """Return the mean over seeds of area(first) - area(second), paired by seed, with its interval.

    Args:
        labelled: ``[R]``.
        first: ``[S, R]``, curves of S seeds.
        second: ``[S, R]``, curves of the same seeds in the same order.
        generator: source of the resamples.
        level: coverage.
        replicates: bootstrap resamples.
        method: as in :func:`~bayesgrid.metrics.bootstrap.seed_interval`.

    Raises:
        DataError: if the shapes differ, and as :func:`area_under_curve` and ``seed_interval`` do.
    """
    left = checked_array(first, name="first", dimensions=2)
    right = checked_array(second, name="second", dimensions=2)
    same_shape(first=left, second=right)
    difference = area_under_curve(labelled, left) - area_under_curve(labelled, right)
    return seed_interval(difference, generator=generator, level=level, replicates=replicates, method=method)


def _curves(labelled: npt.ArrayLike, values: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    counts = checked_array(labelled, name="labelled", dimensions=1)
    curves = checked_array(values, name="curve")
    if curves.shape[-1] != counts.size:
        raise DataError(
            "the curve has another number of rounds", given=f"{curves.shape[-1]} values", allowed=f"{counts.size}"
        )
    if (np.diff(counts) <= 0).any():
        raise DataError("the numbers of labels do not increase", where="labelled", given=counts.tolist())
    return counts, curves
