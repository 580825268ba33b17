"""The table of what methods cost and what they give for it, and which of them no other method beats at both."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayesgrid.reporting.answer_estimates import CellEstimates, Entry, cell_estimates
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_names import HIGHER_IS_BETTER, answer_metric_label
from bayesgrid.reporting.answer_rows import (
    INTERVAL_NOTE,
    REPLICATES,
    answer_options,
    cells_of_column,
    entry_rows,
    extent,
    tidy_frame,
)
from bayesgrid.reporting.answer_runs import answer_cells
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.table import Cell, Section, Table

__all__ = ["COST_METRICS", "answer_cost_table"]

COST_METRICS = (
    "seconds_per_example",
    "peak_memory_mb",
    "trained_parameters",
    "posterior_bytes",
    "labels_used",
    "seconds_per_example_p50",
    "seconds_per_example_p95",
    "tokens_per_second",
    "prediction_memory_mb",
)
_CHEAPER_WHEN_LOWER = tuple(metric for metric in COST_METRICS if metric != "tokens_per_second")
_COUNTS = frozenset(
    {
        "peak_memory_mb",
        "trained_parameters",
        "posterior_bytes",
        "labels_used",
        "tokens_per_second",
        "prediction_memory_mb",
    }
)
_INCLUDED_NOTE = (
    "Seconds per question are for all draws together: the mean of the whole pass over the test questions, after the "
    "held-out labels were answered in the same way; median and 95 % are over questions, each with its share of its "
    "batch's time, without the first batch. Tokens per second count a prompt once, whatever the number of draws. Peak "
    "memory is the high-water mark of the whole process, base model and states below the adapters included; memory of "
    "answering is the peak of reading the posterior, drawing and answering above the level before, of the GPU where "
    "there is one."
)


def answer_cost_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return accuracy, likelihood and calibration beside time, memory, size and labels of every method.

    A method is marked if no other is at least as good in ``objective`` and at least as cheap in ``cost``, and better in
    one of them.

    Options: ``metrics`` (default accuracy, nll, ece), ``objective`` (default ``nll``, one of the metrics), ``cost``
    (default ``seconds_per_example``), ``replicates``.

    Raises:
        ConfigurationError: for an unknown option or metric, or runs that are no evaluations.
        StateError: if a result file is missing or damaged, or methods answered different questions.
    """
    defaults = {
        "metrics": ("accuracy", "nll", "ece"),
        "objective": "nll",
        "cost": "seconds_per_example",
        "replicates": REPLICATES,
    }
    chosen = answer_options(options, defaults)
    objective = answer_options({"metrics": [chosen["objective"]]}, {"metrics": ()})["metrics"][0]
    cost = answer_options({"metrics": [chosen["cost"]]}, {"metrics": ()}, metrics=_CHEAPER_WHEN_LOWER)["metrics"][0]
    metrics = tuple(dict.fromkeys((*chosen["metrics"], objective)))
    rows: list[dict[str, Any]] = []
    sections = []
    footnotes = AnswerFootnotes()
    for cell in answer_cells(runs):
        estimates = cell_estimates(cell, (*metrics, *COST_METRICS), replicates=chosen["replicates"])
        heading = footnotes.heading(cell, extent(estimates))
        efficient = _efficient(estimates, objective, cost)
        for entry in estimates.entries:
            own = entry_rows(estimates, entry, (*metrics, *COST_METRICS))
            rows += [{**row, "pareto": entry in efficient} for row in own]
        columns = [_column(estimates, metric) for metric in (*metrics, *COST_METRICS)]
        marks = [Cell("yes" if entry in efficient else "") for entry in estimates.entries]
        labels = [Cell(footnotes.entry(entry)) for entry in estimates.entries]
        sections.append(Section(heading, tuple(zip(labels, *columns, marks, strict=True))))
    notes = [
        INTERVAL_NOTE + " Counts and sizes are means over seeds.",
        f"Efficient: no other method is at least as good in {answer_metric_label(objective)} and at least as cheap in "
        f"{answer_metric_label(cost).lower()}, and better in one, by the means.",
        _INCLUDED_NOTE,
        "Times depend on the machine; compare them within a section that was computed on one.",
        *partial_notes(runs),
    ]
    names = tuple(answer_metric_label(metric) for metric in (*metrics, *COST_METRICS))
    return Table(
        tidy_frame(rows, pareto="boolean"),
        ("Method", *names, "Efficient"),
        tuple(sections),
        "Answers: what methods cost",
        tuple(notes),
        footnotes.texts,
    )


def _column(estimates: CellEstimates, metric: str) -> list[Cell]:
    known = [estimates.estimate(e, metric) if estimates.known(e, metric) else None for e in estimates.entries]
    if metric not in _COUNTS:
        return cells_of_column(known)
    return [Cell("—" if one is None or np.isnan(one.estimate) else f"{one.estimate:,.0f}") for one in known]


def _efficient(estimates: CellEstimates, objective: str, cost: str) -> frozenset[Entry]:
    sign = -1 if objective in HIGHER_IS_BETTER else 1
    points = {
        entry: np.array(
            [sign * estimates.estimate(entry, objective).estimate, estimates.estimate(entry, cost).estimate]
        )
        for entry in estimates.entries
        if estimates.known(entry, objective) and estimates.known(entry, cost)
    }
    points = {entry: point for entry, point in points.items() if np.isfinite(point).all()}
    return frozenset(
        entry
        for entry, point in points.items()
        if not any((other <= point).all() and (other < point).any() for other in points.values())
    )
