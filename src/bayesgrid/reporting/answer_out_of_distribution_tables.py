"""The table of questions from other data sets than the one trained on, and of how well a method notices them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayesgrid.metrics.answer_scores import AnswerScores
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.crossed_bootstrap import crossed_estimate, resampled_statistics
from bayesgrid.metrics.discrimination import area_under_precision_recall, false_positive_rate
from bayesgrid.metrics.example_statistics import roc_statistic
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL, interval_over_seeds
from bayesgrid.reporting.answer_estimates import CellEstimates, Entry, cell_estimates
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_intervals import within_range
from bayesgrid.reporting.answer_names import answer_metric_label
from bayesgrid.reporting.answer_predictions import read_answer_predictions
from bayesgrid.reporting.answer_rows import (
    INTERVAL_NOTE,
    REPLICATES,
    answer_options,
    cells_of_column,
    entry_rows,
    tidy_frame,
)
from bayesgrid.reporting.answer_runs import AnswerCell, MethodRuns, answer_cells, settings_of_run
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.table import Cell, Section, Table

__all__ = ["DETECTION_METRICS", "answer_out_of_distribution_table"]

DETECTION_METRICS = (
    "ood_auroc_entropy",
    "ood_auroc_mutual_information",
    "ood_auroc_confidence",
    "ood_aupr_entropy",
    "ood_fpr95_entropy",
)
_SHOWN_DETECTION = tuple(name for name in DETECTION_METRICS if name != "ood_aupr_entropy")

_NOT_OF_THE_FIT = frozenset({"evaluation.dataset", "evaluation.examples"})
_DETECTION_REPLICATES = 1000
"""At most; an area under a curve takes as long as ten means, and a standard error is known to 2 % by then."""


def answer_out_of_distribution_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the metrics of every method on every evaluation set, and how well it tells these from its own test set.

    Detection needs the evaluation of the same fit on its own test set among the runs. Options: ``metrics`` (default
    accuracy, nll, ece), ``replicates``.

    Raises:
        ConfigurationError: for an unknown option or metric, or runs that are no evaluations.
        StateError: if a result file is missing or damaged, or methods answered different questions.
    """
    chosen = answer_options(options, {"metrics": ("accuracy", "nll", "ece"), "replicates": REPLICATES})
    metrics = chosen["metrics"]
    cells = answer_cells(runs)
    own_tests = {_fit(row): row for cell in cells if cell.evaluation == cell.dataset for row in cell.rows}
    rows: list[dict[str, Any]] = []
    sections = []
    footnotes = AnswerFootnotes()
    for model, dataset in dict.fromkeys((cell.model, cell.dataset) for cell in cells):
        members = [cell for cell in cells if (cell.model, cell.dataset) == (model, dataset)]
        heading = footnotes.heading(replace(members[0], evaluation=dataset))
        shown: list[tuple[Cell, ...]] = []
        for cell in sorted(members, key=lambda one: one.evaluation != dataset):
            estimates = cell_estimates(cell, metrics, replicates=chosen["replicates"])
            found: dict[Entry, dict[str, Interval]] = {}
            for entry in estimates.entries:
                own = own_tests.get(_fit(entry.row))
                shifted = cell.evaluation != dataset
                found[entry] = (
                    _detection(own, entry.row, min(chosen["replicates"], _DETECTION_REPLICATES))
                    if own and shifted
                    else {}
                )
                plain = entry_rows(estimates, entry, metrics)
                rows += plain
                rows += [
                    {**plain[0], "metric": metric, "quantity": "detection", **vars(interval)}
                    for metric, interval in found[entry].items()
                ]
            shown += _shown(cell, estimates, metrics, found, footnotes)
        sections.append(Section(heading, tuple(shown)))
    notes = [
        "AUROC: chance that a question of the other set has the higher entropy, mutual information or 1 less "
        "confidence than one of the training set's own test split; 0.5 says nothing. FPR95: share of own questions "
        "above the threshold that finds 95 % of the others.",
        INTERVAL_NOTE + " FPR95: over seeds alone.",
        *partial_notes(runs),
    ]
    names = [answer_metric_label(metric) for metric in (*metrics, *_SHOWN_DETECTION)]
    return Table(
        tidy_frame(rows),
        ("Questions", "Method", *names),
        tuple(sections),
        "Answers: questions of other data sets",
        tuple(notes),
        footnotes.texts,
    )


def _fit(row: MethodRuns) -> str:
    """Return what identifies the fit behind an evaluation: its settings without the evaluation set."""
    settings = settings_of_run(row.runs[0])
    return repr(sorted((key, value) for key, value in settings.items() if key not in _NOT_OF_THE_FIT))


def _detection(own: MethodRuns, other: MethodRuns, replicates: int) -> dict[str, Interval]:
    if not own.finished or not other.finished:
        return {}
    inside, outside = (read_answer_predictions(row.finished_trials[0]) for row in (own, other))
    seeds = [seed for seed in inside.seeds if seed in outside.seeds]
    if not seeds:
        return {}
    pairs = [(inside.scores(seed), outside.scores(seed)) for seed in seeds]
    sizes = [len(inside.examples), len(outside.examples)]
    is_other = np.repeat([0.0, 1.0], sizes)
    signals = {
        name: [_signal(name, *pair) for pair in pairs] for name in ("entropy", "mutual_information", "confidence")
    }
    resampled = resampled_statistics(
        {name: [roc_statistic(signal, is_other) for signal in values] for name, values in signals.items()},
        sizes,
        generator=random_stream(0, "table_questions"),
        replicates=replicates,
        groups=[*inside.groups, *outside.groups],
    )
    found = {
        f"ood_auroc_{name}": crossed_estimate(values, generator=random_stream(0, "table_seeds"), level=LEVEL).interval
        for name, values in resampled.items()
    }
    precision = np.array([area_under_precision_recall(signal, is_other) for signal in signals["entropy"]])
    rates = np.array([false_positive_rate(signal, is_other) for signal in signals["entropy"]])
    found |= {"ood_aupr_entropy": interval_over_seeds(precision), "ood_fpr95_entropy": interval_over_seeds(rates)}
    return {metric: within_range(metric, interval) for metric, interval in found.items()}


def _signal(name: str, inside: AnswerScores, outside: AnswerScores) -> FloatArray:
    if name == "entropy":
        return np.concatenate([inside.entropy, outside.entropy])
    if name == "mutual_information":
        return np.concatenate([inside.epistemic, outside.epistemic])
    return -np.concatenate([inside.confidence, outside.confidence])


def _shown(
    cell: AnswerCell,
    estimates: CellEstimates,
    metrics: Sequence[str],
    found: Mapping[Entry, Mapping[str, Interval]],
    footnotes: AnswerFootnotes,
) -> list[tuple[Cell, ...]]:
    entries = estimates.entries
    columns = [
        cells_of_column([estimates.estimate(e, metric) if estimates.known(e, metric) else None for e in entries])
        for metric in metrics
    ]
    columns += [cells_of_column([found[entry].get(metric) for entry in entries]) for metric in _SHOWN_DETECTION]
    questions = footnotes.dataset(cell, cell.evaluation)
    names = [Cell(questions if place == 0 else "") for place in range(len(entries))]
    return list(zip(names, [Cell(footnotes.entry(entry)) for entry in entries], *columns, strict=True))
