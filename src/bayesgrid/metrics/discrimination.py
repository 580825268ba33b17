"""How well a score separates two kinds of examples, whatever its scale."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import checked_array, same_shape

__all__ = ["area_under_roc"]


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
    rank_sum = float(np.sum(stats.rankdata(values)[kinds == 1]))
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
