"""The figure of area differences: each rule beside random pairs, the best at the top."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.panel_grid import panel_grid
from bayesgrid.reporting.preference_names import HIGHER_IS_BETTER, metric_name
from bayesgrid.reporting.preference_panels import room_for_names
from bayesgrid.reporting.preference_rows import SIGNIFICANCE
from bayesgrid.reporting.preference_runs import CELL_COLUMNS, ROW_COLUMNS
from bayesgrid.reporting.preference_style import (
    BASELINE_GREY,
    RuleKey,
    data_heading,
    model_cells,
    rows_of_rule,
    rule_keys,
    rule_style,
)
from bayesgrid.reporting.style import OKABE_ITO

__all__ = ["draw_area_differences"]

_COLUMNS = 3
_ROW = 0.165
"""Inches of a rule."""
_COLOURS = {"better": OKABE_ITO["blue"], "worse": OKABE_ITO["vermilion"], "open": BASELINE_GREY}
_WORDS = {"better": "better", "worse": "worse", "open": "not told apart"}


def draw_area_differences(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the differences of areas to random pairs with their intervals, one row of panels a model and data set.

    The first metric decides the order of the rules. Axes of metrics that should be low are turned round.

    Args:
        table: of kind ``preference_areas``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no difference.
    """
    rows = drawn_rows(
        table,
        ["area_difference"],
        kind="preference_areas",
        columns=[
            *CELL_COLUMNS,
            *ROW_COLUMNS,
            "metric",
            "p_holm",
            "reference",
            "seeds",
            "dataset_label",
            "data_label",
            "model_label",
        ],
        what="difference",
        remedy="finish the runs of random pairs and of another rule",
    )
    metrics = list(dict.fromkeys(rows["metric"]))[:_COLUMNS]
    cells = model_cells(rows)
    reference = ", ".join(dict.fromkeys(rows["reference"]))
    grid = panel_grid(
        [data_heading(own, str(own["model_label"].iloc[0])) for own in cells],
        len(metrics),
        title=title,
        legend=[
            Line2D([], [], color=colour, marker="o", markerfacecolor=_face(kind), linestyle="-", label=_WORDS[kind])
            for kind, colour in _COLOURS.items()
        ],
        legend_columns=3,
        note=f"Area under the learning curve minus that of {reference}, paired by seed; bars: 95 % Student-t interval "
        "of the mean over seeds. To the right is better on every axis. Colours: Holm-adjusted "
        f"p < {SIGNIFICANCE} over the rules of a row of panels.",
        panel_heights=[_ROW * len(rule_keys(own)) + 0.12 for own in cells],
        left=room_for_names(rule_style(key).label for key in rule_keys(rows)),
        gap=0.32,
        above=0.42,
        below=0.30,
    )
    for own, panels in zip(cells, grid.panels, strict=True):
        keys = _sorted(own, metrics[0])
        for panel, metric in zip(panels, metrics, strict=True):
            _draw(panel, own[own["metric"] == metric], keys, metric)
            panel.set_title(f"Δ area, {metric_name(metric)}", loc="left", size=8, pad=3)
            panel.tick_params(axis="y", length=0, labelleft=panel is panels[0])
    for panel in grid.panels[-1]:
        panel.set_xlabel("worse  ←   →  better")
    return grid.figure


def _sorted(rows: pd.DataFrame, metric: str) -> list[RuleKey]:
    first = rows[rows["metric"] == metric]
    sign = 1 if metric in HIGHER_IS_BETTER else -1
    return sorted(
        rule_keys(rows), key=lambda key: -sign * float(rows_of_rule(first, key)["estimate"].fillna(-np.inf).max())
    )


def _face(kind: str) -> str:
    return "white" if kind == "open" else _COLOURS[kind]


def _draw(panel: Axes, rows: pd.DataFrame, keys: list[RuleKey], metric: str) -> None:
    sign = 1 if metric in HIGHER_IS_BETTER else -1
    panel.axvline(0, color="#000000", linewidth=0.8, zorder=0.5)
    for place, key in enumerate(keys):
        for row in rows_of_rule(rows, key).itertuples():
            kind = "open"
            if row.p_holm < SIGNIFICANCE:
                kind = "better" if sign * row.estimate > 0 else "worse"
            colour = _COLOURS[kind]
            if np.isfinite(row.lower):
                panel.plot([row.lower, row.upper], [place, place], color=colour, linewidth=1.1, zorder=2)
            panel.plot(row.estimate, place, "o", color=colour, markerfacecolor=_face(kind), markersize=3.6, zorder=3)
    panel.set_yticks(range(len(keys)), [rule_style(key).label for key in keys])
    panel.set_ylim(len(keys) - 0.4, -0.6)
    panel.margins(x=0.06)
    if sign < 0:
        panel.invert_xaxis()
    panel.xaxis.set_major_locator(MaxNLocator(3))
