"""The table of win probabilities: how often an agent is better than the reference, seed by seed, at each label count.

A probability over seeds on the same test rows. It counts wins and not their size, so one seed that went wrong weighs no
more than any other, and it holds for metrics of any distribution.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.win_probability import win_probability
from bayesgrid.reporting.agent_curves import LEVEL, paired_curves
from bayesgrid.reporting.collect import GROUP_COLUMNS, RunRecord
from bayesgrid.reporting.grouped_curves import (
    GroupOfAgents,
    areas_over_seeds,
    checked_options,
    grouped_curves,
    partial_notes,
    reference_notes,
)
from bayesgrid.reporting.names import METRICS, agent_label, agent_with_state, metric_label
from bayesgrid.reporting.table import Cell, Section, Table, number

__all__ = ["win_probability_table"]

_COLUMNS = {
    **dict.fromkeys(GROUP_COLUMNS, "str"),
    "query_size": "Int64",
    "agent": "str",
    "reference": "str",
    "metric": "str",
    "quantity": "str",
    "labelled": "Int64",
    "wins": "Int64",
    "ties": "Int64",
    "estimate": "float64",
    "lower": "float64",
    "upper": "float64",
    "seeds": "Int64",
    "state": "str",
}


def win_probability_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the probability that an agent has a lower metric than the reference agent on the same seed.

    At every number of labels that both recorded (quantity ``value``) and for the area under the curve (``area``), with
    Wilson's 95 % interval. Ties, such as that of the shared initial labels, count as half a win.

    Raises:
        ConfigurationError: for an unknown option.
        StateError: if a result file is missing, damaged or incomplete.
    """
    reference = str(checked_options(options, {"reference_agent": "random"})["reference_agent"])
    rows: list[dict[str, Any]] = []
    sections = []
    groups = grouped_curves(runs, list(METRICS))
    for group in groups:
        shown = []
        for agent, state in group.states.items():
            if agent == reference:
                continue
            shared = {**group.cell, "agent": agent, "reference": reference, "state": state}
            records = _records(group, agent, reference)
            rows += [{**shared, **record} for record in records or [{"seeds": 0}]]
            shown.append((Cell(agent_with_state(agent, state)), *_cells(records)))
        extent = " · ".join(part for part in (group.heading, group.extent) if part)
        sections.append(Section(extent, tuple(shown)))
    label = agent_label(reference)
    notes = (
        f"Share of seeds on which the agent's metric is lower than that of {label} on the same seed, with Wilson's "
        "95 % interval: for the area under the curve, and after the last query. Ties count as half. Above 0.5: better.",
        "A value that is not finite is worse than every finite one.",
        f"† The interval excludes 0.5. A dash: no seed with the same numbers of labels for {label}.",
        *reference_notes(groups, reference),
        *partial_notes(runs),
    )
    columns = ("Agent", *(f"P, {name} {metric_label(m)}" for m in METRICS for name in ("area", "final")))
    data = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    return Table(data, columns, tuple(sections), f"Active learning: probability of beating {label}", notes)


def _records(group: GroupOfAgents, agent: str, reference: str) -> list[dict[str, Any]]:
    own, other = group.curves.get(agent), group.curves.get(reference)
    if own is None or other is None or own.labelled != other.labelled:
        return []
    pair = paired_curves(own, other)
    if pair is None:
        return []
    records = []
    for metric in METRICS:
        if len(own.labelled) > 1:
            areas = [areas_over_seeds(curves, metric, curves.seeds) for curves in pair]
            records.append(_record(metric, "area", None, *areas))
        values = [curves.by_metric[metric] for curves in pair]
        records += [
            _record(metric, "value", labelled, *(value[:, position] for value in values))
            for position, labelled in enumerate(own.labelled)
        ]
    return records


def _record(metric: str, quantity: str, labelled: int | None, own: FloatArray, other: FloatArray) -> dict[str, Any]:
    result = win_probability(own, other, level=LEVEL)
    return {
        "metric": metric,
        "quantity": quantity,
        "labelled": labelled,
        "wins": result.wins,
        "ties": result.ties,
        "estimate": result.interval.estimate,
        "lower": result.interval.lower,
        "upper": result.interval.upper,
        "seeds": result.pairs,
    }


def _cells(records: Sequence[Mapping[str, Any]]) -> list[Cell]:
    cells = []
    for metric in METRICS:
        own = [record for record in records if record["metric"] == metric]
        area = next((record for record in own if record["quantity"] == "area"), None)
        final = next((record for record in reversed(own) if record["quantity"] == "value"), None)
        for record in (area, final):
            if record is None:
                cells.append(Cell("—"))
                continue
            lower, upper = record["lower"], record["upper"]
            mark = " †" if lower > 0.5 or upper < 0.5 else ""
            text = f"{number(record['estimate'], 2)} ({number(lower, 2)} to {number(upper, 2)}){mark}"
            cells.append(Cell(text))
    return cells
