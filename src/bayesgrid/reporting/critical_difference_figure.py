"""The critical-difference diagram: mean ranks on an axis, and bars over agents that are not told apart.

Source: Demsar (2006), Statistical comparisons of classifiers over multiple data sets, section 3.2.4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from bayesgrid.errors import StateError
from bayesgrid.metrics.rank_tests import nemenyi_groups
from bayesgrid.reporting.drawn_rows import require_columns
from bayesgrid.reporting.names import METRICS, agent_label, metric_label
from bayesgrid.reporting.style import TWO_COLUMNS, agent_style

__all__ = ["draw_critical_differences"]

FEWEST_DATA_SETS = 2
LABEL_SIZE = 7.0

# The layout in inches, from the top of a diagram down.
_EDGE, _TITLE, _HEADING, _SCALE, _TO_AXIS = 0.06, 0.26, 0.26, 0.20, 0.22
_FIRST_BAR, _BAR, _FIRST_LABEL, _LABEL = 0.11, 0.085, 0.14, 0.16
_BELOW, _FOOT, _LINE = 0.22, 0.34, 0.24
_TICK, _LABEL_GAP = 0.05, 0.05
_BAR_GAP = 0.06
"""Gap between bars on one level, as a share of the axis."""
_GREY = "#444444"


@dataclass(frozen=True)
class _Diagram:
    """What one diagram shows; agents in order of mean rank."""

    metric: str
    agents: tuple[str, ...]
    ranks: tuple[float, ...]
    critical_difference: float
    data_sets: int
    friedman_p: float

    @property
    def bars(self) -> list[list[tuple[float, float]]]:
        """Return the spans of groups that are not told apart, level by level, so that none overlap in a level."""
        gap = _BAR_GAP * (len(self.agents) - 1)
        levels: list[list[tuple[float, float]]] = []
        for group in nemenyi_groups(self.ranks, self.critical_difference):
            span = (min(self.ranks[i] for i in group), max(self.ranks[i] for i in group))
            free = [bars for bars in levels if all(span[0] > high + gap or span[1] < low - gap for low, high in bars)]
            if free:
                free[0].append(span)
            else:
                levels.append([span])
        return levels

    @property
    def height(self) -> float:
        """Return the height in inches."""
        rows = math.ceil(len(self.agents) / 2)
        axis = _HEADING + _SCALE + _TO_AXIS
        return axis + _FIRST_BAR + _BAR * len(self.bars) + _FIRST_LABEL + _LABEL * (rows - 1) + _BELOW


def draw_critical_differences(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return one critical-difference diagram per metric; below two data sets a line that says why there is none.

    Args:
        table: of kind ``agent_ranks``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table is empty.
    """
    require_columns(table, "agent_ranks", ["metric", "agent", "mean_rank", "critical_difference", "friedman_p"])
    if table.empty:
        raise StateError("the table holds no agent to draw", remedy="finish at least one run")
    diagrams = [_diagram(table[table["metric"] == metric], metric) for metric in METRICS]
    drawn = [diagram for diagram in diagrams if diagram is not None]
    missing = [metric for metric, diagram in zip(METRICS, diagrams, strict=True) if diagram is None]
    top = _TITLE if title else 0.06
    lines = [_why_not(table, missing)] if missing else []
    foot = _FOOT if drawn else 0.0
    height = top + sum(diagram.height for diagram in drawn) + _LINE * len(lines) + foot
    figure = plt.figure(figsize=(TWO_COLUMNS, height))
    # One coordinate system in inches, from the upper left corner: a diagram is lines and words, not a plot.
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, TWO_COLUMNS), ylim=(height, 0))
    page.axis("off")
    if title:
        page.text(_EDGE, 0.08, title, va="top", weight="bold", size=8.5)
    margin = max((_text_width(_label(d, i)) for d in drawn for i in range(len(d.agents))), default=0.0)
    for diagram in drawn:
        _draw_diagram(page, diagram, top, _EDGE + margin + _LABEL_GAP)
        top += diagram.height
    for line in lines:
        page.text(_EDGE, top + _LINE / 2, line, va="center")
    if drawn:
        note = (
            "Mean rank over data sets of the area under the learning curve, 1 the best (in brackets). "
            "Bars: agents whose mean ranks\n"
            "differ by less than Nemenyi's critical difference at 0.05, so they are not told apart."
        )
        page.text(_EDGE, height - 0.05, note, va="bottom", size=7, color=_GREY)
    return figure


def _diagram(rows: pd.DataFrame, metric: str) -> _Diagram | None:
    ranked = rows[rows["mean_rank"].notna()].sort_values("mean_rank", kind="stable")
    if len(ranked) < 2 or int(ranked["data_sets"].iloc[0]) < FEWEST_DATA_SETS:
        return None
    first = ranked.iloc[0]
    return _Diagram(
        metric,
        tuple(ranked["agent"]),
        tuple(map(float, ranked["mean_rank"])),
        float(first["critical_difference"]),
        int(first["data_sets"]),
        float(first["friedman_p"]),
    )


def _why_not(table: pd.DataFrame, metrics: Sequence[str]) -> str:
    counts = table.loc[table["metric"].isin(metrics), "data_sets"].dropna()
    available = int(counts.max()) if len(counts) else 0
    names = ", ".join(map(metric_label, metrics))
    plural = "" if available == 1 else "s"
    return f"{names}: ranks need several data sets; all agents have finished on {available} data set{plural}."


def _draw_diagram(page: Axes, diagram: _Diagram, top: float, margin: float) -> None:
    agents = len(diagram.agents)
    left, right = margin + 0.12, TWO_COLUMNS - margin - 0.12
    unit = (right - left) / (agents - 1)
    axis = top + _HEADING + _SCALE + _TO_AXIS

    def place(rank: float) -> float:
        return left + (rank - 1) * unit

    page.text(_EDGE, top + 0.03, metric_label(diagram.metric), va="top", weight="bold", size=8)
    p_value = f"{diagram.friedman_p:.3f}" if diagram.friedman_p >= 0.001 else "< 0.001"
    sign = "" if p_value.startswith("<") else "= "
    page.text(
        TWO_COLUMNS - _EDGE,
        top + 0.03,
        f"n = {diagram.data_sets} data sets, {agents} agents, Friedman p {sign}{p_value}",
        va="top",
        ha="right",
    )
    _draw_scale(page, diagram, top + _HEADING, left, right, unit)
    page.plot([left, right], [axis, axis], color="black", linewidth=0.8, solid_capstyle="butt")
    for whole in range(1, agents + 1):
        page.plot([place(whole)] * 2, [axis - _TICK, axis], color="black", linewidth=0.6)
        page.text(place(whole), axis - _TICK - 0.025, str(whole), ha="center", va="bottom", size=LABEL_SIZE)
    levels = diagram.bars
    for level, spans in enumerate(levels):
        height = axis + _FIRST_BAR + level * _BAR
        for start, end in spans:
            # A little beyond the markers, so that a group of agents with the same mean rank has a bar too.
            page.plot(
                [place(start) - 0.04, place(end) + 0.04],
                [height] * 2,
                color="black",
                linewidth=2.2,
                solid_capstyle="butt",
                zorder=3,
            )
    first_row = axis + _FIRST_BAR + _BAR * len(levels) + _FIRST_LABEL
    better = math.ceil(agents / 2)
    for position, (agent, rank) in enumerate(zip(diagram.agents, diagram.ranks, strict=True)):
        on_left = position < better
        row = first_row + _LABEL * (position if on_left else agents - 1 - position)
        side = margin if on_left else TWO_COLUMNS - margin
        style = agent_style(agent)
        page.plot([place(rank)] * 2 + [side], [axis, row, row], color=style.colour, linewidth=0.8, zorder=2)
        # Stars and crosses are thinner than discs.
        size = 4.5 if isinstance(style.marker, str) else 6.0
        page.plot(
            place(rank),
            axis,
            marker=style.marker,
            markersize=size,
            color=style.colour,
            markeredgecolor="white",
            zorder=4,
        )
        page.text(
            side - _LABEL_GAP if on_left else side + _LABEL_GAP,
            row,
            _label(diagram, position),
            ha="right" if on_left else "left",
            va="center",
            size=LABEL_SIZE,
        )


def _draw_scale(page: Axes, diagram: _Diagram, top: float, left: float, right: float, unit: float) -> None:
    """Draw the critical difference at the scale of the axis; one longer than the axis ends in an arrow."""
    beyond = diagram.critical_difference >= len(diagram.agents) - 1
    end = right if beyond else left + diagram.critical_difference * unit
    height = top + 0.14
    page.plot([left, end], [height] * 2, color="black", linewidth=1.0, solid_capstyle="butt")
    edges = [left] if beyond else [left, end]
    for edge in edges:
        page.plot([edge] * 2, [height - 0.035, height + 0.035], color="black", linewidth=1.0)
    text = f"critical difference {diagram.critical_difference:.2f}"
    if beyond:
        page.annotate("", (end + 0.1, height), (end - 0.02, height), arrowprops={"arrowstyle": "->", "linewidth": 1.0})
        text += ", longer than the axis: no pair can be told apart"
    width = _text_width(text)
    centre = max((left + end) / 2, left + width / 2)
    page.text(centre, height - 0.04, text, ha="center", va="bottom", size=LABEL_SIZE)


def _label(diagram: _Diagram, position: int) -> str:
    return f"{agent_label(diagram.agents[position])} ({diagram.ranks[position]:.2f})"


def _text_width(text: str) -> float:
    """Return the printed width in inches of a label."""
    path = TextPath((0, 0), text, prop=FontProperties(family="DejaVu Sans", size=LABEL_SIZE))
    return float(path.get_extents().width) / 72
