"""The leak check: what two parts of a split share and must not, which is rows, equal rows and groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.equal_rows import equal_row_classes
from bayesgrid.data.regression_tables import RegressionTable
from bayesgrid.errors import DataError

__all__ = ["Leak", "LeakReport", "find_leaks", "require_no_leaks"]

Rows = NDArray[np.int64]

_EXAMPLES = 5


@dataclass(frozen=True)
class Leak:
    """What the part ``second`` shares with the part ``first``.

    Args:
        first: name of one part.
        second: name of the other.
        shared_rows: rows that are in both parts.
        equal_features: rows of ``second`` whose features equal those of a row of ``first``.
        equal_rows: rows of ``second`` whose features and target equal those of a row of ``first``.
        shared_groups: groups with rows in both parts; 0 for a table without groups.
        rows_of_shared_groups: rows of ``second`` that belong to such a group.
        examples: up to five pairs of equal-featured rows, (row of ``first``, row of ``second``).
    """

    first: str
    second: str
    shared_rows: int
    equal_features: int
    equal_rows: int
    shared_groups: int
    rows_of_shared_groups: int
    examples: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LeakReport:
    """The leaks between every two parts of one split of one table."""

    dataset: str
    leaks: tuple[Leak, ...]

    @property
    def equal_rows_found(self) -> bool:
        """Whether a row, or one with equal features, is in two parts."""
        return any(leak.shared_rows or leak.equal_features for leak in self.leaks)

    @property
    def shared_groups_found(self) -> bool:
        """Whether a group has rows in two parts."""
        return any(leak.shared_groups for leak in self.leaks)

    @property
    def clean(self) -> bool:
        """Whether nothing is shared."""
        return not (self.equal_rows_found or self.shared_groups_found)


def find_leaks(table: RegressionTable, parts: Mapping[str, Rows]) -> LeakReport:
    """Compare every two of ``parts`` (name -> row indices), in the order given.

    Raises:
        DataError: if an index is not a row of the table.
    """
    for name, rows in parts.items():
        if rows.size and not (rows.min() >= 0 and rows.max() < table.rows):
            raise DataError(
                f"part {name!r} has an index that is no row", where=table.name, allowed=f"0 to {table.rows - 1}"
            )
    by_features = equal_row_classes(table.features)
    by_row = equal_row_classes(np.column_stack([table.features, table.target]))
    leaks = tuple(
        _compare(table, by_features, by_row, first, second) for first, second in combinations(parts.items(), 2)
    )
    return LeakReport(table.name, leaks)


def require_no_leaks(report: LeakReport) -> None:
    """Raise DataError, with counts and examples of the first leak, unless ``report`` is clean."""
    for leak in report.leaks:
        if leak.shared_rows or leak.equal_features or leak.shared_groups:
            raise DataError(
                f"parts {leak.first!r} and {leak.second!r} of the split leak",
                where=report.dataset,
                given=(
                    f"{leak.shared_rows} rows in both, {leak.equal_features} rows with equal features "
                    f"(rows {', '.join(f'{a} and {b}' for a, b in leak.examples) or 'none'}), "
                    f"{leak.shared_groups} shared groups"
                ),
                remedy="use `split: grouped`",
            )


def _compare(
    table: RegressionTable,
    by_features: NDArray[np.int64],
    by_row: NDArray[np.int64],
    first: tuple[str, Rows],
    second: tuple[str, Rows],
) -> Leak:
    (first_name, first_rows), (second_name, second_rows) = first, second
    twins = np.isin(by_features[second_rows], by_features[first_rows])
    shared_groups, of_shared_groups = 0, 0
    if table.groups is not None:
        shared = np.intersect1d(table.groups[first_rows], table.groups[second_rows])
        shared_groups = int(shared.size)
        of_shared_groups = int(np.isin(table.groups[second_rows], shared).sum())
    examples = tuple(
        (int(first_rows[np.flatnonzero(by_features[first_rows] == by_features[row])[0]]), int(row))
        for row in second_rows[twins][:_EXAMPLES]
    )
    return Leak(
        first=first_name,
        second=second_name,
        shared_rows=int(np.intersect1d(first_rows, second_rows).size),
        equal_features=int(twins.sum()),
        equal_rows=int(np.isin(by_row[second_rows], by_row[first_rows]).sum()),
        shared_groups=shared_groups,
        rows_of_shared_groups=of_shared_groups,
        examples=examples,
    )
