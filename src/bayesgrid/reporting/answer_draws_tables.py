"""The table of the S-curve: what averaging more draws of a posterior buys, from the draws that runs have stored."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.reporting.agent_curves import interval_over_seeds
from bayesgrid.reporting.answer_curves import AnswerCurve, CurveGroup, curve_places, curve_rows, curve_sections
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_intervals import CUT_NOTE, within_range
from bayesgrid.reporting.answer_predictions import AnswerPredictions, read_answer_predictions
from bayesgrid.reporting.answer_rows import answer_options, tidy_frame
from bayesgrid.reporting.answer_runs import AnswerCell, MethodRuns, answer_cells
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.table import Table

__all__ = ["answer_draws_table", "windows_of_draws"]

_PLACES = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000)
_SHOWN = (1, 2, 5, 10, 20, 50, 100, 1000)
_WINDOWS = 16


def answer_draws_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return metrics against the number of draws that are averaged, for every method.

    Option: ``metrics`` (default accuracy, nll, ece).

    Raises:
        ConfigurationError: for an unknown option or metric, or runs that are no evaluations.
        StateError: if a result file is missing or damaged.
    """
    chosen = answer_options(options, {"metrics": ("accuracy", "nll", "ece")})
    groups = []
    footnotes = AnswerFootnotes()
    for cell in answer_cells(runs):
        known = {row: read_answer_predictions(row.finished_trials[0]) if row.finished else None for row in cell.rows}
        heading = footnotes.heading(cell)
        names = {row: footnotes.marked(row.label(), row) for row in cell.rows}
        curves = [
            _curve(names[row], row, known[row], metric, cell) for metric in chosen["metrics"] for row in cell.rows
        ]
        groups.append(CurveGroup(heading, tuple(curves)))
    shown = [place for place in curve_places(groups) if place in _SHOWN]
    notes = [
        f"The mean over up to {_WINDOWS} windows of successive draws, the last followed by the first, so that every "
        "draw counts alike. ±: half-width of the 95 % Student-t interval over seeds, the questions taken as given. "
        + CUT_NOTE,
        *partial_notes(runs),
    ]
    return Table(
        tidy_frame(curve_rows(groups, "draws"), draws="float64"),
        ("Metric", "Method", *(f"{place:g} draw{'s' if place > 1 else ''}" for place in shown)),
        curve_sections(groups, shown),
        "Answers: metrics against the number of draws",
        tuple(notes),
        footnotes.texts,
    )


def windows_of_draws(draws: int, size: int) -> list[list[int]]:
    """Return up to 16 windows of ``size`` successive draws of ``draws``, evenly started, the last before the first.

    Every draw is in equally many of them while there are no more than 16 draws; all draws make one window.
    """
    starts = [0] if size == draws else [start * draws // min(draws, _WINDOWS) for start in range(min(draws, _WINDOWS))]
    return [[(start + step) % draws for step in range(size)] for start in starts]


def _curve(
    label: str, row: MethodRuns, predictions: AnswerPredictions | None, metric: str, cell: AnswerCell
) -> AnswerCurve:
    columns = {**cell.columns, **row.columns(), "state": row.state}
    if predictions is None:
        return AnswerCurve(label, metric, {**columns, "seeds": 0})
    draws = min(logits.shape[0] for logits in predictions.logits.values())
    sizes = sorted({*(place for place in _PLACES if place < draws), draws})
    columns |= {"seeds": len(predictions.seeds), "examples": len(predictions.examples)}
    points = {float(size): _averaged(predictions, metric, windows_of_draws(draws, size)) for size in sizes}
    return AnswerCurve(label, metric, columns, points)


def _averaged(predictions: AnswerPredictions, metric: str, windows: Sequence[Sequence[int]]) -> Interval:
    once = np.ones((1, len(predictions.examples)))
    values = [
        [float(ANSWER_STATISTICS[metric](predictions.scores(seed, draws=window))(once)[0]) for window in windows]
        for seed in predictions.seeds
    ]
    return within_range(metric, interval_over_seeds(np.array(values).mean(axis=1)))
