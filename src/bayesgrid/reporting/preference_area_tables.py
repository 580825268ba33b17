"""The table of areas under learning curves of preference models, and their differences to random pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.multiple_comparisons import holm_adjusted, paired_p_value
from bayesgrid.reporting.agent_curves import AgentCurves, interval_over_seeds
from bayesgrid.reporting.answer_intervals import within_range
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.preference_curve_tables import DEFAULT_METRICS, direction_note, rule_options
from bayesgrid.reporting.preference_names import HIGHER_IS_BETTER, metric_name, model_name, rule_name
from bayesgrid.reporting.preference_rows import (
    SEEDS_NOTE,
    SIGNIFICANCE,
    SourceNotes,
    best_of,
    hole,
    interval_cells,
    paired_values,
    reference_note,
    tidy_frame,
)
from bayesgrid.reporting.preference_runs import PreferenceCell, RuleRuns, preference_cells
from bayesgrid.reporting.table import Cell, Section, Table

__all__ = ["preference_areas_table"]


@dataclass(frozen=True)
class _Difference:
    """A paired difference of one row to a reference."""

    interval: Interval
    values: FloatArray
    """``[S]``, one a seed."""
    p_value: float
    """NaN for a single seed, or values that are not finite."""


@dataclass(frozen=True)
class _Section:
    """What is known of one cell."""

    cell: PreferenceCell
    curves: Mapping[RuleRuns, AgentCurves | None]
    areas: dict[tuple[RuleRuns, str], Interval] = field(default_factory=dict)
    finals: dict[tuple[RuleRuns, str], Interval] = field(default_factory=dict)
    differences: dict[tuple[RuleRuns, str, str], _Difference] = field(default_factory=dict)
    """By row, metric and quantity."""
    holm: dict[tuple[RuleRuns, str, str], float] = field(default_factory=dict)


def preference_areas_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return areas under the curves, final values, and paired differences of areas to the reference rule.

    Wins, ties and losses count the seeds on which a rule's area is better, equal or worse. The last column compares
    with the reference rule of another model on the same data: choosing pairs well for a poor model is no gain.

    Options: ``metrics`` (accuracy, nll, ece), ``reference_rule`` (``random``), ``baseline_model`` (``bradley_terry``;
    empty for none).

    Raises:
        ConfigurationError: for an unknown option or metric, or runs that are not about preferences.
        StateError: if a result file is missing or damaged, or seeds have different rounds.
    """
    checked = rule_options(options, {"metrics": DEFAULT_METRICS, "baseline_model": "bradley_terry"})
    metrics, reference, baseline = checked["metrics"], checked["reference_rule"], str(checked["baseline_model"])
    cells = preference_cells(runs)
    known = {cell: {row: row.curves(metrics) for row in cell.rows} for cell in cells}
    sections = [_section(cell, known, metrics, reference, baseline) for cell in cells]
    rows = [record for section in sections for record in _records(section, metrics, reference, baseline)]
    first = metrics[0]
    compared = any(quantity == "baseline_difference" for own in sections for *_, quantity in own.differences)
    notes = SourceNotes()
    shown = []
    for section in sections:
        curves = [own for own in section.curves.values() if own is not None]
        heading = notes.heading(section.cell, section.cell.model_label, section.cell.extent(curves))
        shown.append(Section(heading, _shown(section, metrics, reference, compared=compared)))
    name, other = rule_name(reference), f"{rule_name(reference)}, {model_name(baseline)}"
    columns = (
        "Rule",
        *(f"{what} {metric_name(metric)}" for metric in metrics for what in ("Area", "Δ")),
        "Wins, ties, losses",
        *(f"Final {metric_name(metric)}" for metric in metrics),
        *([f"Δ {metric_name(first)} to {other}"] if compared else []),
    )
    return Table(
        tidy_frame(rows, p_holm="float64", wins="Int64", ties="Int64", losses="Int64"),
        columns,
        tuple(shown),
        "Preferences: areas under the learning curves",
        (
            "Area: trapezoid area under the curve over the number of labels, divided by the labels bought. Final: "
            f"after the last purchase. {direction_note(metrics)}",
            SEEDS_NOTE,
            f"Δ: area minus that of {name} with the same model, paired by seed; † Holm-adjusted p < {SIGNIFICANCE} "
            "over the rules of a section. Rules share seeds, so differences are surer than areas.",
            f"Wins, ties, losses: seeds on which the area of {metric_name(first)} is better than, equal to and worse "
            f"than that of {name}.",
            *(
                [f"The last column: area minus that of {other}, on the same data; † over the rules of a section."]
                if compared
                else []
            ),
            *reference_note(cells, reference),
            *partial_notes(runs),
        ),
        notes.texts,
    )


def _section(
    cell: PreferenceCell,
    known: Mapping[PreferenceCell, Mapping[RuleRuns, AgentCurves | None]],
    metrics: Sequence[str],
    reference: str,
    baseline: str,
) -> _Section:
    section = _Section(cell, known[cell])
    own_reference = cell.reference(reference)
    base = None if own_reference is None else section.curves[own_reference]
    other = _baseline(cell, known, reference, baseline)
    for row, own in section.curves.items():
        if own is None:
            continue
        for metric in metrics:
            area, final = (interval_over_seeds(own.known_quantity(what, metric)) for what in ("area", "final"))
            section.areas[row, metric], section.finals[row, metric] = (
                within_range(metric, area),
                within_range(metric, final),
            )
        sides = {} if row is own_reference else {"area_difference": ("area", base), "final_difference": ("final", base)}
        sides |= {} if other is None or own is other else {"baseline_difference": ("area", other)}
        for quantity, (what, side) in sides.items():
            pair = paired_values(own, side)
            for metric in metrics if pair else ():
                gaps = np.subtract(*(curves.known_quantity(what, metric) for curves in pair or ()))
                section.differences[row, metric, quantity] = _difference(gaps)
    for metric in metrics:
        for quantity in ("area_difference", "baseline_difference"):
            family = {
                key: own.p_value
                for key, own in section.differences.items()
                if key[1:] == (metric, quantity) and np.isfinite(own.p_value)
            }
            if family:
                section.holm.update(zip(family, map(float, holm_adjusted(list(family.values()))), strict=True))
    return section


def _difference(gaps: FloatArray) -> _Difference:
    testable = gaps.size > 1 and bool(np.isfinite(gaps).all())
    return _Difference(interval_over_seeds(gaps), gaps, paired_p_value(gaps) if testable else float("nan"))


def _baseline(
    cell: PreferenceCell,
    known: Mapping[PreferenceCell, Mapping[RuleRuns, AgentCurves | None]],
    reference: str,
    baseline: str,
) -> AgentCurves | None:
    """Return the curves of the baseline model with the reference rule on the data of ``cell``."""
    for other, curves in known.items():
        row = other.reference(reference)
        if other.model == baseline and other.data == cell.data and row is not None:
            return curves[row]
    return None


def _records(section: _Section, metrics: Sequence[str], reference: str, baseline: str) -> list[dict[str, Any]]:
    cell = section.cell
    names = {quantity: rule_name(reference) for quantity in ("area_difference", "final_difference")}
    names["baseline_difference"] = f"{rule_name(reference)}, {model_name(baseline)}"
    records = []
    for row, own in section.curves.items():
        if own is None:
            records.append(hole(cell, row))
            continue
        shared = {**cell.columns, **row.columns, "seeds": len(own.seeds)}
        for metric in metrics:
            for quantity, intervals in (("area", section.areas), ("final", section.finals)):
                records.append({**shared, "metric": metric, "quantity": quantity, **vars(intervals[row, metric])})
            for quantity, name in names.items():
                key = (row, metric, quantity)
                if key not in section.differences:
                    continue
                difference = section.differences[key]
                records.append(
                    {
                        **shared,
                        "metric": metric,
                        "quantity": quantity,
                        "reference": name,
                        **vars(difference.interval),
                        "p_holm": section.holm.get(key, float("nan")),
                        **dict(zip(("wins", "ties", "losses"), _counts(metric, difference.values), strict=True)),
                        "seeds": difference.values.size,
                    }
                )
    return records


def _counts(metric: str, gaps: FloatArray) -> tuple[int, int, int]:
    """Return the seeds that are better, equal and worse; a value that is not known counts nowhere."""
    signed = gaps if metric in HIGHER_IS_BETTER else -gaps
    return int((signed > 0).sum()), int((signed == 0).sum()), int((signed < 0).sum())


def _shown(
    section: _Section, metrics: Sequence[str], reference: str, *, compared: bool
) -> tuple[tuple[Cell, ...], ...]:
    rows = list(section.curves)
    own_reference = section.cell.reference(reference)

    def column(intervals: Mapping[tuple[RuleRuns, str], Interval], metric: str) -> list[Cell]:
        own = [intervals.get((row, metric)) for row in rows]
        return interval_cells(own, best=best_of(metric, [np.nan if i is None else i.estimate for i in own]))

    def differences(metric: str, quantity: str) -> list[Cell]:
        keys = [(row, metric, quantity) for row in rows]
        own = [section.differences[key].interval if key in section.differences else None for key in keys]
        cells = interval_cells(own, marks=[section.holm.get(key, 1.0) < SIGNIFICANCE for key in keys])
        if quantity == "baseline_difference" or len(rows) == 1:
            return cells
        done = own_reference is not None and section.curves[own_reference] is not None
        return [Cell("0") if row is own_reference and done else cell for row, cell in zip(rows, cells, strict=True)]

    columns: list[list[Cell]] = []
    for metric in metrics:
        columns += [column(section.areas, metric), differences(metric, "area_difference")]
    counts = [section.differences.get((row, metrics[0], "area_difference")) for row in rows]
    columns.append(
        [Cell("" if own is None else ", ".join(map(str, _counts(metrics[0], own.values)))) for own in counts]
    )
    columns += [column(section.finals, metric) for metric in metrics]
    if compared:
        columns.append(differences(metrics[0], "baseline_difference"))
    return tuple((Cell(row.label), *cells) for row, cells in zip(rows, zip(*columns, strict=True), strict=True))
