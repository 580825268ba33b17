"""The figure of query sizes: the difference to the reference agent against the labels bought at a time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from bayesgrid.reporting.agent_lines import agent_legend, legend_columns
from bayesgrid.reporting.collect import GROUP_COLUMNS
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.names import METRICS, agent_label
from bayesgrid.reporting.panel_grid import group_text, panel_grid
from bayesgrid.reporting.style import agent_style

__all__ = ["draw_query_sizes"]

_QUANTITIES = {"area_difference": "area under the curve", "final_difference": "after the last query"}
_SPREAD = 0.12
"""Of the agents around a query size, as a share of the panel's width."""


def draw_query_sizes(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the paired differences to the reference agent over query size, on a logarithmic axis.

    Args:
        table: of kind ``query_size``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table compares no two agents.
    """
    differences = drawn_rows(
        table,
        list(_QUANTITIES),
        kind="query_size",
        columns=[*GROUP_COLUMNS, "agent", "reference", "metric", "seeds"],
        what="difference",
        remedy="finish a run of the reference agent and of another",
    )
    agents = list(dict.fromkeys(differences["agent"]))
    reference = ", ".join(agent_label(name) for name in dict.fromkeys(differences["reference"]))
    sizes = sorted(int(size) for size in differences["query_size"].unique())
    groups = [
        (key, quantity, rows[rows["quantity"] == quantity])
        for key, rows in differences.groupby(["dataset", "architecture", "variant"], sort=False)
        for quantity in _QUANTITIES
    ]
    grid = panel_grid(
        [
            group_text(dataset, architecture, None, variant, _QUANTITIES[q], seeds=rows["seeds"].astype(int).tolist())
            for (dataset, architecture, variant), q, rows in groups
        ],
        len(METRICS),
        title=title,
        legend=agent_legend(agents),
        legend_columns=legend_columns(agents),
        note=f"Mean difference to {reference} at the same query size, paired by seed. Bars: 95 % Student-t interval. "
        f"Below 0: better than {reference}. Agents are moved sideways a little so that their bars can be told apart.",
    )
    for (_, _, rows), panels in zip(groups, grid.panels, strict=True):
        for panel, (metric, label) in zip(panels, METRICS.items(), strict=True):
            panel.axhline(0, color="#000000", linewidth=0.8, zorder=0.5)
            _draw_panel(panel, rows[rows["metric"] == metric], agents, sizes)
            panel.set_title(f"Δ {label}", loc="left", size=8, pad=3)
    for panel in grid.panels[-1]:
        panel.set_xlabel("Query size")
    return grid.figure


def _draw_panel(panel: Axes, rows: pd.DataFrame, agents: Sequence[str], sizes: Sequence[int]) -> None:
    low, high = np.log10(sizes[0]), np.log10(sizes[-1])
    margin = 0.12 * (high - low) or 0.3
    # As close as the nearest two query sizes allow.
    nearest = min(np.diff(np.log10(sizes)), default=1.0)
    step = min(_SPREAD * (high - low + 2 * margin), 0.6 * nearest) / max(1, len(agents) - 1)
    panel.set_xscale("log")
    for position, agent in enumerate(agents):
        own = rows[rows["agent"] == agent].sort_values("query_size")
        if own.empty:
            continue
        style = agent_style(agent)
        places = own["query_size"].to_numpy(dtype=float) * 10 ** (step * (position - (len(agents) - 1) / 2))
        lower, mean, upper = (own[name].to_numpy(dtype=float) for name in ("lower", "estimate", "upper"))
        panel.errorbar(
            places,
            mean,
            np.stack([mean - lower, upper - mean]),
            fmt="none",
            ecolor=style.colour,
            elinewidth=0.8,
            zorder=2,
        )
        panel.plot(places, mean, **style.line_options() | {"linewidth": 0.7}, zorder=3 + position)
    panel.set_xlim(10 ** (low - margin), 10 ** (high + margin))
    panel.set_xticks(list(sizes), [f"{size}" for size in sizes])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(MaxNLocator(5))
