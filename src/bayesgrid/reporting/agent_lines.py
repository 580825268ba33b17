"""How the curves of agents are drawn in a panel: one line an agent, its interval as a band or as bars."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgrid.reporting.style import agent_style

__all__ = ["agent_legend", "draw_agent_lines", "interval_mark", "legend_columns", "value_limits"]

BANDS_UP_TO = 5
"""With more agents, bands would hide each other, and intervals are bars at the markers."""


def agent_legend(agents: Sequence[str]) -> list[Line2D]:
    """Return the legend entries of ``agents``."""
    return [Line2D([], [], **agent_style(agent).line_options()) for agent in agents]


def legend_columns(agents: Sequence[str]) -> int:
    """Return how many entries stand on one line of the legend."""
    return max(1, len(agents)) if len(agents) <= BANDS_UP_TO else 4


def interval_mark(agents: Sequence[str]) -> str:
    """Return how intervals are drawn, as the first word of a note."""
    return "Bands" if len(agents) <= BANDS_UP_TO else "Bars"


def draw_agent_lines(
    panel: Axes, rows: pd.DataFrame, agents: Sequence[str], *, bands: bool | None = None, dodge: float = 0.0
) -> None:
    """Draw ``estimate`` with ``lower`` and ``upper`` over ``labelled``, one line for each of ``agents`` in ``rows``.

    Args:
        panel: where to draw.
        rows: of a table of curves.
        agents: in the order of the legend.
        bands: whether intervals are bands and not bars; by default while there are few agents.
        dodge: labels by which one agent is drawn to the right of the one before it, around the true place.
    """
    bands = len(agents) <= BANDS_UP_TO if bands is None else bands
    for position, agent in enumerate(agents):
        curve = rows[rows["agent"] == agent].sort_values("labelled")
        if curve.empty:
            continue
        style = agent_style(agent)
        labelled = curve["labelled"].to_numpy(dtype=float) + dodge * (position - (len(agents) - 1) / 2)
        lower, mean, upper = (curve[name].to_numpy(dtype=float) for name in ("lower", "estimate", "upper"))
        # About six markers a curve, at other places for every agent, so that equal curves can be told apart.
        step = max(1, round(len(curve) / 6))
        marked = slice(position % step, None, step)
        if bands:
            panel.fill_between(labelled, lower, upper, color=style.colour, alpha=0.14, linewidth=0, zorder=1)
        else:
            deviation = np.stack([mean - lower, upper - mean])[:, marked]
            panel.errorbar(
                labelled[marked], mean[marked], deviation, fmt="none", ecolor=style.colour, elinewidth=0.7, zorder=1.5
            )
        panel.plot(labelled, mean, **style.line_options(), markevery=marked, zorder=2 + position)
    panel.margins(x=0.03)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(5))


def value_limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Return the limits of an axis that shows all estimates and the bulk of their intervals.

    One wide interval at the first point must not flatten the rest.
    """
    lower, upper = rows["lower"].dropna(), rows["upper"].dropna()
    low = min([float(rows["estimate"].min()), *([float(np.quantile(lower, 0.01))] if len(lower) else [])])
    high = max([float(rows["estimate"].max()), *([float(np.quantile(upper, 0.99))] if len(upper) else [])])
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin
