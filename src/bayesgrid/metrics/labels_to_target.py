"""How many labels a learning curve needs to reach a target, and how that compares with a reference curve."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from bayesgrid.errors import DataError
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["LabelRatio", "LabelsToTarget", "labels_to_target", "paired_label_ratio", "smoothed_mean_curve"]


@dataclass(frozen=True)
class LabelsToTarget:
    """The labels needed; when ``censored`` the target was not reached and more than ``labels`` are needed."""

    labels: float
    censored: bool


@dataclass(frozen=True)
class LabelRatio:
    """Labels of a method over labels of the reference to the same target, with what censoring leaves unknown."""

    interval: Interval
    """The estimate is a lower bound if ``first`` is censored, an upper bound if ``reference`` is, NaN if both are."""
    first: LabelsToTarget
    reference: LabelsToTarget
    first_censored: float
    """Share of resamples in which the method does not reach the target; the interval's upper end may be infinite."""
    reference_censored: float
    """Share of resamples in which the reference does not reach it; the interval's lower end may be 0."""


def smoothed_mean_curve(values: npt.ArrayLike, *, lower_is_better: bool) -> FloatArray:
    """Return the mean over seeds made monotone by isotonic least squares: it never gets worse with more labels.

    Args:
        values: ``[S, R]``, curves of S seeds.
        lower_is_better: True makes the curve non-increasing, False non-decreasing.

    Returns:
        ``[R]``.

    Raises:
        DataError: for NaN, infinity or an empty table.

    Source: Barlow, Bartholomew, Bremner & Brunk (1972), Statistical inference under order restrictions.
    """
    curves = checked_array(values, name="curves", dimensions=2)
    fitted = optimize.isotonic_regression(curves.mean(axis=0), increasing=not lower_is_better)
    return np.asarray(fitted.x, dtype=np.float64)


def labels_to_target(
    labelled: npt.ArrayLike, values: npt.ArrayLike, target: float, *, lower_is_better: bool
) -> LabelsToTarget:
    """Return the first number of labels at which the smoothed mean curve is as good as ``target``.

    Between two rounds the curve is a straight line, so that the number does not depend on the query size. A target met
    at the first round gives the labels of the first round, one never met those of the last round, censored.

    Args:
        labelled: ``[R]``, labelled examples at each round, increasing.
        values: ``[S, R]``, curves of S seeds.
        target: value to reach, in the unit of the metric.
        lower_is_better: True for losses and errors.

    Raises:
        DataError: for counts that do not increase, NaN, infinity, or shapes that do not fit.
    """
    counts = _counts(labelled, checked_array(values, name="curves", dimensions=2))
    if not np.isfinite(target):
        raise DataError("not a target", where="target", given=target, allowed="a finite value")
    curve = smoothed_mean_curve(values, lower_is_better=lower_is_better)
    return _first_crossing(counts, curve, target, lower_is_better=lower_is_better)


def paired_label_ratio(
    labelled: npt.ArrayLike,
    first: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    lower_is_better: bool,
    generator: np.random.Generator,
    target: float | None = None,
    level: float = 0.95,
    replicates: int = 2000,
) -> LabelRatio:
    """Return labels(first) / labels(reference) to the target, with a percentile bootstrap over seeds.

    A resample draws seeds, the same ones for both methods. One that is censored knows its ratio only as a range, from 0
    or to infinity; the interval takes the quantile of the lower ends and that of the upper ends, so it is as wide as
    what was not seen requires. With few seeds it covers less than its level (see
    :mod:`bayesgrid.metrics.bootstrap`).

    Args:
        labelled: ``[R]``, increasing, greater than 0.
        first: ``[S, R]``, curves of S seeds.
        reference: ``[S, R]``, curves of the same seeds in the same order.
        lower_is_better: True for losses and errors.
        generator: source of the resamples.
        target: value to reach; None takes the last value of the reference's smoothed mean curve, anew in each resample.
        level: coverage.
        replicates: bootstrap resamples.

    Raises:
        DataError: for fewer than 2 seeds, counts that are not positive or do not increase, NaN, infinity, shapes that
            differ, a level outside (0, 1) or fewer than 2 replicates.
    """
    left = checked_array(first, name="first", dimensions=2)
    right = checked_array(reference, name="reference", dimensions=2)
    same_shape(first=left, reference=right)
    counts = _counts(labelled, left)
    seeds = left.shape[0]
    if counts[0] <= 0:
        raise DataError("a ratio needs labels", where="labelled", given=counts[0], allowed="greater than 0")
    if seeds < 2:
        raise DataError("an interval over seeds needs several", given=f"{seeds} seed", allowed="at least 2 seeds")
    if not 0 < level < 1:
        raise DataError("not a confidence level", where="level", given=level, allowed="between 0 and 1")
    if replicates < 2:
        raise DataError("too few bootstrap replicates", where="replicates", given=replicates, allowed="at least 2")
    if target is not None and not np.isfinite(target):
        raise DataError("not a target", where="target", given=target, allowed="a finite value")

    def both(rows: npt.NDArray[np.int64]) -> tuple[LabelsToTarget, LabelsToTarget]:
        of_first = smoothed_mean_curve(left[rows], lower_is_better=lower_is_better)
        of_reference = smoothed_mean_curve(right[rows], lower_is_better=lower_is_better)
        aim = float(of_reference[-1]) if target is None else target
        return (
            _first_crossing(counts, of_first, aim, lower_is_better=lower_is_better),
            _first_crossing(counts, of_reference, aim, lower_is_better=lower_is_better),
        )

    observed = both(np.arange(seeds))
    resamples = [both(rows) for rows in generator.integers(0, seeds, size=(replicates, seeds))]
    # Quantiles that are order statistics: an infinite end must not be averaged with its neighbour.
    lower = np.quantile([_lower_end(pair) for pair in resamples], (1 - level) / 2, method="lower")
    upper = np.quantile([_upper_end(pair) for pair in resamples], (1 + level) / 2, method="higher")
    unknown = observed[0].censored and observed[1].censored
    estimate = float("nan") if unknown else observed[0].labels / observed[1].labels
    return LabelRatio(
        interval=Interval(estimate, float(lower), float(upper)),
        first=observed[0],
        reference=observed[1],
        first_censored=sum(pair[0].censored for pair in resamples) / replicates,
        reference_censored=sum(pair[1].censored for pair in resamples) / replicates,
    )


def _lower_end(pair: tuple[LabelsToTarget, LabelsToTarget]) -> float:
    return 0.0 if pair[1].censored else pair[0].labels / pair[1].labels


def _upper_end(pair: tuple[LabelsToTarget, LabelsToTarget]) -> float:
    return float("inf") if pair[0].censored else pair[0].labels / pair[1].labels


def _first_crossing(counts: FloatArray, curve: FloatArray, target: float, *, lower_is_better: bool) -> LabelsToTarget:
    reached = curve <= target if lower_is_better else curve >= target
    if not reached.any():
        return LabelsToTarget(float(counts[-1]), censored=True)
    after = int(reached.argmax())
    if after == 0:
        return LabelsToTarget(float(counts[0]), censored=False)
    share = (target - curve[after - 1]) / (curve[after] - curve[after - 1])
    return LabelsToTarget(float(counts[after - 1] + share * (counts[after] - counts[after - 1])), censored=False)


def _counts(labelled: npt.ArrayLike, curves: FloatArray) -> FloatArray:
    counts = checked_array(labelled, name="labelled", dimensions=1)
    if curves.shape[-1] != counts.size:
        raise DataError(
            "the curve has another number of rounds", given=f"{curves.shape[-1]} values", allowed=f"{counts.size}"
        )
    if (np.diff(counts) <= 0).any():
        raise DataError("the numbers of labels do not increase", where="labelled", given=counts.tolist())
    return counts
