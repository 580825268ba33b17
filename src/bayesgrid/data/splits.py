"""Splitting the rows of a table: test rows, validation rows, the first labels, the pool.

The test split is one for all seeds; the validation split and the first labels are drawn per seed. Test rows are
``ceil(f n)`` of ``n``, unless the data set comes with its own, and validation rows ``floor(f n)`` of the others, which
gives the training rows of BALSA (arXiv 2501.01248, table 2). All results are sorted row indices.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.random_streams import random_stream

__all__ = [
    "LabelSplit",
    "Protocol",
    "RowSplit",
    "initial_labels",
    "published_split",
    "split_rows",
    "split_validation",
]

Protocol = Literal["random", "grouped"]
Rows = NDArray[np.int64]

_WINDOW = 64


@dataclass(frozen=True)
class RowSplit:
    """Two parts of the rows: those kept, and those held out for validation or testing."""

    kept: Rows
    held_out: Rows


@dataclass(frozen=True)
class LabelSplit:
    """The training rows whose label is known at the start, and the pool of those whose label can be bought."""

    labelled: Rows
    pool: Rows


def split_rows(
    rows_or_groups: int | NDArray[np.int64], protocol: Protocol, test_fraction: float, test_seed: int
) -> RowSplit:
    """Hold out test rows, the same for every training seed.

    Args:
        rows_or_groups: number of rows, or the group of each row ``[n]``, which ``grouped`` needs.
        protocol: ``random`` draws rows; ``grouped`` draws whole groups, so that none is on both sides, and comes as
            near to the wanted size as the groups allow.
        test_fraction: share of the rows held out.
        test_seed: seed of the stream ``test_split``.

    Raises:
        ConfigurationError: if the fraction leaves a side empty, or ``grouped`` is asked for without groups.
        DataError: if there are fewer than two groups.
    """
    if isinstance(rows_or_groups, int):
        rows, groups = np.arange(rows_or_groups), None
    else:
        rows, groups = np.arange(rows_or_groups.size), rows_or_groups
    stream = random_stream(test_seed, "test_split")
    # The small subtrahend and addend undo binary rounding: 0.2 * 5875 must not become 1175.0000000000002.
    held_out = math.ceil(test_fraction * rows.size - 1e-9)
    return _split(rows, groups, protocol, held_out, stream, f"test_fraction: {test_fraction}")


def published_split(test_masks: NDArray[np.bool_] | None, index: int) -> RowSplit:
    """Hold out the test rows of one of the splits published with a data set.

    Args:
        test_masks: the test rows of each split ``[n, k]``, or None for a data set without.
        index: which split, from 0.

    Raises:
        ConfigurationError: if there are no published splits, or fewer.
    """
    if test_masks is None:
        raise ConfigurationError(
            "key 'labels.split': no test splits are published with this data set", given="published", allowed="random"
        )
    if not 0 <= index < test_masks.shape[1]:
        raise ConfigurationError(
            "key 'labels.published_split': no such split", given=index, allowed=f"0 to {test_masks.shape[1] - 1}"
        )
    return RowSplit(np.flatnonzero(~test_masks[:, index]), np.flatnonzero(test_masks[:, index]))


def split_validation(
    kept: Rows, groups: NDArray[np.int64] | None, protocol: Protocol, validation_fraction: float, seed: int
) -> RowSplit:
    """Hold out validation rows of ``kept``, drawn from the stream ``validation_split`` of ``seed``.

    Args:
        kept: row indices left by the test split.
        groups: the group of each row of the whole table ``[n]``, or None.
        protocol: as in :func:`split_rows`.
        validation_fraction: share of ``kept`` that is held out.
        seed: the training seed.

    Raises:
        ConfigurationError: if the fraction leaves a side empty, or ``grouped`` is asked for without groups.
        DataError: if ``kept`` holds fewer than two groups.
    """
    stream = random_stream(seed, "validation_split")
    own = None if groups is None else groups[kept]
    held_out = math.floor(validation_fraction * kept.size + 1e-9)
    return _split(kept, own, protocol, held_out, stream, f"validation_fraction: {validation_fraction}")


def initial_labels(train: Rows, count: int, seed: int) -> LabelSplit:
    """Draw ``count`` rows of ``train`` without replacement from the stream ``initial_labels`` of ``seed``.

    A smaller count gives a subset of what a larger one gives.

    Raises:
        ConfigurationError: if there are fewer training rows than that.
    """
    if not 0 < count <= train.size:
        raise ConfigurationError(
            "key 'labels.initial': not as many training rows",
            given=count,
            allowed=f"1 to {train.size}",
        )
    order = random_stream(seed, "initial_labels").permutation(train.size)
    return LabelSplit(np.sort(train[order[:count]]), np.sort(train[order[count:]]))


def _split(
    rows: Rows,
    groups: NDArray[np.int64] | None,
    protocol: Protocol,
    held_out_rows: int,
    stream: np.random.Generator,
    setting: str,
) -> RowSplit:
    if not 0 < held_out_rows < rows.size:
        raise ConfigurationError(
            "key 'labels': one side of a split would be empty", given=f"{setting}, of {rows.size} rows"
        )
    if protocol == "random":
        order = stream.permutation(rows.size)
        return RowSplit(np.sort(rows[order[held_out_rows:]]), np.sort(rows[order[:held_out_rows]]))
    if groups is None:
        raise ConfigurationError(
            "key 'labels.split': the rows of this data set have no groups", given="grouped", allowed="random"
        )
    held_out = _choose_groups(groups, held_out_rows, stream)
    return RowSplit(rows[~held_out], rows[held_out])


def _choose_groups(groups: NDArray[np.int64], wanted: int, stream: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask of rows whose groups together have as nearly ``wanted`` rows as possible.

    Groups are taken in random order until the next would be too many; then the choice among the groups around that
    point is made anew, as an exact subset-sum problem. With at most 64 groups the optimum over all of them is found.
    """
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if sizes.size < 2:
        raise DataError("a grouped split needs at least two groups", given=f"{sizes.size}")
    order = stream.permutation(sizes.size)
    ordered = sizes[order]
    fitting = int(np.searchsorted(np.cumsum(ordered), wanted, side="right"))
    first = max(0, fitting - _WINDOW)
    window = ordered[first : fitting + _WINDOW]
    remainder = wanted - int(ordered[:first].sum())
    allowed = range(0 if first else 1, int(window.sum()) + (fitting + _WINDOW < sizes.size))
    chosen = np.zeros(sizes.size, dtype=np.bool_)
    chosen[order[:first]] = True
    chosen[order[first : fitting + _WINDOW]] = _subset_sum(window.tolist(), remainder, allowed)
    return chosen[member]


def _subset_sum(sizes: list[int], wanted: int, allowed: range) -> list[bool]:
    """Return which of ``sizes`` to add up to come nearest to ``wanted`` within ``allowed``, earlier ones preferred."""
    reachable = [1]
    for size in sizes:
        # Bit s says that some of the sizes so far add up to s.
        reachable.append(reachable[-1] | reachable[-1] << size)
    total = min(
        (total for total in allowed if reachable[-1] >> total & 1), key=lambda total: (abs(total - wanted), total)
    )
    taken = [False] * len(sizes)
    for index in reversed(range(len(sizes))):
        if not reachable[index] >> total & 1:
            taken[index] = True
            total -= sizes[index]
    return taken
