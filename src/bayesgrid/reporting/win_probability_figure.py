"""The figure of win probabilities: how often an agent beats the reference, at each number of labels."""

import pandas as pd
from matplotlib.figure import Figure

from bayesgrid.reporting.agent_lines import agent_legend, draw_agent_lines, legend_columns
from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.names import METRICS, agent_label
from bayesgrid.reporting.panel_grid import group_text, panel_grid

__all__ = ["draw_win_probabilities"]

_SPREAD = 0.05
"""Of the agents around a number of labels, as a share of the panel's width: their bars would hide each other."""


def draw_win_probabilities(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the probability over seeds of beating the reference agent, against the number of labels.

    Args:
        table: of kind ``win_probability``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table compares no two agents.
    """
    shares = drawn_rows(
        table,
        ["value"],
        kind="win_probability",
        columns=[*GROUP_COLUMNS, "agent", "reference", "metric", "labelled", "wins", "seeds"],
        what="probability",
        remedy="finish a run of the reference agent and of another",
    )
    agents = list(dict.fromkeys(shares["agent"]))
    reference = ", ".join(agent_label(name) for name in dict.fromkeys(shares["reference"]))
    groups = list(shares.groupby(list(GROUP_COLUMNS), sort=False))
    grid = panel_grid(
        [group_text(*key, seeds=rows["seeds"].astype(int).tolist()) for key, rows in groups],
        len(METRICS),
        title=title,
        legend=agent_legend(agents),
        legend_columns=legend_columns(agents),
        note=f"Share of seeds with a lower metric than {reference} on the same seed; ties count as half. Bars: "
        f"Wilson's 95 % interval. Above 0.5: better than {reference}. Agents are "
        "moved sideways a little so that their bars can be told apart.",
        gap=0.46,
    )
    for (_, rows), panels in zip(groups, grid.panels, strict=True):
        for panel, (metric, label) in zip(panels, METRICS.items(), strict=True):
            panel.axhline(0.5, color="#000000", linewidth=0.8, zorder=0.5)
            shown = rows[rows["metric"] == metric]
            dodge = _SPREAD * float(shown["labelled"].max() - shown["labelled"].min()) / len(agents)
            draw_agent_lines(panel, shown, agents, bands=False, dodge=dodge)
            panel.set_ylim(-0.04, 1.04)
            panel.set_yticks([0, 0.25, 0.5, 0.75, 1])
            panel.set_title(f"P(lower {label})", loc="left", size=8, pad=3)
    for panel in grid.panels[-1]:
        panel.set_xlabel("Number of labels")
    return grid.figure
