"""Figures of methods, or of settings of a method, in rows: a dot for the mean and a bar for its interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgrid.reporting.answer_ablation_tables import BASELINE
from bayesgrid.reporting.answer_names import answer_metric_label, method_label, row_label
from bayesgrid.reporting.answer_runs import CELL_COLUMNS
from bayesgrid.reporting.answer_style import (
    UNHEALTHY,
    cell_text,
    health_note,
    method_style,
    row_keys,
    row_styles,
    unhealthy_keys,
)
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.panel_grid import panel_grid
from bayesgrid.reporting.style import AgentStyle

__all__ = ["draw_answer_ablation", "draw_answer_metrics"]

_ROW = 0.22
_MOST_METRICS = 5
_LABEL_INCHES = 0.068
"""Width of one character of a row's name."""
_GREY: dict[str, Any] = {"color": "#444444", "linestyle": "none", "marker": "o", "markersize": 4.2}


def draw_answer_metrics(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return every metric of every method with its interval, one row of panels a model and data set.

    Args:
        table: of kind ``answer_metrics``; its first five metrics are drawn.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no number.
    """
    rows = _rows(table, "answer_metrics", ["mean"], ["best"], "mean", "finish at least one run")
    metrics = list(dict.fromkeys(rows["metric"]))[:_MOST_METRICS]
    groups = list(rows.groupby(list(CELL_COLUMNS), sort=False))
    keys = [row_keys(own) for _, own in groups]
    scaled = bool(rows["temperature"].any())
    handles = [
        Line2D([], [], label="as trained", **_GREY),
        Line2D([], [], label="+ temperature", markerfacecolor="white", **_GREY),
    ]
    marked = [unhealthy_keys(own) for _, own in groups]
    names = [
        [row_label(*key, False) + (UNHEALTHY if key in unhealthy else "") for key in own]
        for own, unhealthy in zip(keys, marked, strict=True)
    ]
    grid = panel_grid(
        [cell_text(key, own) for key, own in groups],
        len(metrics),
        title=title,
        legend=handles if scaled else [],
        legend_columns=2,
        note="Bars: 95 % interval of the mean over seeds and questions. Intervals overlap more than paired differences "
        "do: which methods differ is in the table, where bold marks the best."
        + (" + temperature: logits scaled by one number fitted to the validation slice." if scaled else "")
        + health_note(rows),
        panel_heights=[0.1 + _ROW * len(own) for own in keys],
        left=_left(names),
        gap=0.2,
        axis_names=False,
    )
    for (_, own), own_keys, own_names, panels in zip(groups, keys, names, grid.panels, strict=True):
        styles = row_styles(own_keys)
        for panel, metric in zip(panels, metrics, strict=True):
            for place, key in enumerate(own_keys):
                shown = own[(own["method"] == key[0]) & (own["variant"].fillna("") == key[1])]
                shown = shown[shown["metric"] == metric]
                shift = 0.16 if scaled else 0.0
                for row in shown.itertuples():
                    tempered = bool(row.temperature)
                    _dot(panel, row, place + (shift if tempered else -shift), styles[key], hollow=tempered)
            _finish(panel, own_names, first=panel is panels[0], title=answer_metric_label(metric))
    return grid.figure


def draw_answer_ablation(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return what each setting changes beside the correct ones, one row of panels a model, data set and method.

    Args:
        table: of kind ``answer_ablation``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if no setting has finished beside the correct ones.
    """
    rows = _rows(
        table, "answer_ablation", ["difference"], ["setting"], "difference", "finish the correct settings and another"
    )
    metrics = list(dict.fromkeys(rows["metric"]))[:_MOST_METRICS]
    groups = list(rows.groupby([*CELL_COLUMNS, "method"], sort=False))
    settings = [list(dict.fromkeys(map(str, own["setting"]))) for _, own in groups]
    unhealthy = [{*own.loc[own["unhealthy"].fillna("") != "", "setting"]} for _, own in groups]
    names = [
        [name + (UNHEALTHY if name in marked else "") for name in own]
        for own, marked in zip(settings, unhealthy, strict=True)
    ]
    grid = panel_grid(
        [cell_text(key[:3], own, method_label(str(key[3]))) for key, own in groups],
        len(metrics),
        title=title,
        legend=[],
        legend_columns=1,
        note=f"Setting minus {BASELINE} settings, paired on seeds and questions; bars: 95 % interval. Hollow: p above "
        "0.05 after Holm over the settings of a method."
        + health_note(rows, [f"{method_label(str(row.method))}, {row.setting}" for row in rows.itertuples()]),
        panel_heights=[0.1 + _ROW * len(own) for own in settings],
        left=_left(names),
        gap=0.2,
        axis_names=False,
    )
    for (key, own), own_settings, own_names, panels in zip(groups, settings, names, grid.panels, strict=True):
        style = method_style(str(key[3]))
        for panel, metric in zip(panels, metrics, strict=True):
            panel.axvline(0, color="#000000", linewidth=0.8, zorder=0.5)
            for place, name in enumerate(own_settings):
                for row in own[(own["setting"] == name) & (own["metric"] == metric)].itertuples():
                    _dot(panel, row, place, style, hollow=not float(str(row.p_holm)) < 0.05)
            _finish(panel, own_names, first=panel is panels[0], title=f"Δ {answer_metric_label(metric)}")
    return grid.figure


def _rows(
    table: pd.DataFrame, kind: str, quantities: Sequence[str], columns: Sequence[str], what: str, remedy: str
) -> pd.DataFrame:
    needed = [*CELL_COLUMNS, "method", "variant", "temperature", "metric", "seeds", *columns]
    return drawn_rows(table, quantities, kind=kind, columns=needed, what=what, remedy=remedy)


def _dot(panel: Axes, row: Any, place: float, style: AgentStyle, *, hollow: bool) -> None:
    if np.isfinite(row.lower):
        panel.plot([row.lower, row.upper], [place, place], color=style.colour, linewidth=0.9, zorder=2)
    panel.plot(
        row.estimate,
        place,
        marker=style.marker,
        markersize=4.2,
        markerfacecolor="white" if hollow else style.colour,
        markeredgecolor=style.colour if hollow else "white",
        markeredgewidth=0.8 if hollow else 0.4,
        linestyle="none",
        zorder=3,
    )


def _finish(panel: Axes, names: Sequence[str], *, first: bool, title: str) -> None:
    panel.set_yticks(range(len(names)), list(names))
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.xaxis.set_major_locator(MaxNLocator(3))
    panel.set_title(title, loc="left", size=8, pad=3)
    panel.margins(x=0.08)
    if not first:
        panel.tick_params(axis="y", labelleft=False)


def _left(names: Sequence[Sequence[str]]) -> float:
    """Return the inches that the longest name needs left of the panels."""
    return 0.2 + _LABEL_INCHES * max(len(name) for own in names for name in own)
