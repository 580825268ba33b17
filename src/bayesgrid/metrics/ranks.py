"""Which place each method takes on each data set, and its mean place."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array

__all__ = ["mean_ranks", "ranks_of_methods"]


def ranks_of_methods(values: npt.ArrayLike, *, lower_is_better: bool) -> FloatArray:
    """Return the rank of each method on each data set, 1 the best; tied methods share their average rank.

    Args:
        values: ``[D, M]``, one value per data set and method: the mean over seeds, never a single seed.
        lower_is_better: True for losses and errors, False for accuracies.

    Returns:
        ``[D, M]``; every row sums to ``M (M + 1) / 2``.

    Raises:
        DataError: for fewer than 2 methods, NaN or infinity.
    """
    table = checked_array(values, name="values per data set and method", dimensions=2)
    if table.shape[1] < 2:
        raise DataError("ranks compare methods", given=f"{table.shape[1]} method", allowed="at least 2 methods")
    return np.asarray(stats.rankdata(table if lower_is_better else -table, axis=1), dtype=np.float64)


def mean_ranks(values: npt.ArrayLike, *, lower_is_better: bool) -> FloatArray:
    """Return the mean over data sets of :func:`ranks_of_methods`, ``[M]``; every data set counts the same.

    Raises:
        DataError: as :func:`ranks_of_methods`.
    """
    return np.asarray(ranks_of_methods(values, lower_is_better=lower_is_better).mean(axis=0), dtype=np.float64)
