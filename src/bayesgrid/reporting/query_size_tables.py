"""The table of query sizes: what an agent gains over the reference when it buys 1, 10 or 200 labels at a time.

An agent is compared with the reference agent at the same query size, so that what is left is selection and not how
often the network was fitted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.reporting.agent_curves import interval_over_seeds, paired_curves
from bayesgrid.reporting.collect import GROUP_COLUMNS, RunRecord
from bayesgrid.reporting.grouped_curves import (
    GroupOfAgents,
    checked_options,
    grouped_curves,
    partial_notes,
    reference_notes,
)
from bayesgrid.reporting.names import (
    METRICS,
    agent_label,
    agent_with_state,
    architecture_label,
    dataset_label,
    metric_label,
    seeds_text,
)
from bayesgrid.reporting.table import Cell, Section, Table, decimals_for, number_with_interval

__all__ = ["query_size_table"]

_QUANTITIES = ("area", "final")
_COLUMNS = {
    **dict.fromkeys(GROUP_COLUMNS, "str"),
    "query_size": "Int64",
    "agent": "str",
    "reference": "str",
    "metric": "str",
    "quantity": "str",
    "estimate": "float64",
    "lower": "float64",
    "upper": "float64",
    "seeds": "Int64",
    "state": "str",
}


def query_size_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return area and final value minus those of the reference agent at the same query size, paired by seed.

    Raises:
        ConfigurationError: for an unknown option.
        StateError: if a result file is missing, damaged or incomplete.
    """
    reference = str(checked_options(options, {"reference_agent": "random"})["reference_agent"])
    by_section: dict[tuple[str, str, str], list[GroupOfAgents]] = {}
    every = grouped_curves(runs, list(METRICS))
    for group in every:
        by_section.setdefault((group.dataset, group.architecture, group.variant), []).append(group)
    rows: list[dict[str, Any]] = []
    sections = []
    for (dataset, architecture, variant), groups in by_section.items():
        ordered = sorted(groups, key=lambda group: group.query_size)
        agents = dict.fromkeys(agent for group in ordered for agent in group.states if agent != reference)
        records = [
            record
            for agent in agents
            for group in ordered
            if agent in group.states
            for record in _records(group, agent, reference)
        ]
        rows += records
        seeds = seeds_text(record["seeds"] for record in records if record["seeds"])
        parts = (dataset_label(dataset), architecture_label(architecture), variant, seeds)
        sections.append(Section(" · ".join(part for part in parts if part), _shown(records)))
    label = agent_label(reference)
    notes = (
        f"Metric minus that of {label} with the same query size, paired by seed: area under the curve over the number "
        "of labels, and value after the last query. Below 0: better.",
        "±: half-width of the 95 % Student-t interval of the mean over seeds, for new seeds on the same test rows. "
        "† The interval excludes 0.",
        f"A dash: no finite value, or no seed with the same first and last number of labels for {label}.",
        *reference_notes(every, reference),
        *partial_notes(runs),
    )
    columns = ("Agent", "Query size", *(f"Δ {name} {metric_label(m)}" for m in METRICS for name in _QUANTITIES))
    data = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    return Table(data, columns, tuple(sections), f"Active learning: difference to {label} by query size", notes)


def _records(group: GroupOfAgents, agent: str, reference: str) -> list[dict[str, Any]]:
    shared = {**group.cell, "agent": agent, "reference": reference, "state": group.states[agent]}
    own, other = group.curves.get(agent), group.curves.get(reference)
    pair = None if own is None or other is None else paired_curves(own, other)
    if pair is None or any(pair[0].labelled[end] != pair[1].labelled[end] for end in (0, -1)):
        return [{**shared, "seeds": 0}]
    records = []
    for metric in METRICS:
        for quantity in _QUANTITIES:
            difference = np.subtract(*(curves.known_quantity(quantity, metric) for curves in pair))
            interval = interval_over_seeds(difference)
            records.append(
                {
                    **shared,
                    "metric": metric,
                    "quantity": f"{quantity}_difference",
                    "estimate": interval.estimate,
                    "lower": interval.lower,
                    "upper": interval.upper,
                    "seeds": difference.size,
                }
            )
    return records


def _shown(records: Sequence[Mapping[str, Any]]) -> tuple[tuple[Cell, ...], ...]:
    wanted = [(metric, f"{quantity}_difference") for metric in METRICS for quantity in _QUANTITIES]
    known = {(r["agent"], r["query_size"], r["metric"], r["quantity"]): r for r in records if r["seeds"]}
    decimals = {
        pair: decimals_for([(r["upper"] - r["lower"]) / 2 for (*_, m, q), r in known.items() if (m, q) == pair])
        for pair in wanted
    }
    rows = []
    for agent, query_size, state in dict.fromkeys((r["agent"], r["query_size"], r["state"]) for r in records):
        cells = [Cell(agent_with_state(agent, state)), Cell(f"{query_size}")]
        for pair in wanted:
            record = known.get((agent, query_size, *pair))
            if record is None:
                cells.append(Cell("—"))
                continue
            text = number_with_interval(record["estimate"], record["lower"], record["upper"], decimals[pair])
            cells.append(Cell(f"{text} †" if record["lower"] > 0 or record["upper"] < 0 else text))
        rows.append(tuple(cells))
    return tuple(rows)
