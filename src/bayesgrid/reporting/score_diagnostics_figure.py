"""The figure of score diagnostics: one dot an agent, one column a diagnostic, one row of panels a group."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.dot_rows import draw_dots, label_rows
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.panel_grid import group_text, panel_grid
from bayesgrid.reporting.score_diagnostics_tables import DEFINITIONS, DIAGNOSTICS, RANGES

__all__ = ["draw_score_diagnostics"]

_ROW = 0.15
_LIMITS = {**RANGES, "noise_floor": (0.0, 1.0)}


def draw_score_diagnostics(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return what every agent's scores rank by: means over rounds and seeds with 95 % intervals over seeds.

    Diagnostics that no run recorded have no column, and a group without any of one says so in its panel.

    Args:
        table: of kind ``score_diagnostics``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no diagnostic.
    """
    known = drawn_rows(
        table,
        list(DIAGNOSTICS),
        kind="score_diagnostics",
        columns=[*GROUP_COLUMNS, "agent", "seeds"],
        what="diagnostic",
        remedy="finish a run of an agent that has scores",
    )
    shown = [quantity for quantity in DIAGNOSTICS if quantity in set(known["quantity"])]
    groups = list(known.groupby(list(GROUP_COLUMNS), sort=False))
    agents = [list(dict.fromkeys(rows["agent"])) for _, rows in groups]
    grid = panel_grid(
        [group_text(*key, seeds=rows["seeds"].astype(int).tolist()) for key, rows in groups],
        len(shown),
        title=title,
        legend=(),
        legend_columns=1,
        note="Means over rounds, then over seeds; bars: 95 % interval over seeds, cut at the ends of what is possible. "
        f"No dot: no scores, or not recorded. {DEFINITIONS}",
        panel_heights=[0.1 + _ROW * len(own) for own in agents],
        left=1.32,
        right=0.16,
        gap=0.17,
        above=0.5,
        axis_names=False,
    )
    for (_, rows), own, panels in zip(groups, agents, grid.panels, strict=True):
        label_rows(panels[0], own)
        for panel, quantity in zip(panels, shown, strict=True):
            dots = rows[rows["quantity"] == quantity]
            draw_dots(panel, dots, own)
            if dots.empty:
                panel.text(0.5, 0.5, "none", transform=panel.transAxes, ha="center", va="center", size=7)
            _axis(panel, quantity, known[known["quantity"] == quantity])
            panel.set_title(DIAGNOSTICS[quantity].replace(" ", "\n", 1), size=7, pad=3)
            if panel is not panels[0]:
                panel.tick_params(axis="y", labelleft=False)
    return grid.figure


def _axis(panel: Axes, quantity: str, rows: pd.DataFrame) -> None:
    low, high = _LIMITS.get(quantity, (0.0, float(rows["estimate"].max())))
    # What lies outside its range, as a noise floor of other scores can, must still be seen.
    low, high = min(low, float(rows["estimate"].min())), max(high, float(rows["estimate"].max()))
    margin = 0.08 * (high - low)
    panel.set_xlim(low - margin, high + margin)
    # Numbers closer than a third of the narrow panel would run into each other.
    ticks = [low, high] if min(-low, high) < (high - low) / 3 else [low, 0.0, high]
    panel.set_xticks(ticks, [f"{tick:.3g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
