"""The figure of what methods cost and give: metrics against seconds a question, and the front no method is beyond."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bayesgrid.reporting.answer_names import HIGHER_IS_BETTER, LOWER_IS_BETTER, answer_metric_label
from bayesgrid.reporting.answer_runs import CELL_COLUMNS
from bayesgrid.reporting.answer_style import (
    RowKey,
    cell_text,
    health_note,
    row_keys,
    row_legend,
    row_styles,
    unhealthy_keys,
)
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.panel_grid import panel_grid
from bayesgrid.reporting.style import AgentStyle

__all__ = ["draw_answer_pareto"]

_COST = "seconds_per_example"
_MOST_METRICS = 3
_FRONT: dict[str, Any] = {"color": "#888888", "linewidth": 0.8, "zorder": 1}


def draw_answer_pareto(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return metrics against seconds a question, one row of panels a model and data set.

    Args:
        table: of kind ``answer_cost``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no number.
    """
    columns = [*CELL_COLUMNS, "method", "variant", "metric", "seeds", "pareto"]
    rows = drawn_rows(
        table, ["mean"], kind="answer_cost", columns=columns, what="mean", remedy="finish at least one run"
    )
    rows = rows.assign(variant=rows["variant"].fillna(""))
    scored = [name for name in dict.fromkeys(rows["metric"]) if name in HIGHER_IS_BETTER | LOWER_IS_BETTER]
    metrics = scored[:_MOST_METRICS]
    styles = row_styles(row_keys(rows), unhealthy=unhealthy_keys(rows))
    groups = list(rows.groupby(list(CELL_COLUMNS), sort=False))
    grid = panel_grid(
        [cell_text(key, own) for key, own in groups],
        len(metrics),
        title=title,
        legend=row_legend(styles, lines=False),
        legend_columns=5,
        note="Bars: 95 % interval of the metric over seeds and questions. Grey line: the front of the methods that "
        "none beats in both, by the means. Times depend on the machine." + health_note(rows),
    )
    for (_, own), panels in zip(groups, grid.panels, strict=True):
        for panel, metric in zip(panels, metrics, strict=True):
            _draw_panel(panel, own, metric, styles)
            panel.set_title(answer_metric_label(metric), loc="left", size=8, pad=3)
    for panel in grid.panels[-1]:
        panel.set_xlabel("Seconds per question")
    return grid.figure


def _draw_panel(panel: Axes, rows: pd.DataFrame, metric: str, styles: dict[RowKey, AgentStyle]) -> None:
    costs = rows[rows["metric"] == _COST].set_index(["method", "variant"])["estimate"]
    points = []
    for key, style in styles.items():
        own = rows[(rows["metric"] == metric) & (rows["method"] == key[0]) & (rows["variant"] == key[1])]
        if own.empty or key not in costs.index:
            continue
        row, seconds = own.iloc[0], float(costs.loc[key])
        points.append((seconds, float(row["estimate"])))
        if np.isfinite(row["lower"]):
            panel.plot([seconds] * 2, [row["lower"], row["upper"]], color=style.colour, linewidth=0.7, zorder=2)
        panel.plot(
            seconds,
            row["estimate"],
            marker=style.marker,
            markersize=5,
            color=style.colour,
            markeredgecolor="white",
            markeredgewidth=0.4,
            linestyle="none",
            zorder=3,
        )
    front = _front(points, sign=-1 if metric in HIGHER_IS_BETTER else 1)
    if front:
        ends = [*front, (max(cost for cost, _ in points), front[-1][1])]
        panel.step([cost for cost, _ in ends], [value for _, value in ends], where="post", **_FRONT)
    panel.set_xscale("log")
    panel.margins(x=0.08)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(MaxNLocator(5))


def _front(points: list[tuple[float, float]], *, sign: int) -> list[tuple[float, float]]:
    """Return the points that are better than every cheaper one, from the cheapest."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], sign * point[1])):
        if not front or sign * value < sign * front[-1][1]:
            front.append((cost, value))
    return front
