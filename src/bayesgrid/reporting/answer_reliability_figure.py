"""The figure of reliability diagrams: accuracy against stated confidence, one panel a method."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayesgrid.reporting.answer_names import row_label
from bayesgrid.reporting.answer_runs import CELL_COLUMNS
from bayesgrid.reporting.answer_style import (
    UNHEALTHY,
    cell_text,
    health_note,
    method_style,
    row_keys,
    unhealthy_keys,
)
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.panel_grid import panel_grid

__all__ = ["draw_answer_reliability"]

_COLUMNS = 5
_GREY: dict[str, Any] = {"color": "#444444", "linestyle": "none", "marker": "o", "markersize": 4.2}


def draw_answer_reliability(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return accuracy with Wilson's interval in every bin of confidence, five methods to a row of panels.

    Args:
        table: of kind ``answer_reliability``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no bin.
    """
    columns = [*CELL_COLUMNS, "method", "variant", "temperature", "confidence", "seeds", "examples"]
    rows = drawn_rows(
        table, ["bin"], kind="answer_reliability", columns=columns, what="bin", remedy="finish at least one run"
    )
    rows = rows.assign(variant=rows["variant"].fillna(""))
    chunks = []
    for key, own in rows.groupby(list(CELL_COLUMNS), sort=False):
        keys = row_keys(own)
        for start in range(0, len(keys), _COLUMNS):
            chunks.append((key, own, keys[start : start + _COLUMNS], start > 0))
    scaled = bool(rows["temperature"].any())
    handles = [
        Line2D([], [], label="as trained", **_GREY),
        *([Line2D([], [], label="+ temperature", markerfacecolor="white", **_GREY)] if scaled else []),
        Line2D([], [], color="#888888", linewidth=0.8, linestyle="--", label="calibrated"),
    ]
    grid = panel_grid(
        [cell_text(key, own, *(["continued"] if continued else [])) for key, own, _, continued in chunks],
        _COLUMNS,
        title=title,
        legend=handles,
        legend_columns=3,
        note="Predictions of all seeds in bins of confidence of equal width; bars: Wilson's 95 % interval for the "
        "questions of one seed. Below the diagonal a method is more confident than right. Larger dots: more questions."
        + health_note(rows),
        panel_heights=1.12,
        gap=0.2,
        left=0.46,
    )
    for (_, own, keys, _), panels in zip(chunks, grid.panels, strict=True):
        for panel, key in zip(panels, keys, strict=False):
            shown = own[(own["method"] == key[0]) & (own["variant"] == key[1])]
            _draw_panel(panel, shown, method_style(key[0]).colour)
            unhealthy = UNHEALTHY if key in unhealthy_keys(own) else ""
            panel.set_title(row_label(*key, False) + unhealthy, loc="left", size=8, pad=3)
            if panel is not panels[0]:
                panel.tick_params(axis="y", labelleft=False)
        panels[0].set_ylabel("Accuracy")
        for panel in panels[len(keys) :]:
            panel.set_axis_off()
    for panel in grid.panels[-1]:
        panel.set_xlabel("Confidence")
    return grid.figure


def _draw_panel(panel: Axes, rows: pd.DataFrame, colour: str) -> None:
    panel.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, linestyle="--", zorder=0.5)
    for tempered, own in rows.groupby("temperature", sort=True):
        share = own["predictions"].to_numpy(dtype=float) / float(own["predictions"].sum())
        for size, row in zip(3.0 + 9.0 * np.sqrt(share) / 2, own.itertuples(), strict=True):
            place = [float(str(row.confidence))] * 2
            panel.plot(place, [row.lower, row.upper], color=colour, linewidth=0.6, alpha=0.7, zorder=1.5)
            panel.plot(
                place[:1],
                [row.estimate],
                marker="o",
                markersize=float(size),
                markerfacecolor="white" if tempered else colour,
                markeredgecolor=colour if tempered else "white",
                markeredgewidth=0.7 if tempered else 0.3,
                linestyle="none",
                zorder=3 if tempered else 2,
            )
    panel.set_xlim(0, 1.02)
    panel.set_ylim(0, 1.02)
    panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panel.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
