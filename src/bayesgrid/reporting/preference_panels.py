"""The layout of figures of rules: three panels on a line, each with a legend of its own above it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayesgrid.reporting.panel_grid import panel_grid
from bayesgrid.reporting.preference_style import (
    RuleKey,
    data_groups,
    data_heading,
    model_cells,
    panels_of_rules,
    rule_keys,
    rule_style,
)

__all__ = ["RulePanel", "room_for_names", "rule_panels"]

_COLUMNS = 3
_SHORT = 13
"""Characters of a name up to which two fit side by side above a panel."""
_LINE, _NAME, _HEADING = 0.13, 0.15, 0.26
"""Inches of a line of a legend, of a line of a panel's name, and of the heading above."""
_HEIGHT = 1.45


@dataclass(frozen=True)
class RulePanel:
    """One panel: the rules of one family for one model on one set of data."""

    axes: Axes
    rows: pd.DataFrame
    """Of the whole cell, so that panels of one cell can share an axis."""
    keys: tuple[RuleKey, ...]
    """Without the reference."""


@dataclass(frozen=True)
class _Plan:
    rows: pd.DataFrame
    name: str
    keys: tuple[RuleKey, ...]


def rule_panels(
    rows: pd.DataFrame, *, reference: Sequence[RuleKey], more: Sequence[Line2D], title: str, note: str, x: str, y: str
) -> tuple[Figure, list[RulePanel]]:
    """Return a figure and its empty panels, named and with their legends.

    Args:
        rows: of a table, with the columns of cells and rules.
        reference: rules that every panel shows, named in the legend of the figure.
        more: further entries of that legend.
        title: printed above; may be empty.
        note: printed at the foot.
        x: name of the horizontal axes.
        y: name of the vertical axes.
    """
    lines: list[tuple[str, list[_Plan]]] = []
    most = 0
    for group in data_groups(rows):
        plans = []
        for own in model_cells(group):
            keys = [key for key in rule_keys(own) if key not in reference]
            plans += [_Plan(own, name, members) for name, members in panels_of_rules(keys)]
        most = max(most, len(plans))
        starts = range(0, len(plans), _COLUMNS)
        lines += [(data_heading(group) if start == 0 else "", plans[start : start + _COLUMNS]) for start in starts]
    legends = [[_legend(plan.keys) for plan in plans] for _, plans in lines]
    entries = max(_legend_lines(own) for line in legends for own in line)
    shared = [*_legend(reference), *more]
    named = 2 if any(plan.name for _, plans in lines for plan in plans) else 1
    grid = panel_grid(
        [heading for heading, _ in lines],
        min(_COLUMNS, most),
        title=title,
        legend=shared,
        legend_columns=max(1, len(shared)),
        note=note,
        panel_heights=_HEIGHT,
        above=_HEADING + named * _NAME + entries * _LINE,
        left=0.58,
        gap=0.50,
    )
    found = []
    for (_, plans), own, panels in zip(lines, legends, grid.panels, strict=True):
        for place, axes in enumerate(panels):
            if place >= len(plans):
                axes.set_axis_off()
                continue
            plan = plans[place]
            _name(axes, plan, entries * _LINE)
            axes.legend(
                handles=own[place],
                loc="upper left",
                bbox_to_anchor=(-0.02, 1 + (entries * _LINE + 0.06) / _HEIGHT),
                ncols=_legend_columns(own[place]),
                borderpad=0.1,
                borderaxespad=0.0,
                labelspacing=0.15,
                columnspacing=0.9,
                handlelength=2.2,
                handletextpad=0.5,
            )
            found.append(RulePanel(axes, plan.rows, plan.keys))
        panels[0].set_ylabel(y)
    for axes in grid.panels[-1]:
        axes.set_xlabel(x)
    return grid.figure, found


def room_for_names(names: Iterable[str]) -> float:
    """Return the inches that the longest of the names of rows needs to the left of a panel."""
    return max(1.0, 0.25 + 0.06 * max(map(len, names)))


def _name(axes: Axes, plan: _Plan, above: float) -> None:
    text = str(plan.rows["model_label"].iloc[0])
    height = 1 + (above + 0.07) / _HEIGHT
    if plan.name:
        axes.text(0, height, plan.name, transform=axes.transAxes, size=7, color="#444444", va="bottom")
        height += _NAME / _HEIGHT
    axes.text(0, height, text, transform=axes.transAxes, size=8, va="bottom")


def _legend(keys: Sequence[RuleKey]) -> list[Line2D]:
    return [Line2D([], [], **rule_style(key).line_options()) for key in keys]


def _legend_columns(handles: Sequence[Line2D]) -> int:
    return 2 if all(len(str(handle.get_label())) <= _SHORT for handle in handles) else 1


def _legend_lines(handles: Sequence[Line2D]) -> int:
    return -(-len(handles) // _legend_columns(handles)) if handles else 0
