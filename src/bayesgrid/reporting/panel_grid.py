"""The layout of a figure of rows of panels, in inches: title, legend, headings, panels, and a note at the foot."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgrid.reporting.names import architecture_label, dataset_label
from bayesgrid.reporting.style import TWO_COLUMNS

__all__ = ["PanelGrid", "group_text", "panel_grid"]

_EDGE = 0.06
_TITLE, _LEGEND_LINE, _FOOT, _NOTE_LINE = 0.26, 0.17, 0.26, 0.12
_HEADING_LINE, _TITLE_LINE = 0.13, 0.15
NOTE_CHARACTERS = 120
"""That fit on one line of the page at the size of notes."""
TITLE_CHARACTERS, HEADING_CHARACTERS = 84, 118
"""The same at the sizes of the title, in bold, and of headings."""


@dataclass(frozen=True)
class PanelGrid:
    """A figure and its empty panels, row by row."""

    figure: Figure
    panels: tuple[tuple[Axes, ...], ...]


def panel_grid(
    headings: Sequence[str],
    columns: int,
    *,
    title: str,
    legend: Sequence[Artist],
    legend_columns: int,
    note: str,
    panel_heights: Sequence[float] | float = 1.30,
    left: float = 0.52,
    right: float = 0.13,
    gap: float = 0.56,
    above: float = 0.40,
    below: float = 0.26,
    axis_names: bool = True,
) -> PanelGrid:
    """Return a figure two journal columns wide with one row of panels below each heading.

    Args:
        headings: printed above the rows, broken after commas as needed; may use mathtext.
        columns: panels of a row.
        title: printed above all, broken into lines as needed; may be empty.
        legend: handles; none leaves the legend out.
        legend_columns: entries on one line of the legend.
        note: printed at the foot, broken into lines as needed.
        panel_heights: inches, one for all rows or one a row.
        left: inches from the page's edge to the first panel.
        right: inches from the last panel to the page's edge.
        gap: inches between the panels of a row.
        above: inches from the top of a heading to its panels, for the heading and the panels' names.
        below: inches under the panels of a row, for the numbers of their axes.
        axis_names: whether the last row names its horizontal axes and needs room for that.
    """
    sizes = [panel_heights] * len(headings) if isinstance(panel_heights, int | float) else list(panel_heights)
    lines = textwrap.wrap(note, NOTE_CHARACTERS)
    title_lines = textwrap.wrap(title, TITLE_CHARACTERS)
    title_height = _TITLE + _TITLE_LINE * (len(title_lines) - 1) if title else 0.0
    wrapped = [_heading_lines(heading) for heading in headings]
    aboves = [above + _HEADING_LINE * (len(own) - 1) for own in wrapped]
    top = title_height + _LEGEND_LINE * -(-len(legend) // legend_columns) + (0.1 if legend else 0.0)
    foot = (_FOOT if axis_names else _EDGE) + _NOTE_LINE * len(lines)
    height = top + sum(aboves) + sum(size + below for size in sizes) + foot
    width = (TWO_COLUMNS - left - right - gap * (columns - 1)) / columns
    figure = plt.figure(figsize=(TWO_COLUMNS, height))
    if title:
        figure.text(_EDGE / TWO_COLUMNS, 1 - 0.08 / height, "\n".join(title_lines), va="top", weight="bold", size=8.5)
    if legend:
        figure.legend(
            handles=list(legend),
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - title_height / height),
            ncols=legend_columns,
            borderpad=0.2,
        )
    panels = []
    for heading, size, over in zip(wrapped, sizes, aboves, strict=True):
        figure.text(_EDGE / TWO_COLUMNS, 1 - (top + 0.05) / height, "\n".join(heading), va="top")
        bottom = 1 - (top + over + size) / height
        lefts = [left + column * (width + gap) for column in range(columns)]
        panels.append(
            tuple(figure.add_axes((x / TWO_COLUMNS, bottom, width / TWO_COLUMNS, size / height)) for x in lefts)
        )
        top += over + size + below
    figure.text(_EDGE / TWO_COLUMNS, 0.05 / height, "\n".join(lines), va="bottom", size=7, color="#444444")
    return PanelGrid(figure, tuple(panels))


def group_text(
    dataset: str, architecture: str, query_size: int | None, variant: str, *more: str, seeds: Sequence[int]
) -> str:
    """Return the heading of a row of panels: the data set in bold, then what else tells its runs apart, then n."""
    fewest, most = min(seeds), max(seeds)
    parts = [
        architecture_label(architecture) + (f", query size {query_size}" if query_size is not None else ""),
        *([variant] if variant else []),
        f"n = {most if fewest == most else f'{fewest} to {most}'} seed{'s' if most > 1 else ''}",
        *more,
    ]
    bold = dataset_label(dataset).replace(" ", "~")
    return f"$\\bf{{{bold}}}$   " + ", ".join(parts)


def _heading_lines(heading: str) -> list[str]:
    """Return ``heading`` in lines that fit on the page, broken after commas."""
    lines: list[str] = []
    for part in heading.split(", "):
        joined = f"{lines[-1]}, {part}" if lines else part
        # The bold letters of mathtext are wider, about as much as its marks, which are not printed, are long.
        if lines and len(joined) > HEADING_CHARACTERS:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1:] = [joined]
    return lines
