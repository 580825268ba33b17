"""The figure of preferences that go in circles: the accuracy of each model beside the most that any order reaches."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.panel_grid import panel_grid
from bayesgrid.reporting.preference_names import rule_name
from bayesgrid.reporting.preference_panels import room_for_names
from bayesgrid.reporting.preference_runs import CELL_COLUMNS, ROW_COLUMNS
from bayesgrid.reporting.style import OKABE_ITO

__all__ = ["draw_cyclic_accuracy"]

_COLUMNS = 3
_TITLE = 32
"""Characters of a title that fit above a panel."""
_ROW = 0.165
"""Inches of a model."""
_DOT, _CEILING = OKABE_ITO["blue"], OKABE_ITO["vermilion"]
_CHANCE = 0.5


def draw_cyclic_accuracy(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the accuracies of models with their intervals, one panel a set of pairs, beside the ceiling of any order.

    Args:
        table: of kind ``preference_cyclic``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no accuracy.
    """
    rows = drawn_rows(
        table,
        ["value"],
        kind="preference_cyclic",
        columns=[*CELL_COLUMNS, *ROW_COLUMNS, "split", "seeds", "data_label", "model_label"],
        what="accuracy",
        remedy="finish at least one run",
    )
    ceilings = table[table["quantity"] == "ceiling"]
    several = len(rows[list(ROW_COLUMNS)].drop_duplicates()) > 1
    rows = rows.assign(line=[_line(row, with_rule=several) for row in rows.itertuples()])
    lines: list[tuple[str, list[pd.DataFrame]]] = []
    for setting, own in rows.groupby("setting", sort=False):
        sets = [part for _, part in own.groupby(["dataset", "features", "split"], sort=False)]
        starts = range(0, len(sets), _COLUMNS)
        lines += [
            (_heading(str(setting), own) if start == 0 else "", sets[start : start + _COLUMNS]) for start in starts
        ]
    handles = [Line2D([], [], color=_DOT, marker="o", linestyle="-", label="accuracy on held-out pairs")]
    if len(ceilings):
        handles.append(Line2D([], [], color=_CEILING, linestyle="--", label="most that any order can reach"))
    grid = panel_grid(
        [heading for heading, _ in lines],
        min(_COLUMNS, max(len(parts) for _, parts in lines)),
        title=title,
        legend=handles,
        legend_columns=2,
        note="Bars: 95 % interval of the mean over seeds, for new seeds and new pairs. Models that score single "
        "responses, as Bradley-Terry does, cannot get beyond the dashed line; where it "
        "is not known exactly, it is an upper bound, and the shade reaches down to a lower one. Grey line: a guess.",
        panel_heights=[_ROW * max(part["line"].nunique() for part in parts) + 0.1 for _, parts in lines],
        left=room_for_names(rows["line"]),
        gap=0.25,
        above=0.55,
        below=0.30,
    )
    lowest = min(0.4, float(rows["lower"].min()), float(rows["estimate"].min())) - 0.02
    for (_, parts), panels in zip(lines, grid.panels, strict=True):
        # Every panel of a line has the same models in the same rows, so that names stand once.
        names = list(dict.fromkeys(name for part in parts for name in part["line"]))
        for place, panel in enumerate(panels):
            if place >= len(parts):
                panel.set_axis_off()
                continue
            _draw(panel, parts[place], names, _ceiling(ceilings, parts[place]))
            panel.set_xlim(max(0.0, lowest), 1.02)
            panel.tick_params(axis="y", length=0, labelleft=place == 0)
    for panel in grid.panels[-1]:
        panel.set_xlabel("Accuracy")
    return grid.figure


def _line(row: object, *, with_rule: bool) -> str:
    name = str(getattr(row, "model_label"))  # noqa: B009 (a row of itertuples has no type)
    if not with_rule:
        return name
    return f"{name}, {rule_name(*(str(getattr(row, column)) for column in ROW_COLUMNS))}"


def _heading(setting: str, rows: pd.DataFrame) -> str:
    seeds = rows["seeds"].dropna().astype(int)
    number = f"{seeds.max()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    return ", ".join(part for part in (setting, f"n = {number} seed{'s' if seeds.max() > 1 else ''}") if part)


def _ceiling(ceilings: pd.DataFrame, rows: pd.DataFrame) -> tuple[float, float] | None:
    chosen = pd.Series(data=True, index=ceilings.index)
    for column in ("dataset", "features", "setting", "split"):
        chosen &= ceilings[column] == rows[column].iloc[0]
    own = ceilings[chosen]
    return (float(own["lower"].iloc[0]), float(own["upper"].iloc[0])) if len(own) else None


def _draw(panel: Axes, rows: pd.DataFrame, names: list[str], ceiling: tuple[float, float] | None) -> None:
    panel.axvline(_CHANCE, color="#999999", linewidth=0.7, zorder=0.5)
    if ceiling is not None:
        panel.axvline(ceiling[1], color=_CEILING, linestyle="--", linewidth=1.0, zorder=1)
        panel.axvspan(*ceiling, color=_CEILING, alpha=0.18, linewidth=0, zorder=0.8)
    for row in rows.itertuples():
        place = names.index(str(row.line))
        panel.plot([row.lower, row.upper], [place, place], color=_DOT, linewidth=1.1, zorder=2)
        panel.plot(row.estimate, place, "o", color=_DOT, markersize=3.6, markeredgecolor="white", zorder=3)
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    setting = str(rows["setting"].iloc[0])
    shown = str(rows["data_label"].iloc[0]).removesuffix(setting).removesuffix(", ")
    split = str(rows["split"].iloc[0])
    title = shown if split == "test" else f"{shown}, on {split.replace('_', ' ')}"
    panel.set_title("\n".join(textwrap.wrap(title, _TITLE)), loc="left", size=7.5, pad=3)
