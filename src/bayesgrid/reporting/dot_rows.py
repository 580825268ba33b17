"""Panels with one row an agent: a dot for the estimate and a bar for its interval."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bayesgrid.reporting.names import agent_label
from bayesgrid.reporting.style import agent_style

__all__ = ["draw_dots", "label_rows"]


def label_rows(panel: Axes, agents: Sequence[str]) -> None:
    """Name the rows of ``panel``, the first agent at the top."""
    panel.set_yticks(range(len(agents)), [agent_label(agent) for agent in agents])


def draw_dots(
    panel: Axes, rows: pd.DataFrame, agents: Sequence[str], *, shift: float = 0.0, hollow: bool = False
) -> None:
    """Draw ``estimate`` with ``lower`` and ``upper`` of each agent of ``rows`` in its row.

    Args:
        panel: where to draw.
        rows: one an agent.
        agents: top to bottom.
        shift: of the dots, downwards, in rows.
        hollow: whether markers are drawn as outlines, to tell two quantities apart.
    """
    for place, agent in enumerate(agents):
        for row in rows[rows["agent"] == agent].itertuples():
            style = agent_style(agent)
            if np.isfinite(row.lower):
                panel.plot([row.lower, row.upper], [place + shift] * 2, color=style.colour, linewidth=0.9, zorder=2)
            # Stars and crosses have no inside.
            face = "white" if hollow and isinstance(style.marker, str) else style.colour
            edge = style.colour if hollow else "white"
            panel.plot(
                row.estimate,
                place + shift,
                marker=style.marker,
                markersize=4.2,
                markerfacecolor=face,
                markeredgecolor=edge,
                markeredgewidth=0.8 if hollow else 0.4,
                linestyle="none",
                zorder=3,
            )
    panel.set_yticks(range(len(agents)))
    panel.set_ylim(len(agents) - 0.4, -0.6)
