"""The table of the training ablation: where refits start, what early stopping keeps, and what curves make of it.

A curve that rises with more labels is a fault of training and not of the labels, so besides area and final value every
cell has the largest rise of the mean curve above its best non-increasing fit. Differences are to the first cell of the
section, paired by seed: for the reference's recipe with one key corrected, the plain recipe is to be that first cell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.learning_curve import isotonic_violation_by_seed
from bayesgrid.reporting.agent_curves import AgentCurves, interval_over_seeds, paired_curves
from bayesgrid.reporting.collect import GROUP_COLUMNS, RunRecord
from bayesgrid.reporting.grouped_curves import GroupOfAgents, checked_options, grouped_curves, partial_notes
from bayesgrid.reporting.names import METRICS, agent_with_state, metric_label, setting_label
from bayesgrid.reporting.table import Cell, Section, Table, decimals_for, number_with_interval

__all__ = ["ABLATED", "training_ablation_table"]

ABLATED = ("training.warm_start", "training.early_stopping")
"""The axes of the ablation, dotted keys of the specification."""

_SHOWN = (
    ("nll", "area"),
    ("nll", "area_difference"),
    ("nll", "final"),
    ("nll", "isotonic_violation"),
    ("mae_median", "area"),
    ("mae_median", "area_difference"),
    ("mae_median", "final"),
    ("mae_median", "isotonic_violation"),
)
_NAMES = {"area": "Area", "area_difference": "Δ", "final": "Final", "isotonic_violation": "Rise"}
_COLUMNS = {
    **dict.fromkeys(GROUP_COLUMNS, "str"),
    "query_size": "Int64",
    "warm_start": "str",
    "early_stopping": "str",
    "agent": "str",
    "metric": "str",
    "quantity": "str",
    "labelled": "Int64",
    "estimate": "float64",
    "lower": "float64",
    "upper": "float64",
    "seeds": "Int64",
    "state": "str",
}


def training_ablation_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return curves, areas, final values and rises for every warm start and kind of early stopping.

    Areas and final values also as a difference to the same agent in the first cell of the section, paired by seed.

    Raises:
        ConfigurationError: for any option; the table has none.
        StateError: if a result file is missing, damaged or incomplete.
    """
    checked_options(options, {})
    by_section: dict[tuple[Any, ...], list[GroupOfAgents]] = {}
    for group in grouped_curves(runs, list(METRICS), axes=ABLATED):
        by_section.setdefault(tuple(group.cell.values()), []).append(group)
    rows: list[dict[str, Any]] = []
    sections = []
    for groups in by_section.values():
        records = [
            [*_records(group, agent), *_differences(group, agent, groups[0])]
            for group in groups
            for agent in group.states
        ]
        rows += [record for own in records for record in own]
        extent = next((group.extent for group in groups if group.extent), "")
        heading = " · ".join(part for part in (groups[0].heading, extent) if part)
        sections.append(Section(heading, _shown(records)))
    notes = (
        "Area: trapezoid area under the curve over the number of labels, divided by the labels bought. Final: after "
        "the last query. Lower is better.",
        "Δ: area minus that of the same agent in the first cell of the section, paired by seed. Below 0: better than "
        "that cell. † The interval excludes 0.",
        "Rise: the largest rise of the mean curve above its best non-increasing fit (isotonic least squares), in the "
        "unit of the metric. The place is where the mean rises most, so noise alone gives a rise above 0.",
        "±: half-width of the 95 % Student-t interval of the mean over seeds, for new seeds on the same test rows. A "
        "dash: no finite value, or no seed with the same first and last number of labels there.",
        *partial_notes(runs),
    )
    columns = ("Refits start", "Stopping", "Agent", *(f"{_NAMES[q]} {metric_label(m)}" for m, q in _SHOWN))
    data = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    return Table(data, columns, tuple(sections), "Active learning: warm start and early stopping", notes)


def _records(group: GroupOfAgents, agent: str) -> list[dict[str, Any]]:
    warm_start, early_stopping = (str(value) for value in group.settings)
    shared = {**group.cell, "warm_start": warm_start, "early_stopping": early_stopping, "agent": agent}
    shared["state"] = group.states[agent]
    curves = group.curves.get(agent)
    if curves is None:
        return [{**shared, "seeds": 0}]
    shared["seeds"] = len(curves.seeds)
    records = []
    for metric in METRICS:
        for quantity, interval in _quantities(curves, metric):
            records.append({**shared, "metric": metric, "quantity": quantity, **vars(interval)})
        for position, labelled in enumerate(curves.labelled):
            interval = interval_over_seeds(curves.by_metric[metric][:, position])
            value = {"metric": metric, "quantity": "value", "labelled": labelled}
            records.append({**shared, **value, **vars(interval)})
    return records


def _differences(group: GroupOfAgents, agent: str, first: GroupOfAgents) -> list[dict[str, Any]]:
    own, other = group.curves.get(agent), first.curves.get(agent)
    pair = None if own is None or other is None or group is first else paired_curves(own, other)
    if pair is None or any(pair[0].labelled[end] != pair[1].labelled[end] for end in (0, -1)):
        return []
    warm_start, early_stopping = (str(value) for value in group.settings)
    shared = {**group.cell, "warm_start": warm_start, "early_stopping": early_stopping, "agent": agent}
    records = []
    for metric in METRICS:
        for quantity in ("area", "final"):
            difference = np.subtract(*(curves.known_quantity(quantity, metric) for curves in pair))
            record = {"metric": metric, "quantity": f"{quantity}_difference", "seeds": difference.size}
            records.append({**shared, **record, "state": group.states[agent], **vars(interval_over_seeds(difference))})
    return records


def _quantities(curves: AgentCurves, metric: str) -> list[tuple[str, Interval]]:
    values = curves.by_metric[metric]
    rise = isotonic_violation_by_seed(values) if np.isfinite(values).all() else np.full(len(values), np.nan)
    measured = {name: curves.known_quantity(name, metric) for name in ("area", "final")} | {"isotonic_violation": rise}
    return [(name, interval_over_seeds(by_seed)) for name, by_seed in measured.items()]


def _shown(records: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[tuple[Cell, ...], ...]:
    found = [{(r["metric"], r["quantity"]): r for r in own if r["seeds"]} for own in records]
    decimals = {
        key: decimals_for([(own[key]["upper"] - own[key]["lower"]) / 2 for own in found if key in own])
        for key in _SHOWN
    }
    base = _settings(records[0][0])
    rows = []
    for own, known in zip(records, found, strict=True):
        first = own[0]
        settings = _settings(first)
        texts = [*settings, agent_with_state(first["agent"], first["state"])]
        for key in _SHOWN:
            record = known.get(key)
            if record is None:
                of_itself = key[1] == "area_difference" and bool(known) and settings == base
                texts.append("0" if of_itself else "—")
                continue
            text = number_with_interval(record["estimate"], record["lower"], record["upper"], decimals[key])
            sure = key[1] == "area_difference" and (record["lower"] > 0 or record["upper"] < 0)
            texts.append(f"{text} †" if sure else text)
        rows.append(tuple(Cell(text) for text in texts))
    return tuple(rows)


def _settings(record: Mapping[str, Any]) -> tuple[str, str]:
    return setting_label(record["warm_start"]), setting_label(record["early_stopping"])
