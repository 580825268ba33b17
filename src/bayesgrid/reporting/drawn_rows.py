"""Which rows of a table a figure draws, and what to say to someone who gave it a table of another kind."""

from collections.abc import Sequence

import pandas as pd

from bayesgrid.errors import ConfigurationError, StateError

__all__ = ["drawn_rows", "require_columns"]

_ANOTHER_TABLE = "name a table of that kind, or another notebook, in used_in.figures of the experiment"


def drawn_rows(
    table: pd.DataFrame, quantities: Sequence[str], *, kind: str, columns: Sequence[str], what: str, remedy: str
) -> pd.DataFrame:
    """Return the rows of ``table`` that hold one of ``quantities`` and have a number.

    Args:
        table: data of a table, as written to Parquet.
        quantities: values of the column ``quantity``.
        kind: of the table that the figure is made for.
        columns: that tables of this kind have, and that tell it from others.
        what: the things drawn, in the singular.
        remedy: what to do if the table is of the right kind.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if no row is left.
    """
    require_columns(table, kind, ["quantity", "estimate", *columns])
    rows = table[table["quantity"].isin(list(quantities)) & table["estimate"].notna()]
    if len(rows):
        return rows
    found = ", ".join(map(str, table["quantity"].dropna().unique()))
    raise StateError(
        f"the table holds no {what} to draw",
        given=f"the quantities {found}" if found else "no number",
        allowed=f"a table of kind {kind} with {' or '.join(quantities)} in the column quantity",
        remedy=f"if it is of that kind, {remedy}; if not, {_ANOTHER_TABLE}",
    )


def require_columns(table: pd.DataFrame, kind: str, columns: Sequence[str]) -> None:
    """Raise ConfigurationError if ``table`` lacks one of the ``columns`` that a table of ``kind`` has."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ConfigurationError(
            f"the figure is for a table of kind {kind}, and this table lacks {', '.join(missing)}",
            given=f"the columns {', '.join(map(str, table.columns))}",
            allowed=f"the columns {', '.join(columns)}",
            remedy=_ANOTHER_TABLE,
        )
