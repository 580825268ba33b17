"""The table of defects one at a time: settings of a method that differ from the correct ones, and what each changes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bayesgrid.metrics.crossed_bootstrap import CrossedEstimate
from bayesgrid.reporting.answer_estimates import SIGNIFICANT, CellEstimates, Entry, cell_estimates
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_names import answer_metric_label, method_label, setting_text
from bayesgrid.reporting.answer_rows import (
    INTERVAL_NOTE,
    REPLICATES,
    answer_options,
    cells_of_column,
    entry_rows,
    extent,
    tidy_frame,
)
from bayesgrid.reporting.answer_runs import MethodRuns, answer_cells, settings_of_run
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.names import setting_label
from bayesgrid.reporting.table import Cell, Section, Table

__all__ = ["BASELINE", "answer_ablation_table"]

BASELINE = "correct"
"""The setting that all others of a method are compared with."""


def answer_ablation_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the metrics of every setting of a method and the paired difference to its correct settings.

    The correct settings are those of mode ``correct`` from which the others differ in the fewest keys. A run of mode
    ``faithful`` is all defects at once. Holm's correction is over the settings of a method, within a metric. Methods
    with one setting are left out beside others with several.

    Options: ``metrics`` (default accuracy, nll, ece), ``replicates``.

    Raises:
        ConfigurationError: for an unknown option or metric, or runs that are no evaluations.
        StateError: if a result file is missing or damaged, or methods answered different questions.
    """
    chosen = answer_options(options, {"metrics": ("accuracy", "nll", "ece"), "replicates": REPLICATES})
    metrics = chosen["metrics"]
    rows: list[dict[str, Any]] = []
    sections = []
    footnotes = AnswerFootnotes()
    groups = [
        (cell, method, tuple(row for row in cell.rows if row.method == method))
        for cell in answer_cells(runs)
        for method in dict.fromkeys(row.method for row in cell.rows)
    ]
    # A method with its correct settings alone has nothing to compare.
    compared = [group for group in groups if len(group[2]) > 1] or groups
    for cell, method, members in compared:
        own = replace(cell, rows=members)
        estimates = cell_estimates(own, metrics, replicates=chosen["replicates"])
        baseline = _centre([row for row in members if _mode(row) == BASELINE] or members)
        heading = footnotes.heading(cell, method_label(method), extent(estimates))
        settings = {row: _setting(row, baseline, members) for row in members}
        entries = sorted(estimates.entries, key=lambda entry: entry.row is not baseline)
        reference = next(entry for entry in entries if entry.row is baseline)
        differences = {metric: estimates.differences(reference, metric) for metric in metrics}
        for entry in entries:
            rows += _rows(estimates, entry, metrics, settings[entry.row], differences)
        columns: list[list[Cell]] = []
        for metric in metrics:
            known = [estimates.estimate(e, metric) if estimates.known(e, metric) else None for e in entries]
            columns.append(cells_of_column(known))
            found = [differences[metric].get(entry) for entry in entries]
            marks = [bool(one and one[1] < SIGNIFICANT) for one in found]
            columns.append(cells_of_column([one[0].interval if one else None for one in found], marks=marks))
        labels = [Cell(footnotes.marked(_with_state(settings[one.row], one), one.row)) for one in entries]
        sections.append(Section(heading, tuple(zip(labels, *columns, strict=True))))
    notes = [
        "Δ: setting minus correct settings, paired on the same seeds and questions. † p below 0.05, two-sided, Holm "
        "over the settings of a method within a metric.",
        INTERVAL_NOTE,
        *partial_notes(runs),
    ]
    names = [name for metric in metrics for name in (answer_metric_label(metric), f"Δ {answer_metric_label(metric)}")]
    return Table(
        tidy_frame(rows, setting="str", p_value="float64", p_holm="float64"),
        ("Setting", *names),
        tuple(sections),
        "Answers: what each defect changes",
        tuple(notes),
        footnotes.texts,
    )


def _centre(members: Sequence[MethodRuns]) -> MethodRuns:
    """Return the row from which the others differ in the fewest keys; of equal ones the first."""
    return min(members, key=lambda row: sum(len(_differing(row, other)) for other in members))


def _mode(row: MethodRuns) -> str:
    return str(_settings(row).get("mode", BASELINE))


def _settings(row: MethodRuns) -> dict[str, Any]:
    return settings_of_run(row.runs[0])


def _differing(row: MethodRuns, other: MethodRuns) -> list[str]:
    first, second = _settings(row), _settings(other)
    return [key for key in {**first, **second} if first.get(key) != second.get(key)]


def _setting(row: MethodRuns, baseline: MethodRuns, members: Sequence[MethodRuns]) -> str:
    if row is baseline:
        return BASELINE
    if _mode(row) == _mode(baseline):
        return _departures(row, baseline)
    # A mode brings its own values along; what is named is how a run departs from them.
    own = _centre([other for other in members if _mode(other) == _mode(row)])
    recipe = setting_label(_mode(row))
    return recipe if row is own else f"{recipe}, but {_departures(row, own)}"


def _departures(row: MethodRuns, other: MethodRuns) -> str:
    own = _settings(row)
    return ", ".join(setting_text(key.rpartition(".")[2], own.get(key)) for key in _differing(row, other))


def _with_state(setting: str, entry: Entry) -> str:
    return setting if entry.row.state == "done" else f"{setting} ({entry.row.state})"


def _rows(
    estimates: CellEstimates,
    entry: Entry,
    metrics: Sequence[str],
    setting: str,
    differences: Mapping[str, Mapping[Entry, tuple[CrossedEstimate, float]]],
) -> list[dict[str, Any]]:
    rows = [{**row, "setting": setting} for row in entry_rows(estimates, entry, metrics)]
    for row in tuple(rows):
        known = differences.get(row.get("metric", ""), {}).get(entry)
        if known is not None:
            difference, p_holm = known
            p_values = {"p_value": difference.p_value, "p_holm": p_holm}
            rows.append({**row, "quantity": "difference", **vars(difference.interval), **p_values})
    return rows
