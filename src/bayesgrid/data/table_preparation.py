"""Regression tables on the way from their source to disk: read, compared with the catalog, stored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from bayesgrid.data.regression_tables import TABLE_FILE, RegressionTable, table_digest, write_table
from bayesgrid.errors import DataError
from bayesgrid.grid.sources import RegressionTableEntry
from bayesgrid.store.atomic import atomic_write

__all__ = ["check_table", "store_table"]

_DESCRIPTION = {
    "label",
    "version",
    "licence",
    "citation",
    "rows",
    "features",
    "published_rows",
    "groups",
    "published_splits",
    "note",
}


def check_table(name: str, entry: RegressionTableEntry, table: RegressionTable) -> None:
    """Raise DataError unless ``table`` is what the catalog's ``entry`` for data set ``name`` says."""
    found = (table.rows, len(table.feature_names))
    if found != (entry.rows, entry.features):
        raise DataError(
            "the table has another size than the catalog says",
            where=f"data set {name!r}",
            given=f"{found[0]} rows, {found[1]} features",
            allowed=f"{entry.rows} rows, {entry.features} features",
        )
    if (table.groups is None) != (entry.groups is None):
        raise DataError(
            "the catalog and the table disagree on whether the rows have groups",
            where=f"data set {name!r}",
            given=f"groups: {entry.groups}",
        )
    if table.published_splits != (entry.published_splits or 0):
        raise DataError(
            "the catalog and the table disagree on the number of published splits",
            where=f"data set {name!r}",
            given=table.published_splits,
            allowed=entry.published_splits or 0,
        )
    digest = table_digest(table)
    if entry.table_sha256 is not None and digest != entry.table_sha256:
        raise DataError(
            "the values are not those the catalog means: 'table_sha256' differs",
            where=f"data set {name!r}",
            given=digest,
            allowed=entry.table_sha256,
            remedy="if the change is meant, raise 'version' and correct 'table_sha256' in the catalog",
        )


def store_table(name: str, entry: RegressionTableEntry, table: RegressionTable, folder: Path) -> dict[str, Any]:
    """Write ``table`` into ``folder`` and return what the record of the data set says about it."""
    named = replace(table, name=name)
    with atomic_write(folder / TABLE_FILE) as temporary:
        write_table(named, temporary)
    return {"table_sha256": table_digest(named), **entry.model_dump(mode="json", include=_DESCRIPTION)}
