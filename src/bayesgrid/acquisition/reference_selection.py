"""How the reference code chooses candidates, defects included; read by ``mode: faithful`` alone.

Source: the rules of the reference code of BALSA (arXiv 2501.01248) at commit d68a3380.
"""

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.selection import Choice, check_query_size
from bayesgrid.errors import DataError

__all__ = ["distances_to_labelled", "nan_first", "uniform_with_replacement"]

_ROWS_AT_ONCE = 2048


def nan_first(scores: npt.NDArray[np.floating], query_size: int) -> Choice:
    """Choose the ``query_size`` highest of ``scores`` `[n]` at once, NaN before every number and ties in order.

    A score that could not be computed is thus the most wanted of all.

    Raises:
        DataError: if ``query_size`` is not within 1 .. n.
    """
    check_query_size(query_size, scores.shape[0])
    missing = np.isnan(scores)
    order = np.lexsort((-np.where(missing, 0.0, scores), ~missing))
    return Choice(positions=order[:query_size].astype(np.int64), nonfinite=int(np.count_nonzero(~np.isfinite(scores))))


def uniform_with_replacement(candidates: int, query_size: int, rng: np.random.Generator) -> Choice:
    """Choose ``query_size`` of ``candidates`` positions by indices drawn with replacement.

    The indices are bought in descending order and leave the pool one by one, so that a repeated index buys the row that
    has moved into its place, or the last one where none has: the batch is full, yet not uniform over all batches.

    Raises:
        DataError: if ``query_size`` is not within 1 .. ``candidates``.
    """
    check_query_size(query_size, candidates)
    pool = list(range(candidates))
    drawn = np.sort(rng.integers(candidates, size=query_size))[::-1]
    bought = [pool.pop(min(int(index), len(pool) - 1)) for index in drawn]
    return Choice(positions=np.array(bought, dtype=np.int64), nonfinite=0)


def distances_to_labelled(
    candidates: npt.NDArray[np.floating], labelled: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return the Euclidean distance of each of the ``candidates`` `[n, h]` to the nearest ``labelled`` `[l, h]`.

    As a score it does not know what else is chosen, so that a batch may be q neighbours of one outlier.

    Raises:
        DataError: if the numbers of features differ, or nothing is labelled.
    """
    if candidates.ndim != 2 or labelled.ndim != 2 or candidates.shape[1] != labelled.shape[1] or not len(labelled):
        raise DataError(
            "candidates cannot be compared with labelled examples",
            given=f"{candidates.shape} and {labelled.shape}",
            allowed="[n, h] and [l, h], at least one row",
        )
    points, centres = candidates.astype(np.float64), labelled.astype(np.float64)
    # About the centres' mean, because the products below lose the digits that two far-away points share.
    origin = centres.mean(axis=0)
    points -= origin
    centres -= origin
    lengths = np.einsum("ij,ij->i", centres, centres)
    nearest = np.empty(len(points))
    for first in range(0, len(points), _ROWS_AT_ONCE):
        rows = points[first : first + _ROWS_AT_ONCE]
        lowest = (lengths - 2.0 * (rows @ centres.T)).min(axis=1)
        nearest[first : first + _ROWS_AT_ONCE] = np.einsum("ij,ij->i", rows, rows) + lowest
    return np.sqrt(np.maximum(nearest, 0.0))
