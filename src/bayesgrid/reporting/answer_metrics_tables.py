"""The tables of methods side by side: every metric with its interval, and paired differences to a reference.

Differences are paired on the same seeds and questions. Holm's correction is over the methods of one table section,
within one metric and one reference; bold is the set of the best by the same tests, not the best mean alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS
from bayesgrid.reporting.answer_estimates import (
    BIASED_UPWARDS,
    SIGNIFICANT,
    CellEstimates,
    Entry,
    cell_estimates,
    reference_entry,
)
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_names import answer_metric_label, method_label
from bayesgrid.reporting.answer_rows import (
    INTERVAL_NOTE,
    REPLICATES,
    TEMPERATURE_NOTE,
    answer_options,
    cells_of_column,
    entry_rows,
    extent,
    tidy_frame,
)
from bayesgrid.reporting.answer_runs import answer_cells
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.table import Cell, Section, Table, number

__all__ = ["PUBLISHED_METRICS", "answer_differences_table", "answer_metrics_table"]

PUBLISHED_METRICS = (
    "coverage_90",
    "set_size_90",
    "inverse_temperature",
    "majority_accuracy",
    "seconds_per_example",
    "seconds_per_example_p50",
    "seconds_per_example_p95",
    "tokens_per_second",
    "peak_memory_mb",
    "prediction_memory_mb",
    "trained_parameters",
    "posterior_bytes",
    "labels_used",
)
"""Metrics of runs that cannot be recomputed from the predictions of the test split."""

_METRICS = ("accuracy", "nll", "ece", "ece_debiased", "brier")
_DIFFERENCE_METRICS = ("accuracy", "nll", "ece_debiased", "brier")
_DEBIASED_NOTE = (
    "Debiased ECE: ECE of 15 bins less its mean for a calibrated model with the same confidences; below 0 is chance."
)
_TEMPERATURE = "inverse_temperature"
_BIASED_NOTE = (
    "Plain ECE is biased upwards, by more for less confident predictions; its intervals are around the biased value. "
    "None of its values is bold."
)


def answer_metrics_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the metrics of every method, with and without temperature, one section a model and data set.

    Options: ``metrics``, ``temperature`` (default true), ``reference`` (default ``mle``; its row comes first),
    ``replicates``.

    Raises:
        ConfigurationError: for an unknown option or metric, or runs that are no evaluations.
        StateError: if a result file is missing or damaged, or methods answered different questions.
    """
    defaults = {"reference": "mle", "metrics": _METRICS, "temperature": True, "replicates": REPLICATES}
    chosen = answer_options(options, defaults, metrics=(*ANSWER_STATISTICS, *PUBLISHED_METRICS))
    metrics = chosen["metrics"]
    rows: list[dict[str, Any]] = []
    sections = []
    footnotes = AnswerFootnotes()
    for cell in answer_cells(runs):
        estimates = cell_estimates(
            cell, metrics, temperature=bool(chosen["temperature"]), replicates=chosen["replicates"]
        )
        heading = footnotes.heading(cell, extent(estimates))
        entries = sorted(estimates.entries, key=lambda entry: entry.row.method != chosen["reference"])
        best = {metric: estimates.best(metric) for metric in metrics}
        for entry in entries:
            for row in entry_rows(estimates, entry, metrics):
                rows.append({**row, "best": entry in best.get(row.get("metric", ""), ())})
        columns = [
            cells_of_column(
                [estimates.estimate(entry, metric) if estimates.known(entry, metric) else None for entry in entries],
                best=[entry in best[metric] for entry in entries],
            )
            for metric in metrics
        ]
        # A temperature that is shown is marked on its own row, too.
        names = [footnotes.entry(one, temperature=one.temperature or _TEMPERATURE in metrics) for one in entries]
        shown = tuple((Cell(name), *cells) for name, *cells in zip(names, *columns, strict=True))
        sections.append(Section(heading, shown))
    notes = [
        INTERVAL_NOTE,
        "Bold: not significantly worse than the best mean (paired on seeds and questions, Holm over the methods, 5 %).",
        *([TEMPERATURE_NOTE] if chosen["temperature"] else []),
        *([_DEBIASED_NOTE] if "ece_debiased" in metrics else []),
        *([_BIASED_NOTE] if BIASED_UPWARDS & {*metrics} else []),
        *partial_notes(runs),
    ]
    return Table(
        tidy_frame(rows, best="boolean"),
        ("Method", *map(answer_metric_label, metrics)),
        tuple(sections),
        "Answers: accuracy, likelihood and calibration",
        tuple(notes),
        footnotes.texts,
    )


def answer_differences_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return paired differences of every method to the reference method, and to it after temperature scaling.

    Options: ``reference`` (default ``mle``), ``metrics``, ``temperature`` (default true), ``replicates``.

    Raises:
        ConfigurationError: for an unknown option or metric, or runs that are no evaluations.
        StateError: if a result file is missing or damaged, or methods answered different questions.
    """
    defaults = {"reference": "mle", "metrics": _DIFFERENCE_METRICS, "temperature": True, "replicates": REPLICATES}
    chosen = answer_options(options, defaults)
    metrics, name = chosen["metrics"], str(chosen["reference"])
    rows: list[dict[str, Any]] = []
    sections = []
    without = []
    footnotes = AnswerFootnotes()
    for cell in answer_cells(runs):
        estimates = cell_estimates(
            cell, metrics, temperature=bool(chosen["temperature"]), replicates=chosen["replicates"]
        )
        references = [reference_entry(estimates.entries, name, temperature=scaled) for scaled in (False, True)]
        if references[0] is None:
            without.append(cell.heading)
        heading = footnotes.heading(cell, extent(estimates))
        if references[0] is not None:
            # It has no row, and its health is that of every difference to it.
            marked = footnotes.entry(references[0], temperature=references[1] is not None)
            heading += f" · reference {marked}" if marked != references[0].label else ""
        shown = []
        for metric in metrics:
            own, cells = _differences(estimates, references, metric, footnotes)
            rows += own
            shown += cells
        sections.append(Section(heading, tuple(shown)))
    label = method_label(name)
    notes = [
        "Differences are method minus reference, paired on the same seeds and questions. " + INTERVAL_NOTE,
        "p: two-sided, Holm over the methods of a section within a metric. † Below 0.05.",
        *([TEMPERATURE_NOTE] if chosen["temperature"] else []),
        *([_DEBIASED_NOTE] if "ece_debiased" in metrics else []),
        *([_BIASED_NOTE] if BIASED_UPWARDS & {*metrics} else []),
        *([f"No run of {label}, so no differences: {'; '.join(without)}."] if without else []),
        *partial_notes(runs),
    ]
    columns = ("Metric", "Method", f"Δ to {label}", "p", f"Δ to {label} + temperature", "p ")
    return Table(
        tidy_frame(rows, reference="str", p_value="float64", p_holm="float64"),
        columns,
        tuple(sections),
        f"Answers: differences to {label}",
        tuple(notes),
        footnotes.texts,
    )


def _p_text(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else number(p_value, 3)


def _differences(
    estimates: CellEstimates, references: Sequence[Entry | None], metric: str, footnotes: AnswerFootnotes
) -> tuple[list[dict[str, Any]], list[tuple[Cell, ...]]]:
    found = [estimates.differences(reference, metric) if reference else {} for reference in references]
    rows: list[dict[str, Any]] = []
    for reference, own in zip(references, found, strict=True):
        for entry, (difference, p_holm) in own.items():
            row = entry_rows(estimates, entry, [metric])[0]
            more = {
                "quantity": "difference",
                "reference": reference.label if reference else "",
                "p_value": difference.p_value,
                "p_holm": p_holm,
            }
            rows.append({**row, **vars(difference.interval), **more})
    # The reference has no difference to itself, but a reader must see that it is not finished.
    entries = [one for one in estimates.entries if one not in references[:1] or one not in estimates.seeds]
    rows += [row for entry in entries if entry not in estimates.seeds for row in entry_rows(estimates, entry, [metric])]
    columns: list[list[Cell]] = []
    for own in found:
        known = [own.get(entry) for entry in entries]
        intervals = [one[0].interval if one else None for one in known]
        marks = [bool(one and one[1] < SIGNIFICANT) for one in known]
        columns.append(cells_of_column(intervals, marks=marks, differences=True))
        columns.append([Cell(_p_text(one[1]) if one else "—") for one in known])
    names = [Cell(answer_metric_label(metric) if place == 0 else "") for place in range(len(entries))]
    labels = [Cell(footnotes.entry(entry)) for entry in entries]
    return rows, list(zip(names, labels, *columns, strict=True))
