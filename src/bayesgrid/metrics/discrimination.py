"""How well a score separates two kinds of examples, whatever its scale."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["area_under_precision_recall", "area_under_roc", "false_positive_rate"]


def area_under_roc(score: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Return ``P(score of a positive > score of a negative) + P(equal) / 2`` over all pairs; chance gives 0.5.

    From the rank sum R of the positives, ties sharing average ranks: ``(R - P (P + 1) / 2) / (P Q)`` for P positives
    and Q negatives (Mann & Whitney 1947; Hanley & McNeil 1982), O(N log N).

    Args:
        score: ``[N]``, higher for positives; infinite scores are ordered as numbers.
        positive: ``[N]``, 1 or True for out-of-distribution inputs, wrong predictions, or whatever is to be detected.

    Raises:
        DataError: for NaN, shapes that differ, outcomes other than 0 and 1, or examples of one kind only.
    """
    values, kinds = _checked(score, positive)
    positives = int(kinds.sum())
    rank_sum = float(np.sum(stats.rankdata(values)[kinds == 1]))
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (kinds.size - positives))


def area_under_precision_recall(score: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Return the average precision ``sum_k (R_k - R_(k-1)) P_k`` over thresholds; chance gives the share of positives.

    A step function without interpolation, which would be too optimistic (Davis & Goadrich 2006); examples of equal
    score pass a threshold together.

    Args:
        score: ``[N]``, higher for positives; infinite scores are ordered as numbers.
        positive: ``[N]``, 1 or True for what is to be detected.

    Raises:
        DataError: as :func:`area_under_roc`.
    """
    found, alarms = _detections(*_checked(score, positive))
    precision = found / (found + alarms)
    return float(np.diff(found, prepend=0.0) @ precision / found[-1])


def false_positive_rate(score: npt.ArrayLike, positive: npt.ArrayLike, *, recall: float = 0.95) -> float:
    """Return the share of negatives above the highest threshold that finds at least ``recall`` of the positives.

    FPR95 by default; lower is better, and a score that says nothing gives about ``recall``.

    Args:
        score: ``[N]``, higher for positives; infinite scores are ordered as numbers.
        positive: ``[N]``, 1 or True for what is to be detected.
        recall: share of positives to be found, above 0 and at most 1.

    Raises:
        DataError: as :func:`area_under_roc`, or for a recall outside (0, 1].
    """
    if not 0 < recall <= 1:
        raise DataError("not a recall", where="recall", given=recall, allowed="above 0, at most 1")
    found, alarms = _detections(*_checked(score, positive))
    # A share may fall short of its fraction by rounding alone.
    enough = int(np.argmax(found >= recall * found[-1] - 1e-9))
    return float(alarms[enough] / alarms[-1])


def _detections(values: FloatArray, kinds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the positives and the negatives at or above every distinct score, from the highest score down."""
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    found = np.cumsum(kinds[order])[last]
    return found, last + 1 - found


def _checked(score: npt.ArrayLike, positive: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    values = checked_array(score, name="score", dimensions=1, finite=False)
    kinds = checked_array(positive, name="positive", dimensions=1)
    same_shape(score=values, positive=kinds)
    if ((kinds != 0) & (kinds != 1)).any():
        raise DataError("an outcome is neither positive nor negative", where="positive", allowed="0 or 1")
    positives = int(kinds.sum())
    negatives = kinds.size - positives
    if positives == 0 or negatives == 0:
        raise DataError(
            "examples of one kind only", given=f"{positives} positive, {negatives} negative", allowed="some of each"
        )
    return values, kinds
