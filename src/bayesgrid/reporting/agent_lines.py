"""How the curves of agents are drawn in a panel: one line an agent, its interval as a band or as bars."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgrid.reporting.names import NON_NEGATIVE_METRICS
from bayesgrid.reporting.style import agent_style

__all__ = [
    "CUT_INTERVALS",
    "agent_legend",
    "draw_agent_lines",
    "interval_mark",
    "legend_columns",
    "lowest_value",
    "value_limits",
]

CUT_INTERVALS = (
    "Axes show all means, and of the intervals what leaves the means readable: an interval that meets an edge goes on."
)
"""For the note of a figure whose axes are those of :func:`value_limits`."""

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
    panel: Axes,
    rows: pd.DataFrame,
    agents: Sequence[str],
    *,
    bands: bool | None = None,
    dodge: float = 0.0,
    lowest: float | None = None,
) -> None:
    """Draw ``estimate`` with ``lower`` and ``upper`` over ``labelled``, one line for each of ``agents`` in ``rows``.

    Args:
        panel: where to draw.
        rows: of a table of curves.
        agents: in the order of the legend.
        bands: whether intervals are bands and not bars; by default while there are few agents.
        dodge: labels by which one agent is drawn to the right of the one before it, around the true place.
        lowest: where intervals end that go below it.
    """
    bands = len(agents) <= BANDS_UP_TO if bands is None else bands
    for position, agent in enumerate(agents):
        curve = rows[rows["agent"] == agent].sort_values("labelled")
        if curve.empty:
            continue
        style = agent_style(agent)
        labelled = curve["labelled"].to_numpy(dtype=float) + dodge * (position - (len(agents) - 1) / 2)
        lower, mean, upper = (curve[name].to_numpy(dtype=float) for name in ("lower", "estimate", "upper"))
        if lowest is not None:
            lower = np.maximum(lower, np.minimum(lowest, mean))
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


def lowest_value(metric: str) -> float | None:
    """Return 0 for a metric that cannot be negative, None for the others."""
    return 0.0 if metric in NON_NEGATIVE_METRICS else None


def value_limits(rows: pd.DataFrame, *, share: float = 0.5, lowest: float | None = None) -> tuple[float, float]:
    """Return the limits of an axis that shows all estimates and as much of their intervals as leaves them readable.

    Intervals of few seeds are many times wider than the means are apart.

    Args:
        rows: with ``estimate``, ``lower`` and ``upper``.
        share: of the range of the estimates that intervals may add on each side.
        lowest: value below which nothing is shown.
    """
    low, high = float(rows["estimate"].min()), float(rows["estimate"].max())
    lower, upper = rows["lower"].dropna(), rows["upper"].dropna()
    room = share * (high - low) or float("inf")
    ends = (
        max(float(lower.min()), low - room) if len(lower) else low,
        min(float(upper.max()), high + room) if len(upper) else high,
    )
    if lowest is not None:
        ends = max(ends[0], min(lowest, low)), ends[1]
    low, high = min(low, ends[0]), max(high, ends[1])
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin
