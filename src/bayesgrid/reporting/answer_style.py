"""How methods are drawn in figures about answers: one colour, marker and line each, and their order in a figure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from bayesgrid.reporting.answer_names import row_label
from bayesgrid.reporting.names import seeds_text
from bayesgrid.reporting.style import OKABE_ITO, AgentStyle, agent_style

__all__ = [
    "UNHEALTHY",
    "RowKey",
    "bold_text",
    "cell_text",
    "health_note",
    "method_style",
    "printed_name",
    "row_keys",
    "row_legend",
    "row_styles",
    "unhealthy_keys",
]

RowKey = tuple[str, str]
"""Method and variant."""
UNHEALTHY = " *"
"""Stands behind the name of a method whose fit is not healthy in some seed."""

_DASHES = "--"
_DOTS: tuple[int, tuple[float, ...]] = (0, (1.2, 1.2))
_DASH_DOT: tuple[int, tuple[float, ...]] = (0, (4.5, 1.3, 1.2, 1.3))
_METHODS: dict[str, tuple[str, str, str | tuple[int, tuple[float, ...]]]] = {
    "zeroshot": (OKABE_ITO["black"], "X", _DOTS),
    "mle": (OKABE_ITO["black"], "o", "-"),
    "map": (OKABE_ITO["orange"], "s", _DASHES),
    "mcdropout": (OKABE_ITO["sky blue"], "^", "-"),
    "ensemble": (OKABE_ITO["bluish green"], "v", "-"),
    "laplace": (OKABE_ITO["orange"], "D", "-"),
    "laplace_kronecker": (OKABE_ITO["bluish green"], "H", _DASH_DOT),
    "blob": (OKABE_ITO["vermilion"], "p", "-"),
    "blob_mean": (OKABE_ITO["vermilion"], "<", _DOTS),
    "scalabl": (OKABE_ITO["blue"], ">", "-"),
    "scalabl_mean": (OKABE_ITO["blue"], "d", _DOTS),
    "tfb": (OKABE_ITO["reddish purple"], "h", _DASHES),
    "ivon": (OKABE_ITO["sky blue"], "8", _DASH_DOT),
}
_FURTHER_LINES = (_DASHES, _DOTS, _DASH_DOT)
_FURTHER_MARKERS = ("^", "s", "D")


def method_style(method: str) -> AgentStyle:
    """Return the style of a method; one that is not listed gets a style that depends on its name alone."""
    label = row_label(method, "", False)
    if method in _METHODS:
        return AgentStyle(label, *_METHODS[method])
    return replace(agent_style(method), label=label)


def row_keys(rows: pd.DataFrame) -> list[RowKey]:
    """Return the methods and variants of a table in its order."""
    pairs = zip(rows["method"], rows["variant"].fillna(""), strict=True)
    return list(dict.fromkeys((str(method), str(variant)) for method, variant in pairs))


def unhealthy_keys(rows: pd.DataFrame) -> frozenset[RowKey]:
    """Return the methods and variants with a fit that is not healthy, in any cell of a table."""
    return frozenset(row_keys(rows[_unhealthy(rows) != ""]))


def health_note(rows: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """Return what is wrong with rows of a figure and whose rows it is, as the end of its note; empty if nothing is.

    Args:
        rows: those that are drawn.
        names: how each is called; method and variant by default.
    """
    called = names or [row_label(str(row.method), str(row.variant or ""), False) for row in _plain(rows).itertuples()]
    findings = _unhealthy(rows)
    several = [column for column in ("dataset", "model") if len(set(rows[column])) > 1]
    places = [[printed_name(rows.iloc[[place]], column) for column in several] for place in range(len(rows))]
    whose: dict[str, dict[str, None]] = {}
    for name, where, finding in zip(called, places, findings, strict=True):
        for part in filter(None, finding.split(", ")):
            # A dictionary for its order: a row and the same row with temperature are named once.
            whose.setdefault(part, {})[f"{name} ({', '.join(where)})" if where else name] = None
    lines = [f"{part}: {', '.join(names)}" for part, names in whose.items()]
    return f" *: {'; '.join(lines)}." if lines else ""


def row_styles(keys: Sequence[RowKey], *, unhealthy: frozenset[RowKey] = frozenset()) -> dict[RowKey, AgentStyle]:
    """Return a style for each row: that of its method, with other lines and markers for its further variants.

    Labels of ``unhealthy`` rows end with a mark.
    """
    styles: dict[RowKey, AgentStyle] = {}
    for method in dict.fromkeys(method for method, _ in keys):
        base = method_style(method)
        own = [key for key in keys if key[0] == method]
        for place, key in enumerate(own):
            style = replace(base, label=row_label(*key, False) + (UNHEALTHY if key in unhealthy else ""))
            if place:
                further = (place - 1) % len(_FURTHER_LINES)
                style = replace(style, line=_FURTHER_LINES[further], marker=_FURTHER_MARKERS[further])
            styles[key] = style
    return {key: styles[key] for key in keys}


def row_legend(styles: dict[RowKey, AgentStyle], *, lines: bool = True) -> list[Line2D]:
    """Return the entries of a legend, with lines or with markers alone."""
    handles = []
    for style in styles.values():
        options = style.line_options()
        if not lines:
            options |= {"linestyle": "none", "markersize": 5}
        handles.append(Line2D([], [], **options))
    return handles


def cell_text(key: Any, rows: pd.DataFrame, *more: str) -> str:
    """Return the heading of a row of panels.

    Args:
        key: model, training set and evaluation set.
        rows: of the cell, with ``seeds``, and ``examples`` where they are known.
        more: what else to say.
    """
    _, dataset, evaluation = map(str, key)
    examples = rows["examples"].max()
    parts = [
        printed_name(rows, "model"),
        *([] if evaluation == dataset else [f"answering {printed_name(rows, 'evaluation')}"]),
        f"n = {seeds_text(rows['seeds'].astype(int))}",
        *([] if pd.isna(examples) else [f"{int(examples):,} questions"]),
        *more,
    ]
    return f"{bold_text(printed_name(rows, 'dataset'))}   " + ", ".join(parts)


def printed_name(rows: pd.DataFrame, column: str) -> str:
    """Return the label of what the first row has as ``model``, ``dataset`` or ``evaluation``.

    Tables of earlier versions have names alone.
    """
    if f"{column}_label" in rows.columns:
        return str(rows[f"{column}_label"].iloc[0])
    return str(rows[column].iloc[0]).replace("_", " ")


def bold_text(text: str) -> str:
    """Return ``text`` in bold, as mathtext."""
    # In mathtext a space is nothing and a hyphen is a minus sign.
    for character, shown in ((" ", "~"), ("-", "\N{HYPHEN}"), ("_", r"\_"), ("%", r"\%"), ("#", r"\#"), ("$", r"\$")):
        text = text.replace(character, shown)
    return f"$\\bf{{{text}}}$"


def _unhealthy(rows: pd.DataFrame) -> pd.Series:
    """Return the findings of every row; tables of earlier versions have none."""
    if "unhealthy" in rows.columns:
        return rows["unhealthy"].fillna("").astype(str)
    return pd.Series("", index=rows.index)


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(variant=rows["variant"].fillna(""))
