"""The one look of all figures: sizes, a colour-blind-safe palette, one fixed style per agent, files that do not vary.

Colours are those of Okabe and Ito (2008), Color universal design; every agent has a marker and a line style too, so
that a figure survives grey printing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bayesgrid.reporting.names import agent_label
from bayesgrid.store.atomic import atomic_write

__all__ = ["OKABE_ITO", "ONE_COLUMN", "TWO_COLUMNS", "AgentStyle", "agent_style", "figure_style", "save_figure"]

ONE_COLUMN = 3.35
"""Width of one journal column in inches (85 mm)."""
TWO_COLUMNS = 6.9
"""Width of two journal columns in inches (175 mm)."""

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "bluish green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "reddish purple": "#CC79A7",
}

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    # Comes with matplotlib, so that every machine draws the same letters.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "figure.titlesize": 8.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "axes.unicode_minus": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "lines.markeredgewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "svg.hashsalt": "bayesgrid",
}


@dataclass(frozen=True)
class AgentStyle:
    """How an agent is drawn in every figure."""

    label: str
    colour: str
    marker: str | tuple[int, int, int]
    line: str | tuple[int, tuple[float, ...]]

    def line_options(self) -> dict[str, Any]:
        """Return the arguments of ``Axes.plot``."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.line,
            "label": self.label,
            "markeredgecolor": "white",
        }


_DASHES = "--"
_DOTS: tuple[int, tuple[float, ...]] = (0, (1.2, 1.2))
_DASH_DOT: tuple[int, tuple[float, ...]] = (0, (4.5, 1.3, 1.2, 1.3))
_LONG_DASHES: tuple[int, tuple[float, ...]] = (0, (7, 2))
# A tuple is a star of so many points, or with 0 in the middle a polygon, turned by so many degrees.
_AGENTS: dict[str, tuple[str, str | tuple[int, int, int], str | tuple[int, tuple[float, ...]]]] = {
    "random": (OKABE_ITO["black"], "o", "-"),
    "coreset": (OKABE_ITO["orange"], "s", "-"),
    "bald_dist_entropy": (OKABE_ITO["sky blue"], "^", "-"),
    "bald_dist_std": (OKABE_ITO["bluish green"], "v", _DASHES),
    "balsa_kl_pairs": (OKABE_ITO["blue"], "D", "-"),
    "balsa_kl_all_pairs": (OKABE_ITO["blue"], "d", _DOTS),
    # Equal to BALD entropy in exact arithmetic: dashes let the curve below show through.
    "balsa_kl_grid": (OKABE_ITO["vermilion"], "p", _DASHES),
    "balsa_emd": (OKABE_ITO["reddish purple"], ">", "-"),
    "balsa_emd_all_pairs": (OKABE_ITO["reddish purple"], "<", _DOTS),
    "balsa_kl_pairs_power": (OKABE_ITO["blue"], "P", _DASHES),
    "weighted_coreset": (OKABE_ITO["blue"], "X", _DASH_DOT),
    "bald_point": (OKABE_ITO["bluish green"], (5, 0, 180), "-"),
    "nflows_out": (OKABE_ITO["sky blue"], (3, 0, 45), _DOTS),
    "std": (OKABE_ITO["black"], "*", _DASHES),
    "entropy": (OKABE_ITO["black"], (3, 1, 0), _DOTS),
    "least_confident": (OKABE_ITO["black"], (3, 1, 180), (0, (3, 1, 1, 1, 1, 1))),
    "typiclust": (OKABE_ITO["vermilion"], "h", "-"),
    "coregcn": (OKABE_ITO["orange"], "8", _DASHES),
    "lcmd": (OKABE_ITO["orange"], (4, 1, 45), _DASH_DOT),
    "bait": (OKABE_ITO["vermilion"], (6, 1, 0), _DASH_DOT),
    "badge": (OKABE_ITO["reddish purple"], "H", _DASHES),
    "kmeans_pp": (OKABE_ITO["orange"], (6, 1, 90), _DOTS),
    "bald_dist_least_confident": (OKABE_ITO["bluish green"], (3, 1, 90), _DOTS),
    "balsa_entropy": (OKABE_ITO["vermilion"], (7, 0, 0), _DOTS),
    "balsa_kl_anomaly": (OKABE_ITO["reddish purple"], (5, 1, 180), _DASH_DOT),
    "balsa_kl_difference": (OKABE_ITO["blue"], (3, 1, 270), _LONG_DASHES),
    "balsa_kl_pairs_dual": (OKABE_ITO["blue"], (7, 1, 0), _DASHES),
    "balsa_kl_grid_dual": (OKABE_ITO["vermilion"], (8, 1, 0), _DASH_DOT),
    "balsa_kl_grid_norm": (OKABE_ITO["vermilion"], (5, 0, 90), _LONG_DASHES),
    "balsa_emd_dual": (OKABE_ITO["reddish purple"], (9, 1, 0), _LONG_DASHES),
    "log_density_std": (OKABE_ITO["black"], (4, 0, 30), _DASH_DOT),
}


def agent_style(name: str) -> AgentStyle:
    """Return the style of an agent; one that is not listed gets a style that depends on its name alone."""
    if name in _AGENTS:
        return AgentStyle(agent_label(name), *_AGENTS[name])
    digest = sha256(name.encode()).digest()
    colours = [colour for key, colour in OKABE_ITO.items() if key not in {"black", "yellow"}]
    lines = [_DASH_DOT, _LONG_DASHES, _DOTS]
    markers = "<>hH*8"
    return AgentStyle(
        agent_label(name),
        colours[digest[0] % len(colours)],
        markers[digest[1] % len(markers)],
        lines[digest[2] % len(lines)],
    )


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of this project inside the ``with`` block; outside nothing changes."""
    with mpl.rc_context():
        mpl.rcdefaults()
        parameters: dict[Any, Any] = _RC
        mpl.rcParams.update(parameters)
        yield


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write ``figure`` beside ``stem`` as .svg and .png (300 dpi), always the same bytes, and return the paths.

    Raises:
        OSError: whatever the file system says; files already there are left as they were.
    """
    paths = [stem.with_name(stem.name + suffix) for suffix in (".svg", ".png")]
    # The date and, in PNG, the version of matplotlib would make equal figures differ.
    metadata: list[dict[str, Any]] = [{"Date": None, "Creator": None}, {"Software": None}]
    with figure_style():
        for path, entries in zip(paths, metadata, strict=True):
            with atomic_write(path) as temporary:
                # Not cropped, so that the width asked for is the width printed.
                figure.savefig(temporary, format=path.suffix[1:], dpi=300, metadata=entries)
    return paths
