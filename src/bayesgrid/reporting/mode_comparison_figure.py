"""The figures of modes: the corrected recipe and the reference's side by side, and what the recipe changes."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

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
from bayesgrid.reporting.dot_rows import draw_dots, label_rows
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.grouped_curves import few_seeds_notes
from bayesgrid.reporting.mode_comparison_tables import COMPARED_METRICS, MODE_OF_DRAWS, MODES
from bayesgrid.reporting.names import metric_label, setting_label
from bayesgrid.reporting.panel_grid import group_text, panel_grid
from bayesgrid.reporting.table import number

__all__ = ["draw_mode_differences", "draw_modes"]

_ROW = 0.24
_LOGARITHMIC_FROM = 5.0
"""Largest over smallest mean of a panel; a fit to the initial labels alone is easily that much worse than others."""


def draw_modes(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the learning curves of both modes, one row of panels a mode; the rows of a group share their axes.

    Args:
        table: of kind ``mode_comparison``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve.
    """
    curves = _rows(table, ["value"], "curve", "finish at least one run")
    agents = list(dict.fromkeys(curves["agent"]))
    groups = [
        (key, mode, rows, rows[rows["mode"] == mode])
        for key, rows in curves.groupby(list(GROUP_COLUMNS), sort=False)
        for mode in MODES
        if (rows["mode"] == mode).any()
    ]
    grid = panel_grid(
        [
            group_text(*key, setting_label(mode), seeds=own["seeds"].astype(int).tolist())
            for key, mode, _, own in groups
        ],
        len(COMPARED_METRICS),
        title=title,
        legend=agent_legend(agents),
        legend_columns=legend_columns(agents),
        note=f"{interval_mark(agents)}: 95 % interval of the mean over seeds. The two recipes of a group share "
        f"their axes. {CUT_INTERVALS} The axis of errors that span more than a factor of {_LOGARITHMIC_FROM:.0f} is "
        f"logarithmic. Intervals of CRPS and MAE end at 0. {MODE_OF_DRAWS}",
        panel_heights=1.2,
    )
    for (_, _, rows, own), panels in zip(groups, grid.panels, strict=True):
        for panel, metric in zip(panels, COMPARED_METRICS, strict=True):
            lowest = lowest_value(metric)
            draw_agent_lines(panel, own[own["metric"] == metric], agents, lowest=lowest)
            shown = rows[rows["metric"] == metric]
            smallest, largest = shown["estimate"].min(), shown["estimate"].max()
            if lowest == 0 and smallest > 0 and largest > _LOGARITHMIC_FROM * smallest:
                panel.set_yscale("log")
                panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                panel.yaxis.set_minor_locator(NullLocator())
                panel.set_ylim(smallest / 1.3, largest * 1.3)
            else:
                panel.set_ylim(*value_limits(shown, lowest=lowest))
            panel.set_title(metric_label(metric), loc="left", size=8, pad=3)
    for panel in grid.panels[-1]:
        panel.set_xlabel("Number of labels")
    return grid.figure


def draw_mode_differences(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the difference between the modes for every agent, paired by seed, and whether agents keep their order.

    Args:
        table: of kind ``mode_comparison``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if no agent has finished in both modes.
    """
    shown_quantities = ["area_difference", "final_difference"]
    differences = _rows(table, shown_quantities, "difference", "finish an agent in both modes")
    taus = table[(table["quantity"] == "area_kendall_tau") & table["estimate"].notna()]
    warning = " ".join(few_seeds_notes(taus["seeds"].astype(int), "the intervals of Kendall's τ"))
    groups = list(differences.groupby(list(GROUP_COLUMNS), sort=False))
    agents = [list(dict.fromkeys(rows["agent"])) for _, rows in groups]
    grey: dict[str, Any] = {"color": "#444444", "linestyle": "none", "marker": "o", "markersize": 4.2}
    faithful, corrected = setting_label("faithful"), setting_label("corrected")
    grid = panel_grid(
        [group_text(*key, seeds=rows["seeds"].astype(int).tolist()) for key, rows in groups],
        len(COMPARED_METRICS),
        title=title,
        legend=[
            Line2D([], [], label="area under the curve", **grey),
            Line2D([], [], label="after the last query", markerfacecolor="white", **grey),
        ],
        legend_columns=2,
        note=f"{faithful.capitalize()} minus {corrected}, paired by seed; bars: 95 % Student-t interval. Below 0: the "
        f"{faithful} is better. τ: Kendall's, between the two orders of agents by area, with the 95 % interval of a "
        f"bootstrap over seeds. {warning} {MODE_OF_DRAWS}",
        panel_heights=[0.1 + _ROW * len(own) for own in agents],
        left=1.42,
        gap=0.22,
        below=0.42,
        axis_names=False,
    )
    for (key, rows), own, panels in zip(groups, agents, grid.panels, strict=True):
        label_rows(panels[0], own)
        for panel, metric in zip(panels, COMPARED_METRICS, strict=True):
            shown = rows[rows["metric"] == metric]
            panel.axvline(0, color="#000000", linewidth=0.8, zorder=0.5)
            draw_dots(panel, shown[shown["quantity"] == "area_difference"], own, shift=-0.16)
            draw_dots(panel, shown[shown["quantity"] == "final_difference"], own, shift=0.16, hollow=True)
            panel.xaxis.set_major_locator(MaxNLocator(3))
            panel.set_title(f"Δ {metric_label(metric)}", loc="left", size=8, pad=3)
            panel.set_xlabel(_tau_text(table, key, metric), size=7)
            if panel is not panels[0]:
                panel.tick_params(axis="y", labelleft=False)
    return grid.figure


def _rows(table: pd.DataFrame, quantities: list[str], what: str, remedy: str) -> pd.DataFrame:
    columns = [*GROUP_COLUMNS, "mode", "agent", "metric", "labelled", "seeds"]
    return drawn_rows(table, quantities, kind="mode_comparison", columns=columns, what=what, remedy=remedy)


def _tau_text(table: pd.DataFrame, key: tuple[object, ...], metric: str) -> str:
    rows = table[(table["metric"] == metric) & (table["quantity"] == "area_kendall_tau") & table["estimate"].notna()]
    for column, value in zip(GROUP_COLUMNS, key, strict=True):
        rows = rows[rows[column] == value]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    estimate, lower, upper = (number(float(row[name]), 2) for name in ("estimate", "lower", "upper"))
    return f"τ {estimate} ({lower} to {upper})"
