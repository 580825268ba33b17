"""The figure of the training ablation: NLL over labels for every warm start (rows) and early stopping (columns)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
from bayesgrid.reporting.names import METRICS, agent_label, setting_label
from bayesgrid.reporting.panel_grid import group_text, panel_grid
from bayesgrid.reporting.style import agent_style

__all__ = ["draw_training_ablation"]

_CURVES, _LINE = 1.05, 0.125
"""Heights in inches of the curves of a panel, and of a line of text above them."""


def draw_training_ablation(table: pd.DataFrame, *, metric: str = "nll", title: str = "") -> Figure:
    """Return small multiples of a metric over labels, with the largest rise of every mean curve.

    The panels of one data set share their vertical axis.

    Args:
        table: of kind ``training_ablation``.
        metric: one of those of the table.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve.
    """
    drawn = drawn_rows(
        table,
        ["value"],
        kind="training_ablation",
        columns=[*GROUP_COLUMNS, "warm_start", "early_stopping", "agent", "metric", "labelled", "seeds"],
        what="curve",
        remedy="finish at least one run",
    )
    own = table[(table["metric"] == metric) & table["estimate"].notna()]
    curves = drawn[drawn["metric"] == metric]
    agents = list(dict.fromkeys(curves["agent"]))
    height = _CURVES + _LINE * len(agents)
    stoppings = list(dict.fromkeys(table["early_stopping"]))
    groups = list(curves.groupby([*GROUP_COLUMNS, "warm_start"], sort=False))
    grid = panel_grid(
        [
            group_text(*key[:4], f"refits {setting_label(key[4])}", seeds=rows["seeds"].astype(int).tolist())
            for key, rows in groups
        ],
        len(stoppings),
        title=title,
        legend=agent_legend(agents),
        legend_columns=legend_columns(agents),
        note=f"{interval_mark(agents)}: 95 % interval of the mean over seeds. Numbers: largest rise of the mean curve "
        f"above its best non-increasing fit, in the unit of the axis. {CUT_INTERVALS}",
        panel_heights=height,
        left=0.64,
        gap=0.5,
    )
    for (key, rows), panels in zip(groups, grid.panels, strict=True):
        siblings = _matching(curves, GROUP_COLUMNS, key[:4])
        for position, (panel, stopping) in enumerate(zip(panels, stoppings, strict=True)):
            shown = rows[rows["early_stopping"] == stopping]
            rises = _matching(own, (*GROUP_COLUMNS, "warm_start", "early_stopping"), (*key, stopping))
            draw_agent_lines(panel, shown, agents, lowest=lowest_value(metric))
            low, high = value_limits(siblings, lowest=lowest_value(metric))
            panel.set_ylim(low, low + (high - low) * height / _CURVES)
            panel.set_xlim(*_padded(siblings["labelled"]))
            _write_rises(panel, rises[rises["quantity"] == "isotonic_violation"], agents)
            panel.set_title(setting_label(stopping), loc="left", size=8, pad=3)
            if position == 0:
                panel.set_ylabel(METRICS[metric])
            if shown.empty:
                planned = _matching(table, (*GROUP_COLUMNS, "warm_start", "early_stopping"), (*key, stopping))
                text = _why_empty(planned)
                panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", size=7)
    for panel in grid.panels[-1]:
        panel.set_xlabel("Number of labels")
    return grid.figure


def _why_empty(planned: pd.DataFrame) -> str:
    if planned.empty:
        return "not in the grid"
    return "no finite value" if (planned["seeds"] > 0).any() else "not finished"


def _matching(table: pd.DataFrame, columns: Sequence[str], values: Sequence[object]) -> pd.DataFrame:
    same = pd.Series(data=True, index=table.index)
    for column, value in zip(columns, values, strict=True):
        same &= table[column] == value
    return table[same]


def _padded(labelled: "pd.Series[int]") -> tuple[float, float]:
    low, high = float(labelled.min()), float(labelled.max())
    return low - 0.03 * (high - low), high + 0.03 * (high - low)


def _write_rises(panel: Axes, rises: pd.DataFrame, agents: Sequence[str]) -> None:
    by_agent = dict(zip(rises["agent"], rises["estimate"], strict=True))
    for line, agent in enumerate(agent for agent in agents if agent in by_agent):
        panel.text(
            0.98,
            0.98 - line * _LINE / (_CURVES + _LINE * len(agents)),
            f"{agent_label(agent)} {by_agent[agent]:.3f}",
            transform=panel.transAxes,
            ha="right",
            va="top",
            size=7,
            color=agent_style(agent).colour,
        )
