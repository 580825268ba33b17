"""The figure of learning curves: one row of panels for each group of agents, one column for each metric."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgrid.errors import StateError
from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.names import METRICS, agent_label, architecture_label, dataset_label
from bayesgrid.reporting.style import TWO_COLUMNS, agent_style

__all__ = ["draw_differences", "draw_learning_curves"]

BANDS_UP_TO = 5
"""With more agents, bands would hide each other, and intervals are bars at the markers."""

# The layout in inches: margins of a row of panels, then heights from the heading of a row to its tick labels.
_LEFT, _RIGHT, _GAP, _EDGE = 0.52, 0.13, 0.56, 0.06
_TITLE, _LEGEND_LINE, _HEADING, _PANEL, _BELOW, _FOOT = 0.26, 0.17, 0.40, 1.30, 0.26, 0.36


def draw_learning_curves(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the metrics against the number of labels: means over seeds and their 95 % intervals.

    Args:
        table: of kind ``learning_curves``.
        title: printed above; may be empty.

    Raises:
        StateError: if the table holds no curve.
    """
    curves = _curves(table, "value")
    agents = list(dict.fromkeys(curves["agent"]))
    note = "95 % interval of the mean over seeds. Agents share seeds, so their paired differences are more certain."
    return _draw(curves, agents, title, note, zero_line=False)


def draw_differences(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the differences to the reference agent, paired by seed, with their 95 % intervals; below 0 is better.

    Args:
        table: of kind ``learning_curves``.
        title: printed above; may be empty.

    Raises:
        StateError: if the table holds no difference.
    """
    curves = _curves(table, "difference")
    agents = list(dict.fromkeys(curves["agent"]))
    reference = ", ".join(agent_label(name) for name in dict.fromkeys(curves["reference"]))
    note = f"95 % interval of the mean difference to {reference}, paired by seed. Below 0: better than {reference}."
    return _draw(curves, agents, title, note, zero_line=True)


def _curves(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    curves = table[table["quantity"] == quantity]
    if curves.empty:
        raise StateError(
            f"the table holds no {quantity} to draw",
            remedy="finish at least one run of the reference agent and another",
        )
    return curves


def _draw(curves: pd.DataFrame, agents: Sequence[str], title: str, note: str, *, zero_line: bool) -> Figure:
    groups = list(curves.groupby(list(GROUP_COLUMNS), sort=False))
    legend_columns = len(agents) if len(agents) <= BANDS_UP_TO else 4
    title_height = _TITLE if title else 0.0
    top = title_height + _LEGEND_LINE * -(-len(agents) // legend_columns) + 0.1
    row_height = _HEADING + _PANEL + _BELOW
    height = top + len(groups) * row_height + _FOOT
    width = (TWO_COLUMNS - _LEFT - _RIGHT - _GAP * (len(METRICS) - 1)) / len(METRICS)
    figure = plt.figure(figsize=(TWO_COLUMNS, height))
    if title:
        figure.text(_EDGE / TWO_COLUMNS, 1 - 0.08 / height, title, va="top", weight="bold", size=8.5)
    figure.legend(
        handles=[Line2D([], [], **agent_style(agent).line_options()) for agent in agents],
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - title_height / height),
        ncols=legend_columns,
        borderpad=0.2,
    )
    for row, (key, rows) in enumerate(groups):
        heading = top + row * row_height
        figure.text(_EDGE / TWO_COLUMNS, 1 - (heading + 0.05) / height, _group_text(key, rows), va="top")
        bottom = 1 - (heading + _HEADING + _PANEL) / height
        for column, (metric, label) in enumerate(METRICS.items()):
            left = _LEFT + column * (width + _GAP)
            panel = figure.add_axes((left / TWO_COLUMNS, bottom, width / TWO_COLUMNS, _PANEL / height))
            if zero_line:
                panel.axhline(0, color="#000000", linewidth=0.8, zorder=0.5)
            _draw_panel(panel, rows[rows["metric"] == metric], agents)
            panel.set_title(f"Δ {label}" if zero_line else label, loc="left", size=8, pad=3)
            if row == len(groups) - 1:
                panel.set_xlabel("Number of labels")
    drawn = "Bands" if len(agents) <= BANDS_UP_TO else "Bars"
    figure.text(_EDGE / TWO_COLUMNS, 0.05 / height, f"{drawn}: {note}", va="bottom", size=7, color="#444444")
    return figure


def _draw_panel(panel: Axes, rows: pd.DataFrame, agents: Sequence[str]) -> None:
    for position, agent in enumerate(agents):
        curve = rows[rows["agent"] == agent].sort_values("labelled")
        if curve.empty:
            continue
        style = agent_style(agent)
        labelled = curve["labelled"].to_numpy(dtype=float)
        lower, mean, upper = (curve[name].to_numpy(dtype=float) for name in ("lower", "estimate", "upper"))
        # About six markers a curve, at other places for every agent, so that equal curves can be told apart.
        step = max(1, round(len(curve) / 6))
        marked = slice(position % step, None, step)
        if len(agents) <= BANDS_UP_TO:
            panel.fill_between(labelled, lower, upper, color=style.colour, alpha=0.14, linewidth=0, zorder=1)
        else:
            deviation = np.stack([mean - lower, upper - mean])[:, marked]
            panel.errorbar(
                labelled[marked], mean[marked], deviation, fmt="none", ecolor=style.colour, elinewidth=0.7, zorder=1.5
            )
        panel.plot(labelled, mean, **style.line_options(), markevery=marked, zorder=2 + position)
    panel.set_ylim(*_limits(rows))
    panel.margins(x=0.03)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(5))


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    # The means and the bulk of the intervals: one wide interval at the first point must not flatten the rest.
    lower, upper = rows["lower"].dropna(), rows["upper"].dropna()
    low = min([float(rows["estimate"].min()), *([float(np.quantile(lower, 0.01))] if len(lower) else [])])
    high = max([float(rows["estimate"].max()), *([float(np.quantile(upper, 0.99))] if len(upper) else [])])
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


def _group_text(key: tuple[Any, ...], rows: pd.DataFrame) -> str:
    dataset, architecture, query_size, variant = key
    fewest, most = int(rows["seeds"].min()), int(rows["seeds"].max())
    parts = [
        f"{architecture_label(architecture)}, query size {query_size}",
        *([variant] if variant else []),
        f"n = {most if fewest == most else f'{fewest} to {most}'} seed{'s' if most > 1 else ''}",
    ]
    if rows["test_rows"].notna().any():
        parts.append(f"{int(rows['test_rows'].max()):,} test rows")
    bold = dataset_label(dataset).replace(" ", "~")
    return f"$\\bf{{{bold}}}$   " + ", ".join(parts)
