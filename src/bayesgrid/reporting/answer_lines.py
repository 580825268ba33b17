"""How curves about answers are drawn in a panel: one line a method, its intervals as bands or as bars."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.reporting.answer_style import RowKey
from bayesgrid.reporting.style import AgentStyle

__all__ = ["AnswerAxis", "draw_answer_lines", "interval_word"]

BANDS_UP_TO = 3
"""With more methods, bands would hide each other, and intervals are bars at the markers."""


@dataclass(frozen=True)
class AnswerAxis:
    """The horizontal axis of a kind of curve."""

    kind: str
    column: str
    label: str
    scale: Literal["linear", "logarithmic", "steps"]
    """``steps`` are of equal width."""


def draw_answer_lines(
    panel: Axes, rows: pd.DataFrame, axis: AnswerAxis, styles: dict[RowKey, AgentStyle], *, every: int = 1
) -> None:
    """Draw ``estimate`` with ``lower`` and ``upper`` over ``axis``, one line a row of the legend.

    Args:
        panel: where to draw.
        rows: of a table of curves, of one metric and cell.
        axis: the horizontal one.
        styles: by method and variant, in the order of the legend.
        every: places from one marker of a line to its next.
    """
    places = np.sort(rows[axis.column].unique()).astype(float)
    for position, ((method, variant), style) in enumerate(styles.items()):
        curve = rows[(rows["method"] == method) & (rows["variant"].fillna("") == variant)].sort_values(axis.column)
        if curve.empty:
            continue
        at = curve[axis.column].to_numpy(dtype=float)
        if axis.scale == "steps":
            at = np.searchsorted(places, at).astype(float)
        aside = position - (len(styles) - 1) / 2
        # Moved a little, so that bars of equal curves do not hide each other.
        moved = at * (1 + 0.018 * aside) if axis.scale == "logarithmic" else at + 0.0045 * aside * np.ptp(places)
        moved = at + 0.045 * aside if axis.scale == "steps" else moved
        lower, mean, upper = (curve[name].to_numpy(dtype=float) for name in ("lower", "estimate", "upper"))
        known = np.isfinite(lower)
        if len(styles) <= BANDS_UP_TO or not known.any():
            moved = at
        if len(styles) <= BANDS_UP_TO:
            panel.fill_between(at, lower, upper, color=style.colour, alpha=0.14, linewidth=0, zorder=1)
        elif known.any():
            marked = np.flatnonzero(known)[(position % every) :: every]
            deviation = np.stack([mean - lower, upper - mean])[:, marked]
            panel.errorbar(
                moved[marked], mean[marked], deviation, fmt="none", ecolor=style.colour, elinewidth=0.6, zorder=1.5
            )
        options: dict[str, Any] = style.line_options()
        panel.plot(moved, mean, **options, markevery=slice(position % every, None, every), zorder=2 + position)
    _scale(panel, axis, places)


def _scale(panel: Axes, axis: AnswerAxis, places: FloatArray) -> None:
    panel.margins(x=0.04)
    panel.yaxis.set_major_locator(MaxNLocator(5))
    if axis.scale == "linear":
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=axis.column == "labelled"))
        return
    if axis.scale == "logarithmic":
        panel.set_xscale("log")
        shown = _apart(places)
        panel.xaxis.set_major_locator(FixedLocator(shown))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.xaxis.set_minor_locator(NullLocator())
        return
    panel.set_xticks(range(len(places)), [f"{place:g}" for place in places])


def _apart(places: FloatArray) -> list[float]:
    """Return the places whose numbers do not run into each other on a logarithmic axis, the last one among them."""
    span = np.log(places[-1] / places[0]) or 1.0
    round_places = places[np.isin(places, [step * 10.0**power for power in range(6) for step in (1, 2, 5)])]
    # Labels are what they are; draws are chosen, so round numbers will do.
    if round_places.size > 2 and round_places[-1] == places[-1]:
        places = round_places
    shown = [float(places[-1])]
    for place in places[-2::-1]:
        if np.log(shown[0] / place) > 0.14 * span:
            shown.insert(0, float(place))
    return shown


def interval_word(styles: dict[RowKey, AgentStyle]) -> str:
    """Return how intervals are drawn, as the first word of a note."""
    return "Bands" if len(styles) <= BANDS_UP_TO else "Bars"
