"""The table of modes: the same agents under the recipe of the reference code and under the corrected one.

Seeds are paired by number. The two recipes share test rows, but their streams differ, so pairing may take out less of
the spread over seeds than it does between agents of one mode. A run of the reference's recipe that has one of its keys
corrected is a section of its own, beside the same corrected runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.grid.parameters import flatten
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.rank_agreement import kendall_agreement
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL, AgentCurves, interval_over_seeds, paired_curves
from bayesgrid.reporting.collect import GROUP_COLUMNS, RunRecord
from bayesgrid.reporting.grouped_curves import (
    GroupOfAgents,
    checked_options,
    few_seeds_notes,
    grouped_curves,
    partial_notes,
)
from bayesgrid.reporting.names import agent_with_state, metric_label, setting_label
from bayesgrid.reporting.table import Cell, Section, Table, decimals_for, number, number_with_interval

__all__ = ["COMPARED_METRICS", "MODES", "MODE_OF_DRAWS", "mode_comparison_table"]

MODES = ("corrected", "faithful")
COMPARED_METRICS = ("nll", "mae_mode64", "crps")
"""The mean absolute error is that of the mode of 64 draws, which the reference publishes."""

MODE_OF_DRAWS = (
    "MAE (mode of 64): mean absolute error of the densest of 64 draws from the predictive density, which the reference "
    "publishes."
)
OWN_SETTINGS = "reference with"
"""Before the settings of a section that its corrected runs do not share."""

_QUANTITIES = ("area", "final")
_COLUMNS = {
    **dict.fromkeys(GROUP_COLUMNS, "str"),
    "query_size": "Int64",
    "mode": "str",
    "agent": "str",
    "metric": "str",
    "quantity": "str",
    "labelled": "Int64",
    "estimate": "float64",
    "lower": "float64",
    "upper": "float64",
    "seeds": "Int64",
    "agents": "Int64",
    "state": "str",
}


def mode_comparison_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return curves of both modes, the difference of areas and final values, and whether agents keep their order.

    Differences are faithful minus corrected, paired by seed. Kendall's tau is that of the agents' means in the two
    modes, over the agents and seeds that both have.

    Raises:
        ConfigurationError: for any option; the table has none.
        StateError: if a result file is missing, damaged or incomplete.
    """
    checked_options(options, {})
    rows: list[dict[str, Any]] = []
    sections = []
    compared = _compared(grouped_curves(runs, COMPARED_METRICS, axes=("mode",)))
    for groups in compared:
        first = next(iter(groups.values()))
        agents = list(dict.fromkeys(agent for group in groups.values() for agent in group.states))
        own = [record for mode, group in groups.items() for record in _values(group, mode)]
        differences = [record for agent in agents for record in _differences(groups, agent)]
        taus = _taus(groups, agents)
        rows += [{**first.cell, **record} for record in (*own, *differences, *taus)]
        extent = next((group.extent for group in groups.values() if group.extent), "")
        heading = " · ".join(part for part in (first.heading, extent) if part)
        sections.append(Section(heading, _shown(groups, agents, (*own, *differences, *taus))))
    notes = [
        "Area: trapezoid area under the curve over the number of labels, divided by the labels bought. Lower is "
        "better.",
        f"Δ: {setting_label('faithful')} minus {setting_label('corrected')}, paired by seed; below 0 the reference's "
        "is better. ±: half-width of the 95 % Student-t interval of the mean over seeds. † The interval excludes 0.",
        "Kendall's τ: agreement of the two orders of agents, 1 the same, −1 reversed, with the 95 % interval of a "
        "bootstrap over seeds. With few agents it has few values, and with few seeds such an interval is too narrow.",
        *few_seeds_notes((row["seeds"] for row in rows if row.get("agents")), "the intervals of Kendall's τ"),
        MODE_OF_DRAWS,
        "A dash: no finite value, or only one of the modes.",
    ]
    if any(OWN_SETTINGS in next(iter(groups.values())).variant for groups in compared):
        notes.append(
            f"A heading with “{OWN_SETTINGS}” names settings of that section's runs of the reference's recipe. The "
            "corrected runs beside them have their own value, the same in every such section."
        )
    alone = [next(iter(groups.values())) for groups in compared if len(groups) < len(MODES)]
    tasks = [(group.dataset, group.architecture, group.query_size, *group.settings) for group in alone]
    if len(set(tasks)) < len(tasks):
        notes.append(
            "Sections of one mode have no difference here. Those between warm starts and kinds of early stopping "
            "within a mode are in a table of kind training_ablation over the same runs."
        )
    notes += partial_notes(runs)
    columns = ("Metric", "Agent", "Area, corrected", "Area, reference", "Δ area", "Δ final")
    data = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    return Table(
        data, columns, tuple(sections), "Active learning: the reference's recipe and the corrected one", tuple(notes)
    )


def _compared(groups: Sequence[GroupOfAgents]) -> list[dict[str, GroupOfAgents]]:
    """Return for each section the group of every mode.

    A group of the reference's recipe without a corrected one of the same settings stands beside the corrected one with
    the same labels and test rows, if there is just one kind of those; the section then names whose settings they are.
    """
    sections: dict[tuple[Any, ...], dict[str, GroupOfAgents]] = {}
    for group in groups:
        # A study without modes has the corrected one.
        mode = MODES[0] if group.settings == (None,) else str(group.settings[0])
        sections.setdefault(tuple(group.cell.values()), {})[mode] = group
    corrected = [section["corrected"] for section in sections.values() if "corrected" in section]
    compared, placed = [], []
    for section in sections.values():
        fitting = [
            group for group in corrected if "corrected" not in section and _same_task(group, section["faithful"])
        ]
        if len(fitting) != 1:
            compared.append(section)
            continue
        placed.append(fitting[0])
        variant = f"{OWN_SETTINGS} {section['faithful'].variant}"
        pair = {"corrected": fitting[0], "faithful": section["faithful"]}
        compared.append({mode: replace(group, variant=variant) for mode, group in pair.items()})
    return [section for section in compared if "faithful" in section or section["corrected"] not in placed]


def _same_task(first: GroupOfAgents, second: GroupOfAgents) -> bool:
    """Return whether two groups buy the same number of labels from the same rows and are tested on the same rows."""
    tasks = []
    for group in (first, second):
        values = flatten(next(iter(group.members.values()))[0].spec)
        # These two belong to the recipe.
        recipe = ("labels.candidates", "labels.target_scale")
        task = {key: value for key, value in values.items() if key.startswith("labels.") and key not in recipe}
        tasks.append((group.dataset, group.architecture, task))
    return tasks[0] == tasks[1]


def _values(group: GroupOfAgents, mode: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for agent, state in group.states.items():
        curves = group.curves.get(agent)
        shared: dict[str, Any] = {"mode": mode, "agent": agent, "state": state}
        if curves is None:
            records.append({**shared, "seeds": 0})
            continue
        shared["seeds"] = len(curves.seeds)
        for metric in COMPARED_METRICS:
            for quantity in _QUANTITIES:
                interval = interval_over_seeds(curves.known_quantity(quantity, metric))
                records.append({**shared, "metric": metric, "quantity": quantity, **vars(interval)})
            for position, labelled in enumerate(curves.labelled):
                interval = interval_over_seeds(curves.by_metric[metric][:, position])
                value = {"metric": metric, "quantity": "value", "labelled": labelled}
                records.append({**shared, **value, **vars(interval)})
    return records


def _pair(groups: Mapping[str, GroupOfAgents], agent: str) -> tuple[AgentCurves, AgentCurves] | None:
    """Return the agent's faithful and corrected curves on the seeds of both, if they span the same labels."""
    corrected, faithful = (groups[mode].curves.get(agent) if mode in groups else None for mode in MODES)
    pair = None if corrected is None or faithful is None else paired_curves(faithful, corrected)
    if pair is None or any(pair[0].labelled[end] != pair[1].labelled[end] for end in (0, -1)):
        return None
    return pair


def _differences(groups: Mapping[str, GroupOfAgents], agent: str) -> list[dict[str, Any]]:
    pair = _pair(groups, agent)
    if pair is None:
        return []
    records = []
    for metric in COMPARED_METRICS:
        for quantity in _QUANTITIES:
            difference = np.subtract(*(curves.known_quantity(quantity, metric) for curves in pair))
            record = {"agent": agent, "metric": metric, "quantity": f"{quantity}_difference", "state": "done"}
            records.append({**record, **vars(interval_over_seeds(difference)), "seeds": difference.size})
    return records


def _taus(groups: Mapping[str, GroupOfAgents], agents: Sequence[str]) -> list[dict[str, Any]]:
    pairs = {agent: pair for agent in agents if (pair := _pair(groups, agent)) is not None}
    shared = next(iter(pairs.values()))[0].seeds if pairs else ()
    seeds = [seed for seed in shared if all(seed in pair[0].seeds for pair in pairs.values())]
    if len(pairs) < 2 or len(seeds) < 2:
        return []
    records = []
    for metric in COMPARED_METRICS:
        for quantity in _QUANTITIES:
            by_mode = [
                np.stack([pair[place].of_seeds(seeds).known_quantity(quantity, metric) for pair in pairs.values()])
                for place in (0, 1)
            ]
            interval = _tau(*by_mode)
            record = {"metric": metric, "quantity": f"{quantity}_kendall_tau", "state": "done"}
            records.append({**record, **vars(interval), "seeds": len(seeds), "agents": len(pairs)})
    return records


def _tau(faithful: FloatArray, corrected: FloatArray) -> Interval:
    if not (np.isfinite(faithful).all() and np.isfinite(corrected).all()):
        return Interval(float("nan"), float("nan"), float("nan"))
    return kendall_agreement(faithful, corrected, generator=random_stream(0, "table_interval"), level=LEVEL)


def _shown(
    groups: Mapping[str, GroupOfAgents], agents: Sequence[str], records: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Cell, ...], ...]:
    found = {
        (r.get("agent"), r["metric"], r.get("mode"), r["quantity"]): r
        for r in records
        if r["seeds"] and r["quantity"] != "value"
    }
    wanted = [*((mode, "area") for mode in MODES), (None, "area_difference"), (None, "final_difference")]
    rows = []
    for metric in COMPARED_METRICS:
        own = {key: record for key, record in found.items() if key[1] == metric and key[0] is not None}
        decimals = {
            pair: decimals_for(
                [(r["upper"] - r["lower"]) / 2 for (_, _, *other), r in own.items() if (*other,) == pair]
            )
            for pair in wanted
        }
        for position, agent in enumerate(agents):
            name = Cell(metric_label(metric) if position == 0 else "")
            cells = [
                _interval_cell(own.get((agent, metric, *pair)), decimals[pair], mark=pair[0] is None) for pair in wanted
            ]
            rows.append((name, Cell(agent_with_state(agent, _state(groups, agent))), *cells))
        taus = [found.get((None, metric, None, f"{quantity}_kendall_tau")) for quantity in _QUANTITIES]
        if taus[0] is not None:
            label = Cell(f"Kendall's τ, {taus[0]['agents']} agents")
            rows.append((Cell(""), label, Cell(""), Cell(""), *map(_tau_cell, taus)))
    return tuple(rows)


def _state(groups: Mapping[str, GroupOfAgents], agent: str) -> str:
    states = [group.states[agent] for group in groups.values() if agent in group.states]
    return ", ".join(dict.fromkeys(s for state in states if state != "done" for s in state.split(", "))) or "done"


def _interval_cell(record: Mapping[str, Any] | None, decimals: int, *, mark: bool) -> Cell:
    if record is None:
        return Cell("—")
    text = number_with_interval(record["estimate"], record["lower"], record["upper"], decimals)
    return Cell(f"{text} †" if mark and (record["lower"] > 0 or record["upper"] < 0) else text)


def _tau_cell(record: Mapping[str, Any] | None) -> Cell:
    if record is None or np.isnan(record["lower"]):
        return Cell("—")
    ends = f"{number(record['lower'], 2)} to {number(record['upper'], 2)}"
    return Cell(f"{number(record['estimate'], 2)} ({ends})")
