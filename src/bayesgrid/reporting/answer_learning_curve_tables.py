"""The table of active learning: the metrics of methods after every round of buying labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bayesgrid.reporting.agent_curves import AgentCurves, agent_curves, interval_over_seeds
from bayesgrid.reporting.answer_curves import AnswerCurve, CurveGroup, curve_rows
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_intervals import CUT_NOTE, within_range
from bayesgrid.reporting.answer_names import answer_metric_label
from bayesgrid.reporting.answer_rows import answer_options, cells_of_column, tidy_frame
from bayesgrid.reporting.answer_runs import AnswerCell, MethodRuns, answer_cells
from bayesgrid.reporting.collect import RunRecord, collect_rounds
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.names import seeds_text
from bayesgrid.reporting.table import Cell, Section, Table

__all__ = ["answer_learning_curves_table"]

_METRICS = ("accuracy", "nll", "ece")


def answer_learning_curves_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return metrics against the number of labels for every method and way of choosing labels, and their areas.

    Option: ``metrics`` (default accuracy, nll, ece).

    Raises:
        ConfigurationError: for an unknown option or metric, or runs without model, data set and method.
        StateError: if a result file is missing or damaged, or seeds have different rounds.
    """
    metrics = answer_options(options, {"metrics": _METRICS}, metrics=_METRICS)["metrics"]
    rows: list[dict[str, Any]] = []
    sections = []
    footnotes = AnswerFootnotes()
    for cell in answer_cells(runs):
        known = {row: _rounds(row, metrics) for row in cell.rows}
        heading = footnotes.heading(cell, *_extent(known))
        shown: list[tuple[Cell, ...]] = []
        for metric in metrics:
            curves = [_curve(cell, row, known[row], metric) for row in cell.rows]
            rows += curve_rows([CurveGroup(heading, tuple(curves))], "labelled")
            areas = [
                None if own is None else within_range(metric, interval_over_seeds(own.known_quantity("area", metric)))
                for own in known.values()
            ]
            rows += [
                {**curve.columns, "metric": metric, "quantity": "area", **vars(area)}
                for curve, area in zip(curves, areas, strict=True)
                if area is not None
            ]
            ends = [
                [list(curve.points.values())[place] if curve.points else None for curve in curves] for place in (0, -1)
            ]
            columns = [cells_of_column(own) for own in (areas, *ends)]
            for place, (curve, *cells) in enumerate(zip(curves, *columns, strict=True)):
                name = Cell(answer_metric_label(metric) if place == 0 else "")
                shown.append((name, Cell(curve.label), *cells))
        sections.append(Section(heading, tuple(shown)))
    notes = [
        "Area: trapezoid area under the curve over the number of labels, divided by the labels bought. ±: half-width "
        "of the 95 % Student-t interval of the mean over seeds. " + CUT_NOTE,
        *partial_notes(runs),
    ]
    return Table(
        tidy_frame(rows, labelled="float64"),
        ("Metric", "Method", "Area", "First", "Last"),
        tuple(sections),
        "Answers: active learning",
        tuple(notes),
        footnotes.texts,
    )


def _rounds(row: MethodRuns, metrics: Sequence[str]) -> AgentCurves | None:
    if not row.finished:
        return None
    rounds: pd.DataFrame = collect_rounds(row.finished)
    return agent_curves(rounds, metrics, where=row.label(), finite=False)


def _curve(cell: AnswerCell, row: MethodRuns, curves: AgentCurves | None, metric: str) -> AnswerCurve:
    columns = {**cell.columns, **row.columns(), "state": row.state}
    if curves is None:
        return AnswerCurve(row.label(), metric, {**columns, "seeds": 0})
    points = {
        float(labelled): within_range(metric, interval_over_seeds(curves.by_metric[metric][:, place]))
        for place, labelled in enumerate(curves.labelled)
    }
    return AnswerCurve(row.label(), metric, {**columns, "seeds": len(curves.seeds)}, points)


def _extent(known: Mapping[MethodRuns, AgentCurves | None]) -> tuple[str, ...]:
    own = [curves for curves in known.values() if curves is not None]
    if not own:
        return ()
    first, last = min(curves.labelled[0] for curves in own), max(curves.labelled[-1] for curves in own)
    return f"{first:,} to {last:,} labels", seeds_text(len(curves.seeds) for curves in own)
