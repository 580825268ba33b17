"""How far preferences are from any order of the items: the cyclic part of a flow, cyclic triads, a winner of all.

Sources: Jiang, Lim, Yao and Ye, Statistical ranking and combinatorial Hodge theory, 2011; Kendall and Babington Smith,
On the method of paired comparisons, 1940.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["HodgeParts", "all_pairs", "condorcet_winner", "cyclic_triad_rate", "hodge_decomposition"]


@dataclass(frozen=True)
class HodgeParts:
    """A flow over m compared pairs as differences of ratings and what no ratings explain.

    Args:
        items: the k items that are compared, ascending ``[k]``.
        ratings: of these items ``[k]``, mean 0 over the items that comparisons connect.
        gradient: ``ratings[first] - ratings[second]`` ``[m]``.
        cyclic: the rest of the flow ``[m]``, orthogonal to every gradient.
        cyclic_share: weighted squares of the rest over those of the flow, 0 to 1; 0 for a flow of zeros.
    """

    items: NDArray[np.int64]
    ratings: FloatArray
    gradient: FloatArray
    cyclic: FloatArray
    cyclic_share: float


def hodge_decomposition(
    first: npt.ArrayLike, second: npt.ArrayLike, flow: npt.ArrayLike, *, weight: npt.ArrayLike | None = None
) -> HodgeParts:
    """Return the ratings that come closest to a flow in weighted least squares, and the rest.

    Pairs may be missing, and be there several times. With all pairs of n items, each once, a rating is the sum of an
    item's flows over n.

    Args:
        first: ``[m]``, item of each pair.
        second: ``[m]``, the other item.
        flow: ``[m]``, by how much the first is preferred, a logit say; negative where the second is.
        weight: ``[m]``, above 0; all 1 by default.

    Raises:
        DataError: for unlike numbers, NaN, a weight that is not positive, or an item compared with itself.
    """
    one, other = _items(first, second)
    values = checked_array(flow, name="flow", dimensions=1)
    weights = np.ones_like(values) if weight is None else checked_array(weight, name="weight", dimensions=1)
    same_shape(first=one, second=other, flow=values, weight=weights)
    if (weights <= 0).any():
        raise DataError("a weight is not positive", where="weight", given=float(weights.min()), allowed="above 0")
    items, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    left, right = places[: one.size], places[one.size :]
    rows = np.arange(one.size)
    incidence = sparse.csr_array(
        (np.r_[np.ones(one.size), -np.ones(one.size)], (np.r_[rows, rows], np.r_[left, right])),
        shape=(one.size, items.size),
    )
    laplacian = (incidence.T @ (incidence * weights[:, None])).tocsc()
    _, group = csgraph.connected_components(laplacian, directed=False)
    # Ratings are open up to a constant in each group; the first item of each is put to 0, and centred afterwards.
    free = np.setdiff1d(np.arange(items.size), np.unique(group, return_index=True)[1])
    ratings = np.zeros(items.size)
    if free.size:
        ratings[free] = splu(laplacian[free][:, free].tocsc()).solve((incidence.T @ (weights * values))[free])
    ratings -= (np.bincount(group, weights=ratings) / np.bincount(group))[group]
    gradient = ratings[left] - ratings[right]
    energy = float(weights @ values**2)
    share = float(weights @ (values - gradient) ** 2) / energy if energy else 0.0
    return HodgeParts(items, ratings, gradient, values - gradient, min(share, 1.0))


def all_pairs(table: npt.ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Return first, second and value, each ``[m]``, of the pairs above the diagonal of ``[n, n]`` that are not NaN.

    Raises:
        DataError: if the table is not square.
    """
    values = _square(table)
    first, second = np.triu_indices(len(values), k=1)
    known = ~np.isnan(values[first, second])
    return first[known].astype(np.int64), second[known].astype(np.int64), values[first, second][known]


def cyclic_triad_rate(preference: npt.ArrayLike) -> float:
    """Return the share of cyclic triads among those whose three pairs are known; NaN without any.

    A triad with a tie is no cycle. In a tournament drawn at random the rate is 1/4 in expectation.

    Args:
        preference: ``[n, n]``, skew-symmetric: positive where the row's item is preferred, 0 for a tie, NaN if unknown.

    Raises:
        DataError: if the table is not square.
    """
    values = _square(preference)
    known = (~np.isnan(values)).astype(np.float64)
    np.fill_diagonal(known, 0.0)
    beats = np.where(known > 0, values > 0, 0.0).astype(np.float64)
    triads = np.trace(known @ known @ known) / 6
    return float(np.trace(beats @ beats @ beats) / 3 / triads) if triads else float("nan")


def condorcet_winner(preference: npt.ArrayLike) -> int | None:
    """Return the item that is preferred to every other, or None if there is none.

    Args:
        preference: as for :func:`cyclic_triad_rate`; a tie, or an unknown pair, is no win.

    Raises:
        DataError: if the table is not square.
    """
    values = _square(preference)
    wins = (np.nan_to_num(values, nan=0.0) > 0).sum(axis=1)
    found = np.flatnonzero(wins == len(values) - 1)
    return int(found[0]) if found.size else None


def _items(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    one, other = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    same_shape(first=one, second=other)
    if one.ndim != 1 or not one.size:
        raise DataError("no pair", given=f"shape {one.shape}", allowed="at least one pair")
    if (one == other).any():
        raise DataError("an item is compared with itself", given=int(one[one == other][0]))
    return one, other


def _square(table: npt.ArrayLike) -> FloatArray:
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise DataError("not a table of all pairs", given=f"shape {values.shape}", allowed="[n, n]")
    return values
