"""How methods are drawn in figures about answers: one colour, marker and line each, and their order in a figure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from bayesgrid.reporting.answer_names import row_label
from bayesgrid.reporting.panel_grid import group_text
from bayesgrid.reporting.style import OKABE_ITO, AgentStyle, agent_style

__all__ = ["RowKey", "cell_text", "method_style", "row_keys", "row_legend", "row_styles"]

RowKey = tuple[str, str]
"""Method and variant."""

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


def row_styles(keys: Sequence[RowKey]) -> dict[RowKey, AgentStyle]:
    """Return a style for each row: that of its method, with other lines and markers for its further variants."""
    styles: dict[RowKey, AgentStyle] = {}
    for method in dict.fromkeys(method for method, _ in keys):
        base = method_style(method)
        own = [key for key in keys if key[0] == method]
        for place, key in enumerate(own):
            style = replace(base, label=row_label(*key, False))
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
    model, dataset, evaluation = map(str, key)
    variant = "" if evaluation == dataset else f"answering {evaluation.replace('_', ' ')}"
    examples = rows["examples"].max()
    questions = [] if pd.isna(examples) else [f"{int(examples):,} questions"]
    return group_text(dataset, model, None, variant, *questions, *more, seeds=rows["seeds"].astype(int).tolist())
