"""The most that scores of items, which order them, can reach on labelled pairs: a maximum acyclic subgraph.

A model with one number per item prefers along an order, so on pairs that go in circles it must be wrong somewhere: on
one pair of three in a cycle of three, on one of n in a cycle of n. No order keeps more than the heaviest set of labels
without a cycle. Labels between different strongly connected parts are never lost, so only the parts themselves are
searched: exactly, by dynamic programming over subsets of items (Held and Karp 1962), up to 16 items; beyond that an
order found by moving single items bounds it from below, and a linear program from above, which asks that each cycle
loses one label (Grötschel, Jünger and Reinelt 1984), or, for parts of more than 4,000 pairs, disjoint cycles.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse import csgraph

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["EXACT_ITEMS", "TransitiveCeiling", "accuracy_ceiling", "pairwise_accuracy_ceiling", "transitive_ceiling"]

EXACT_ITEMS = 16
"""Items of a strongly connected part up to which the ceiling is exact."""

_ROUNDS = 25
"""Linear programs at most; fewer cuts only loosen the bound."""
_MOST_LABELS = 4000
"""Pairs of a part up to which programs are solved; beyond, disjoint cycles give the bound."""
_CUT = 1e-6


@dataclass(frozen=True)
class TransitiveCeiling:
    """Bounds of the share of labels that an order of the items can keep; equal where the ceiling is known exactly."""

    lower: float
    upper: float

    @property
    def exact(self) -> bool:
        """Whether both bounds are one number."""
        return self.upper - self.lower <= 1e-9


def transitive_ceiling(
    winner: npt.ArrayLike, loser: npt.ArrayLike, weight: npt.ArrayLike | None = None
) -> TransitiveCeiling:
    """Return the share of the weight of labels that the best order of the items keeps.

    Args:
        winner: ``[m]``, the item that each label prefers.
        loser: ``[m]``, the other item; pairs may be there several times, and with both labels.
        weight: ``[m]``, 0 or more; all 1 by default.

    Raises:
        DataError: for no label, unlike numbers, a weight below 0 or none above, or an item compared with itself.
    """
    one, other = np.asarray(winner, dtype=np.int64), np.asarray(loser, dtype=np.int64)
    weights = np.ones(one.shape) if weight is None else checked_array(weight, name="weight", dimensions=1)
    same_shape(winner=one, loser=other, weight=weights)
    if one.ndim != 1 or not one.size or (weights < 0).any() or not weights.sum() or (one == other).any():
        raise DataError(
            "no labels to order items by",
            given=f"shape {one.shape}, total weight {weights.sum():g}",
            allowed="at least one label of positive weight, each between two different items",
        )
    items, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    left, right = places[: one.size], places[one.size :]
    table = sparse.coo_array((weights, (left, right)), shape=(items.size, items.size)).tocsr()
    # Of two opposite labels of one pair the lighter is lost in any order, and the rest of the heavier is open.
    net = (table - table.T).maximum(0).tocsr()
    net.eliminate_zeros()
    total, kept = float(weights.sum()), float(weights.sum() - net.sum()) / 2
    _, part = csgraph.connected_components(net, directed=True, connection="strong")
    edges = net.tocoo()
    kept += float(edges.data[part[edges.row] != part[edges.col]].sum())
    lower = upper = kept
    inside = np.unique(part[edges.row[part[edges.row] == part[edges.col]]])
    for number in inside.tolist():
        own = np.flatnonzero(part == number)
        least, most = _kept_within(net[own][:, own].toarray())
        lower, upper = lower + least, upper + most
    return TransitiveCeiling(min(lower / total, 1.0), min(upper / total, 1.0))


def accuracy_ceiling(first: npt.ArrayLike, second: npt.ArrayLike, target: npt.ArrayLike) -> TransitiveCeiling:
    """Return the highest accuracy of scores per item on pairs, where an undecided label counts as half right.

    Args:
        first: ``[m]``, item.
        second: ``[m]``, the other item.
        target: ``[m]``, probability that the first is preferred; its side of 1/2 is the label.

    Raises:
        DataError: for unlike numbers, or an item compared with itself.
    """
    one, other, label = _labels(first, second, target)
    decided = label != 0
    ties = float((~decided).mean()) / 2
    if not decided.any():
        return TransitiveCeiling(ties, ties)
    ahead = label[decided] > 0
    found = transitive_ceiling(
        np.where(ahead, one[decided], other[decided]), np.where(ahead, other[decided], one[decided])
    )
    share = float(decided.mean())
    return TransitiveCeiling(ties + share * found.lower, ties + share * found.upper)


def pairwise_accuracy_ceiling(first: npt.ArrayLike, second: npt.ArrayLike, target: npt.ArrayLike) -> float:
    """Return the highest accuracy of any model that sees the two items alone: the more frequent label of each pair.

    It is below 1 where the same two items have both labels, as when two criteria were asked about.

    Args:
        first: as for :func:`accuracy_ceiling`.
        second: the other item.
        target: probability that the first is preferred.

    Raises:
        DataError: as :func:`accuracy_ceiling`.
    """
    one, other, label = _labels(first, second, target)
    signed = np.where(one < other, label, -label)
    ends = np.stack([np.minimum(one, other), np.maximum(one, other)], axis=1)
    _, pair = np.unique(ends, axis=0, return_inverse=True)
    ahead = np.abs(np.bincount(pair.ravel(), weights=signed))
    return float(0.5 + ahead.sum() / (2 * one.size))


def _labels(
    first: npt.ArrayLike, second: npt.ArrayLike, target: npt.ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    one, other = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    label = np.sign(checked_array(target, name="target", dimensions=1) - 0.5)
    same_shape(first=one, second=other, target=label)
    if (one == other).any():
        raise DataError("an item is compared with itself", given=int(one[one == other][0]))
    return one, other, label


def _kept_within(net: FloatArray) -> tuple[float, float]:
    """Return bounds of the weight that an order keeps of a strongly connected part ``[n, n]``."""
    if len(net) <= EXACT_ITEMS:
        kept = _kept_exactly(net)
        return kept, kept
    found = _kept_by_moves(net)
    lost, acyclic = _lost_at_least(net)
    total = float(net.sum())
    if acyclic or total - lost - found < 1e-9:
        return total - lost, total - lost
    return found, total - lost


def _kept_exactly(net: FloatArray) -> float:
    """Return the most that an order keeps.

    The best of a set is that of the set without its last item, and what the others have over that item.
    """
    size = len(net)
    masks = np.arange(2**size)
    gain = np.zeros((size, 2**size))
    for item in range(size):
        gain[:, 2**item : 2 ** (item + 1)] = gain[:, : 2**item] + net[item][:, None]
    best = np.zeros(2**size)
    count = np.bitwise_count(masks)
    for members in range(2, size + 1):
        layer = masks[count == members]
        candidates = np.full(layer.size, -1.0)
        for last in range(size):
            has = (layer >> last & 1).astype(np.bool_)
            before = layer[has] ^ (1 << last)
            candidates[has] = np.maximum(candidates[has], best[before] + gain[last][before])
        best[layer] = candidates
    return float(best[-1])


def _kept_by_moves(net: FloatArray) -> float:
    """Return what an order keeps that no move of a single item betters, from that of net wins on."""
    order = np.argsort(-(net.sum(axis=1) - net.sum(axis=0)), kind="stable")
    improved = True
    while improved:
        improved = False
        for item in order.copy():
            place = int(np.flatnonzero(order == item)[0])
            rest = np.delete(order, place)
            # Before place p: what the item has over those after, and those before have over it.
            ahead = net[item][rest]
            behind = net[rest, item]
            value = np.r_[0.0, np.cumsum(behind - ahead)] + ahead.sum()
            best = int(value.argmax())
            if value[best] > value[place] + 1e-9:
                order, improved = np.insert(rest, best, item), True
    return float(np.triu(net[np.ix_(order, order)]).sum())


def _lost_at_least(net: FloatArray) -> tuple[float, bool]:
    """Return a lower bound of the weight that any order loses, and whether some order loses just so much."""
    rows, columns = np.nonzero(net)
    weights = net[rows, columns]
    number = {edge: place for place, edge in enumerate(zip(rows.tolist(), columns.tolist(), strict=True))}
    whole = bool(np.allclose(weights, np.round(weights)))
    cycles: dict[tuple[int, ...], None] = {}
    lost = np.zeros(weights.size)
    if weights.size > _MOST_LABELS:
        return _packed(weights, sorted(_violated(lost, rows, columns, len(net), number))), False
    for _ in range(_ROUNDS):
        new = _violated(lost, rows, columns, len(net), number) - cycles.keys()
        if not new:
            decided = bool(np.all(np.minimum(lost, 1 - lost) < _CUT))
            return float(weights @ lost), decided
        cycles.update(dict.fromkeys(sorted(new)))
        places = np.concatenate([np.array(cycle) for cycle in cycles])
        which = np.repeat(np.arange(len(cycles)), [len(cycle) for cycle in cycles])
        table = sparse.csr_array((np.full(places.size, -1.0), (which, places)), shape=(len(cycles), weights.size))
        lost = linprog(weights, A_ub=table, b_ub=-np.ones(len(cycles)), bounds=(0, 1), method="highs").x
    bound = float(weights @ lost)
    return float(np.ceil(bound - _CUT)) if whole else bound, False


def _packed(weights: FloatArray, cycles: list[tuple[int, ...]]) -> float:
    """Return the weight of cycles that share no label, or only shares of it: so much is lost at least."""
    left, total = weights.copy(), 0.0
    for cycle in sorted(cycles, key=len):
        places = list(cycle)
        least = float(left[places].min())
        left[places] -= least
        total += least
    return total


def _violated(
    lost: FloatArray, rows: NDArray[np.int64], columns: NDArray[np.int64], size: int, number: dict[tuple[int, int], int]
) -> set[tuple[int, ...]]:
    """Return cycles, as ascending numbers of their labels, that lose less than one label; the shortest through each."""
    # A path of a zero length would count as no path.
    lengths = sparse.csr_array((np.maximum(lost, 0.0) + 1e-9, (rows, columns)), shape=(size, size))
    distance, before = csgraph.dijkstra(lengths, return_predecessors=True)
    found = set()
    for place in np.flatnonzero(lost + distance[columns, rows] < 1 - _CUT).tolist():
        start, end = int(columns[place]), int(rows[place])
        cycle = [place]
        while end != start:
            previous = int(before[start, end])
            cycle.append(number[previous, end])
            end = previous
        found.add(tuple(sorted(cycle)))
    return found
