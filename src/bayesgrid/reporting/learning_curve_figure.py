"""The figure of learning curves: one row of panels for each group of agents, one column for each metric."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayesgrid.reporting.agent_lines import (
    CUT_INTERVALS,
    agent_legend,
    draw_agent_lines,
    interval_mark,
    legend_columns,
    lowest_value,
    value_limits,
)
from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.names import METRICS, agent_label
from bayesgrid.reporting.panel_grid import group_text, panel_grid

__all__ = ["draw_differences", "draw_learning_curves"]

_SHARE_OF_VALUES, _SHARE_OF_DIFFERENCES = 0.5, 1.5
"""Of the range of the means that intervals may add to an axis: of a difference the interval is the message."""

_BOUND_LINE: dict[str, Any] = {"color": "#444444", "linestyle": (0, (5, 2)), "linewidth": 0.9}


def draw_learning_curves(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the metrics against the number of labels: means over seeds and their 95 % intervals.

    Runs that were fitted to all labels at once are a dashed horizontal line.

    Args:
        table: of kind ``learning_curves``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve.
    """
    curves = _curves(table, "value")
    agents = list(dict.fromkeys(curves["agent"]))
    note = (
        "95 % interval of the mean over seeds; those of CRPS and MAE end at 0. Agents share seeds, so their paired "
        "differences are more certain."
    )
    bounds = table[table["quantity"] == "upper_bound"]
    shared = list(GROUP_COLUMNS)
    # Without curves of its data set a bound is a row of tables alone.
    drawn = bounds.set_index(shared).index.isin(curves.set_index(shared).index)
    return _draw(curves, agents, title, note, zero_line=False, bounds=bounds[drawn])


def draw_differences(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the differences to the reference agent, paired by seed, with their 95 % intervals; below 0 is better.

    Args:
        table: of kind ``learning_curves``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no difference.
    """
    curves = _curves(table, "difference")
    agents = list(dict.fromkeys(curves["agent"]))
    reference = ", ".join(agent_label(name) for name in dict.fromkeys(curves["reference"]))
    note = f"95 % interval of the mean difference to {reference}, paired by seed. Below 0: better than {reference}."
    return _draw(curves, agents, title, note, zero_line=True, bounds=table.iloc[:0])


def _curves(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    needed = "one run" if quantity == "value" else "one run of the reference agent and another"
    return drawn_rows(
        table,
        [quantity],
        kind="learning_curves",
        columns=[*GROUP_COLUMNS, "agent", "metric", "labelled", "reference", "seeds", "test_rows"],
        what=quantity,
        remedy=f"finish at least {needed}",
    )


def _draw(
    curves: pd.DataFrame, agents: Sequence[str], title: str, note: str, *, zero_line: bool, bounds: pd.DataFrame
) -> Figure:
    groups = list(curves.groupby(list(GROUP_COLUMNS), sort=False))
    legend = agent_legend(agents)
    if len(bounds):
        legend.append(Line2D([], [], label=agent_label(str(bounds["agent"].iloc[0])), **_BOUND_LINE))
    grid = panel_grid(
        [_heading(key, rows, _of_group(bounds, key)) for key, rows in groups],
        len(METRICS),
        title=title,
        legend=legend,
        legend_columns=legend_columns(agents) + (1 if len(bounds) and len(agents) < 4 else 0),
        note=f"{interval_mark(agents)}: {note} {CUT_INTERVALS}",
    )
    for (key, rows), panels in zip(groups, grid.panels, strict=True):
        for panel, (metric, label) in zip(panels, METRICS.items(), strict=True):
            shown = rows[rows["metric"] == metric]
            if zero_line:
                panel.axhline(0, color="#000000", linewidth=0.8, zorder=0.5)
            lowest = None if zero_line else lowest_value(metric)
            draw_agent_lines(panel, shown, agents, lowest=lowest)
            bound = _of_group(bounds, key)
            bound = bound[bound["metric"] == metric]
            _draw_bound(panel, bound)
            share = _SHARE_OF_DIFFERENCES if zero_line else _SHARE_OF_VALUES
            panel.set_ylim(*value_limits(pd.concat([shown, bound]), share=share, lowest=lowest))
            panel.set_title(f"Δ {label}" if zero_line else label, loc="left", size=8, pad=3)
    for panel in grid.panels[-1]:
        panel.set_xlabel("Number of labels")
    return grid.figure


def _draw_bound(panel: Axes, bound: pd.DataFrame) -> None:
    for row in bound.itertuples():
        panel.axhline(row.estimate, zorder=1.2, **_BOUND_LINE)
        if row.lower < row.upper:
            panel.axhspan(row.lower, row.upper, color=_BOUND_LINE["color"], alpha=0.1, linewidth=0, zorder=0.4)


def _of_group(bounds: pd.DataFrame, key: tuple[Any, ...]) -> pd.DataFrame:
    same = pd.Series(data=True, index=bounds.index)
    for column, value in zip(GROUP_COLUMNS, key, strict=True):
        same &= bounds[column] == value
    return bounds[same]


def _heading(key: tuple[Any, ...], rows: pd.DataFrame, bound: pd.DataFrame) -> str:
    more = [f"{int(rows['test_rows'].max()):,} test rows"] if rows["test_rows"].notna().any() else []
    if len(bound):
        row = bound.iloc[0]
        more.append(f"{agent_label(row['agent']).lower()}: {row['labelled']:,}, n = {row['seeds']}")
    return group_text(*key, *more, seeds=rows["seeds"].astype(int).tolist())
