"""The table of noise: the metrics of methods on the same questions as their images grow noisier."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bayesgrid.errors import ConfigurationError
from bayesgrid.reporting.answer_curves import CurveGroup, curve_places, curve_rows, curve_sections, entry_curves
from bayesgrid.reporting.answer_estimates import cell_estimates
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_rows import INTERVAL_NOTE, REPLICATES, answer_options, tidy_frame
from bayesgrid.reporting.answer_runs import AnswerCell, answer_cells
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.table import Table

__all__ = ["answer_noise_table"]

_NOISY = re.compile(r"noisy_(?P<clean>.+)_(?P<level>\d+)")


def answer_noise_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return metrics against the noise level of evaluation sets named ``noisy_<set>_<level>``; the set itself is 0.

    Options: ``metrics`` (default accuracy, nll, ece), ``replicates``.

    Raises:
        ConfigurationError: for an unknown option or metric, runs that are no evaluations, or no noisy set.
        StateError: if a result file is missing or damaged, or methods answered different questions.
    """
    chosen = answer_options(options, {"metrics": ("accuracy", "nll", "ece"), "replicates": REPLICATES})
    cells = answer_cells(runs)
    noisy = {cell: match for cell in cells if (match := _NOISY.fullmatch(cell.evaluation))}
    if not noisy:
        raise ConfigurationError(
            "no evaluation set of the table has noise",
            given=", ".join(dict.fromkeys(cell.evaluation for cell in cells)),
            allowed="names like noisy_slake_8, and slake for no noise",
        )
    levels: dict[tuple[str, str, str], dict[float, AnswerCell]] = {}
    for cell, match in noisy.items():
        levels.setdefault((cell.model, cell.dataset, match["clean"]), {})[float(match["level"])] = cell
    for cell in cells:
        if (cell.model, cell.dataset, cell.evaluation) in levels:
            levels[cell.model, cell.dataset, cell.evaluation][0.0] = cell
    groups = []
    footnotes = AnswerFootnotes()
    for (_, _, clean), places in levels.items():
        ordered = dict(sorted(places.items()))
        estimates = {
            level: cell_estimates(cell, chosen["metrics"], replicates=chosen["replicates"])
            for level, cell in ordered.items()
        }
        clean_cell = replace(next(iter(ordered.values())), evaluation=clean, rows=())
        heading = footnotes.heading(clean_cell, also=[cell.evaluation for cell in ordered.values()])
        curves = [
            curve for metric in chosen["metrics"] for curve in entry_curves(estimates, metric, clean_cell, footnotes)
        ]
        groups.append(CurveGroup(heading, tuple(curves)))
    shown = curve_places(groups)
    return Table(
        tidy_frame(curve_rows(groups, "noise_level"), noise_level="float64"),
        ("Metric", "Method", *(f"Noise {place:g}" for place in shown)),
        curve_sections(groups, shown),
        "Answers: metrics against the noise of images",
        (INTERVAL_NOTE, *partial_notes(runs)),
        footnotes.texts,
    )
