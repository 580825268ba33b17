"""The figure of label savings: how many labels fewer than random pairs a rule needs, by the accuracy reached."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.preference_panels import RulePanel, rule_panels
from bayesgrid.reporting.preference_runs import CELL_COLUMNS, ROW_COLUMNS
from bayesgrid.reporting.preference_style import RuleKey, rows_of_rule, rule_style

__all__ = ["draw_label_saving"]

_LOWEST, _HIGHEST = -150.0, 100.0
"""Per cent; nothing can save more than all labels."""
_STRIP = 0.045
"""Height of the hatched strip of a rule, as a share of the panel."""


def draw_label_saving(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the labels saved against random pairs over the accuracies that these reach.

    The line is dashed where some seeds never reach an accuracy, so that it is the least that can be saved; where half
    of them or more never do, there is no line, and a hatched strip at the foot stands for the rule.

    Args:
        table: of kind ``preference_saving``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no saving.
    """
    rows = drawn_rows(
        table,
        ["saving"],
        kind="preference_saving",
        columns=[
            *CELL_COLUMNS,
            *ROW_COLUMNS,
            "accuracy",
            "at_most",
            "unreached",
            "reference",
            "seeds",
            "dataset_label",
            "data_label",
            "model_label",
        ],
        what="saving",
        remedy="finish the runs of random pairs and of another rule",
    )
    reference = ", ".join(dict.fromkeys(rows["reference"]))
    figure, panels = rule_panels(
        rows,
        reference=[],
        more=[],
        title=title,
        note=f"Median over seeds of 1 − labels of the rule / labels of {reference} at the same accuracy, and its 95 % "
        "interval (bootstrap over seeds, paired). Above 0: fewer labels. Dashed: some seeds never reach the accuracy, "
        "and the line is the least that is saved. Hatched: half of the seeds or more never reach it with the rule. "
        "Axes end where bands would hide the lines.",
        x=f"Accuracy that {reference} reaches (%)",
        y="Labels saved (%)",
    )
    for panel in panels:
        _draw(panel)
    return figure


def _draw(panel: RulePanel) -> None:
    axes = panel.axes
    axes.axhline(0, color="#000000", linewidth=0.8, zorder=1.5)
    finite = panel.rows[np.isfinite(panel.rows["estimate"])]
    low, high = _limits(100 * finite["estimate"].to_numpy(dtype=float), 100 * panel.rows["lower"].to_numpy(dtype=float),
                        100 * panel.rows["upper"].to_numpy(dtype=float))  # fmt: skip
    strips = 0
    for key in panel.keys:
        curve = rows_of_rule(panel.rows, key).sort_values("accuracy")
        strips += _draw_rule(axes, curve, key, low, high, strips)
    axes.set_ylim(low, high)
    accuracies = 100 * panel.rows["accuracy"].to_numpy(dtype=float)
    margin = 0.03 * (accuracies.max() - accuracies.min()) or 0.5
    axes.set_xlim(accuracies.min() - margin, accuracies.max() + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _limits(estimates: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[float, float]:
    """Return the limits of an axis that shows all lines above the lowest, and bands as far as these stay readable."""
    known = np.concatenate([np.clip(estimates, _LOWEST, _HIGHEST), [-15.0, 15.0]])
    room = 0.5 * float(np.ptp(known))
    bands = np.concatenate([known, lower[np.isfinite(lower)], upper[np.isfinite(upper)]])
    low = max(float(bands.min()), float(known.min()) - room, _LOWEST)
    high = min(float(bands.max()), float(known.max()) + room, _HIGHEST)
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _draw_rule(axes: Axes, curve: pd.DataFrame, key: RuleKey, low: float, high: float, strips: int) -> int:
    """Draw one rule, and return whether it has a strip at the foot."""
    style = rule_style(key)
    place = 100 * curve["accuracy"].to_numpy(dtype=float)
    saved = 100 * curve["estimate"].to_numpy(dtype=float)
    lower, upper = (np.clip(100 * curve[name].to_numpy(dtype=float), low, high) for name in ("lower", "upper"))
    # A band from no bound to all labels says nothing.
    known = np.isfinite(curve["lower"]).to_numpy() | (curve["upper"] < 1).to_numpy()
    axes.fill_between(place, lower, upper, where=known, color=style.colour, alpha=0.13, linewidth=0, zorder=1)
    finite = np.isfinite(saved)
    seen = finite & (curve["estimate"] == curve["at_most"]).to_numpy() & (curve["unreached"] == 0).to_numpy()
    options = style.line_options() | {"zorder": 2.5}
    step = max(1, len(place) // 5)
    axes.plot(place, np.where(finite, saved, np.nan), **options | {"linestyle": (0, (2.2, 1.4)), "marker": ""})
    axes.plot(place, np.where(seen, saved, np.nan), **options, markevery=step)
    beyond = np.flatnonzero(~finite)
    if not beyond.size:
        return 0
    width = float(np.diff(place).max()) if place.size > 1 else 1.0
    bottom = _STRIP * strips
    for position in beyond.tolist():
        axes.axvspan(
            place[position] - width / 2,
            place[position] + width / 2,
            ymin=bottom,
            ymax=bottom + _STRIP * 0.8,
            facecolor="white",
            edgecolor=style.colour,
            hatch="//////",
            linewidth=0,
            zorder=2,
        )
    return 1
