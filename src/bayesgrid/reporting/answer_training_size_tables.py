"""The table of training sizes: the metrics of methods as the training set of one task grows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayesgrid.reporting.answer_curves import CurveGroup, curve_places, curve_rows, curve_sections, entry_curves
from bayesgrid.reporting.answer_estimates import CellEstimates, cell_estimates
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_rows import INTERVAL_NOTE, REPLICATES, answer_options, tidy_frame
from bayesgrid.reporting.answer_runs import AnswerCell, answer_cells
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.table import Table

__all__ = ["answer_by_training_size_table"]

_SIZE = re.compile(r"_(xs|s|m|l|xl|\d+)$")


def answer_by_training_size_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return metrics against the labels used, for data sets that differ in size alone: ``winogrande_xs`` to ``_l``.

    Data sets are of one task if their names are equal without a last part ``xs``, ``s``, ``m``, ``l``, ``xl`` or a
    number; only evaluations on a data set's own test split count, and tasks of one size only if there is no other.
    Options: ``metrics`` (default accuracy, nll, ece), ``temperature`` (default false), ``replicates``.

    Raises:
        ConfigurationError: for an unknown option or metric, or runs that are no evaluations.
        StateError: if a result file is missing or damaged, or methods answered different questions.
    """
    defaults = {"metrics": ("accuracy", "nll", "ece"), "temperature": False, "replicates": REPLICATES}
    chosen = answer_options(options, defaults)
    tasks: dict[tuple[str, str], list[AnswerCell]] = {}
    for cell in answer_cells(runs):
        if cell.evaluation == cell.dataset:
            tasks.setdefault((cell.model, _SIZE.sub("", cell.dataset)), []).append(cell)
    growing = {task: cells for task, cells in tasks.items() if len(cells) > 1}
    groups = []
    footnotes = AnswerFootnotes()
    for (model, task), cells in (growing or tasks).items():
        estimates: dict[float, CellEstimates] = {}
        for place, cell in enumerate(cells):
            own = cell_estimates(
                cell,
                (*chosen["metrics"], "labels_used"),
                temperature=bool(chosen["temperature"]),
                replicates=chosen["replicates"],
            )
            # Cells without a finished run have no size yet; they only lend the names of their methods.
            estimates[_labels_used(own) or -1.0 - place] = own
        task_cell = AnswerCell(model, task, task, (), cells[0].sources)
        heading = footnotes.heading(task_cell, also=[cell.dataset for cell in cells])
        ordered = dict(sorted(estimates.items()))
        curves = [
            curve for metric in chosen["metrics"] for curve in entry_curves(ordered, metric, task_cell, footnotes)
        ]
        groups.append(CurveGroup(heading, tuple(curves)))
    shown = curve_places(groups)
    return Table(
        tidy_frame(curve_rows(groups, "labels"), labels="float64"),
        ("Metric", "Method", *(f"{place:,.0f} labels" for place in shown)),
        curve_sections(groups, shown),
        "Answers: metrics against the size of the training set",
        (
            "Labels: those of the training split that a method may use, its validation slice included.",
            INTERVAL_NOTE,
            *partial_notes(runs),
        ),
        footnotes.texts,
    )


def _labels_used(estimates: CellEstimates) -> float | None:
    """Return the labels that methods of a cell used; the most, should they differ, for a common place on the axis."""
    used = [estimates.estimate(entry, "labels_used").estimate for entry in estimates.seeds]
    known = [value for value in used if np.isfinite(value)]
    return max(known) if known else None
