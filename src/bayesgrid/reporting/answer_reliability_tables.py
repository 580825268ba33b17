"""The tables behind reliability diagrams and risk-coverage curves: what a stated confidence is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayesgrid.metrics.answer_scores import CALIBRATION_BINS, AnswerScores
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.calibration_error import width_bins
from bayesgrid.metrics.crossed_bootstrap import crossed_estimate, resampled_statistics
from bayesgrid.metrics.example_statistics import risk_coverage_statistic, selective_risk_statistic
from bayesgrid.metrics.win_probability import wilson_interval
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL
from bayesgrid.reporting.answer_estimates import Entry
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_intervals import within_range
from bayesgrid.reporting.answer_predictions import read_answer_metrics, read_answer_predictions
from bayesgrid.reporting.answer_rows import INTERVAL_NOTE, TEMPERATURE_NOTE, answer_options, cells_of_column, tidy_frame
from bayesgrid.reporting.answer_runs import AnswerCell, answer_cells
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.table import Cell, Section, Table, number

__all__ = ["answer_reliability_table", "answer_risk_coverage_table"]

COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""Shares of questions that are answered, at which risks are tabulated."""
_SHOWN_COVERAGES = (0.5, 0.8, 0.9, 1.0)
_CURVE_REPLICATES = 500


def answer_reliability_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return confidence and accuracy in bins of confidence for every method, with Wilson's intervals.

    Options: ``temperature`` (default true) and ``bins`` (default 15, of equal width).

    Raises:
        ConfigurationError: for an unknown option, or runs that are no evaluations.
        StateError: if a result file is missing or damaged.
        DataError: for fewer than 1 bin.
    """
    chosen = answer_options(options, {"temperature": True, "bins": CALIBRATION_BINS})
    bins = int(chosen["bins"])
    rows: list[dict[str, Any]] = []
    sections = []
    footnotes = AnswerFootnotes()
    for cell in answer_cells(runs):
        heading = footnotes.heading(cell)
        shown = []
        for entry, scores, groups in _scored_entries(cell, temperature=bool(chosen["temperature"])):
            shared = {**cell.columns, **entry.columns, "state": entry.row.state, "seeds": len(scores)}
            if not scores:
                rows.append(shared)
                shown.append((Cell(footnotes.entry(entry)), *[Cell("—")] * 4))
                continue
            own = [{**shared, **row} for row in _bins(scores, groups, bins)]
            rows += own
            intervals = [Interval(row["estimate"], row["lower"], row["upper"]) for row in own]
            for place, (row, interval) in enumerate(zip(own, intervals, strict=True)):
                ends = f"{number(row['bin'] / bins, 2)} to {number(min(1, (row['bin'] + 1) / bins), 2)}"
                accuracy = f"{number(interval.lower, 2)} to {number(interval.upper, 2)}"
                shown.append(
                    (
                        Cell(footnotes.entry(entry) if place == 0 else ""),
                        Cell(ends),
                        Cell(f"{row['predictions']:,}"),
                        Cell(number(row["confidence"], 3)),
                        Cell(f"{number(interval.estimate, 3)} ({accuracy})"),
                    )
                )
        sections.append(Section(heading, tuple(shown)))
    notes = [
        "Predictions of all seeds in bins of confidence of equal width; empty bins are left out. Accuracy with "
        "Wilson's 95 % interval for as many questions, or groups of questions, as there are in the bin a seed: seeds "
        "answer the same questions and are no further evidence.",
        *([TEMPERATURE_NOTE] if chosen["temperature"] else []),
        *partial_notes(runs),
    ]
    columns = ("Method", "Bin", "Predictions", "Confidence", "Accuracy")
    frame = tidy_frame(rows, bin="Int64", bins="Int64", confidence="float64", predictions="Int64")
    caption = "Answers: accuracy by stated confidence"
    return Table(frame, columns, tuple(sections), caption, tuple(notes), footnotes.texts)


def answer_risk_coverage_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the share of wrong answers among the most confident ones at every coverage, and AURC, for every method.

    Temperature scaling hardly reorders confidences, so scaled logits are left out. Option: ``replicates``.

    Raises:
        ConfigurationError: for an unknown option, or runs that are no evaluations.
        StateError: if a result file is missing or damaged.
    """
    chosen = answer_options(options, {"replicates": _CURVE_REPLICATES})
    rows: list[dict[str, Any]] = []
    sections = []
    footnotes = AnswerFootnotes()
    for cell in answer_cells(runs):
        heading = footnotes.heading(cell)
        curves: dict[Entry, dict[float, Interval]] = {}
        for entry, scores, groups in _scored_entries(cell, temperature=False):
            shared = {**cell.columns, **entry.columns, "state": entry.row.state, "seeds": len(scores)}
            curves[entry] = _risks(scores, groups, chosen["replicates"]) if scores else {}
            if not scores:
                rows.append(shared)
            shared["examples"] = scores[0].confidence.size if scores else None
            for coverage, interval in curves[entry].items():
                place = {"metric": "aurc", "quantity": "area"}
                if coverage:
                    place = {"metric": "risk", "quantity": "value"}
                rows.append({**shared, **place, "coverage": coverage or None, **vars(interval)})
        columns = [
            cells_of_column([curve.get(coverage) for curve in curves.values()]) for coverage in (0.0, *_SHOWN_COVERAGES)
        ]
        labels = [footnotes.entry(entry) for entry in curves]
        shown = tuple((Cell(label), *cells) for label, *cells in zip(labels, *columns, strict=True))
        sections.append(Section(heading, shown))
    notes = [
        "Risk: share of wrong answers when only the given share of questions, those of highest confidence, is "
        "answered. AURC: its mean over all coverages. Lower is better.",
        INTERVAL_NOTE,
        *partial_notes(runs),
    ]
    names = tuple(f"Risk at {100 * coverage:.0f} %" for coverage in _SHOWN_COVERAGES)
    frame = tidy_frame(rows, coverage="float64")
    heads = ("Method", "AURC", *names)
    return Table(frame, heads, tuple(sections), "Answers: risk and coverage", tuple(notes), footnotes.texts)


def _scored_entries(cell: AnswerCell, *, temperature: bool) -> list[tuple[Entry, list[AnswerScores], tuple[str, ...]]]:
    """Return every entry of ``cell`` with the scores of its seeds and the groups of the questions.

    A method that is not finished has none.
    """
    found: list[tuple[Entry, list[AnswerScores], tuple[str, ...]]] = []
    for row in cell.rows:
        if not row.finished:
            found.append((Entry(row), [], ()))
            continue
        predictions = read_answer_predictions(row.finished_trials[0])
        found.append((Entry(row), [predictions.scores(seed) for seed in predictions.seeds], predictions.groups))
        scales = read_answer_metrics(row.finished_trials[0]).get("inverse_temperature", {}) if temperature else {}
        if scales and all(seed in scales for seed in predictions.seeds):
            scaled = [predictions.scores(seed, inverse_temperature=scales[seed]) for seed in predictions.seeds]
            found.append((Entry(row, temperature=True), scaled, predictions.groups))
    return found


def _bins(scores: Sequence[AnswerScores], groups: Sequence[str], bins: int) -> list[dict[str, Any]]:
    # A question without a group is one of its own.
    names = [own or f"\0{place}" for place, own in enumerate(groups)]
    units = np.tile(np.unique(names, return_inverse=True)[1], len(scores))
    seeds = np.repeat(np.arange(len(scores)), len(groups))
    confidence = np.concatenate([own.confidence for own in scores])
    correct = np.concatenate([own.correct for own in scores])
    # A confidence of exactly 1 is shown with those just below it.
    index = np.minimum(width_bins(confidence, bins), bins - 1)
    rows = []
    for place in np.unique(index):
        inside = index == place
        trials = max(1, round(len({*zip(seeds[inside], units[inside], strict=True)}) / len(scores)))
        accuracy = float(correct[inside].mean())
        interval = wilson_interval(accuracy * trials, trials, level=LEVEL)
        rows.append(
            {
                "metric": "accuracy",
                "quantity": "bin",
                "bin": int(place),
                "bins": bins,
                "confidence": float(confidence[inside].mean()),
                "predictions": int(inside.sum()),
                "examples": confidence.size // len(scores),
                **vars(interval),
            }
        )
    return rows


def _risks(scores: Sequence[AnswerScores], groups: Sequence[str], replicates: int) -> dict[float, Interval]:
    """Return the risk at every coverage, and AURC at the coverage 0."""
    statistics = {
        coverage: [selective_risk_statistic(own.confidence, 1 - own.correct, coverage=coverage) for own in scores]
        for coverage in COVERAGES
    }
    statistics[0.0] = [risk_coverage_statistic(own.confidence, 1 - own.correct) for own in scores]
    resampled = resampled_statistics(
        statistics,
        [scores[0].confidence.size],
        generator=random_stream(0, "table_questions"),
        replicates=replicates,
        groups=groups,
    )
    return {
        coverage: within_range(
            "risk" if coverage else "aurc",
            crossed_estimate(own, generator=random_stream(0, "table_seeds"), level=LEVEL).interval,
        )
        for coverage, own in resampled.items()
    }
