"""The table of agent ranks: which agents differ over data sets, and how little few data sets can tell.

Data sets are the independent units. Each gives one value per agent, its area under the learning curve averaged over
seeds and, where a data set was run with several architectures, query sizes or variants, over these groups, which share
the unit of the metric but are not independent of each other.

- Demsar (2006), Statistical comparisons of classifiers over multiple data sets.
- Benavoli, Corani, Demsar & Zaffalon (2017), Time for a change.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.metrics.bayesian_signed_rank import PracticalDifference, bayesian_signed_rank
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.data_set_bootstrap import pooled_difference, standardised_difference
from bayesgrid.metrics.multiple_comparisons import holm_adjusted
from bayesgrid.metrics.rank_tests import friedman_test, nemenyi_critical_difference, signed_rank_p_value
from bayesgrid.metrics.ranks import mean_ranks
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import (
    GroupOfAgents,
    areas_over_seeds,
    checked_options,
    few_seeds_notes,
    grouped_curves,
    partial_notes,
    reference_notes,
)
from bayesgrid.reporting.names import (
    METRICS,
    agent_label,
    agent_with_state,
    dataset_label,
    metric_label,
    seeds_text,
)
from bayesgrid.reporting.table import Cell, Section, Table, number

__all__ = ["agent_ranks"]

SIGNIFICANCE = 0.05
FEWEST_FOR_A_PAIR = 6
"""Wilcoxon's smallest two-sided p-value is 2^(1-D): 0.031 with 6 data sets, 0.063 with 5."""
FEWEST_SEEDS_FOR_A_UNIT = 3
SMALLEST_SHOWN_P = 0.001
ROPE = 0.2
"""Half width of practical equivalence in standard deviations over seeds: Cohen's small effect."""

_INTEGERS = ("data_sets", "groups", "seeds", "diverged_data_sets", "effect_data_sets", "restart_rows")
_REALS = (
    "mean_rank",
    "friedman_p",
    "critical_difference",
    "p_holm",
    "effect",
    "effect_lower",
    "effect_upper",
    "probability_better",
    "probability_equivalent",
    "probability_worse",
    "restarts_friedman_p",
    "restarts_p_holm",
)
_DATA_COLUMNS = ["metric", "agent", "reference", *_INTEGERS, *_REALS, "state"]


@dataclass(frozen=True)
class _Comparison:
    """What all agents have in common: the groups in which every one of them has finished."""

    agents: tuple[str, ...]
    groups: tuple[GroupOfAgents, ...]
    seeds: Mapping[str, tuple[int, ...]]
    """Per data set, those that all agents share in all its groups."""
    unused: tuple[str, ...]
    """Why groups and agents were left out, as notes."""

    def areas(self, metric: str) -> list[FloatArray]:
        """Return the areas per data set, ``[M, S_d]``; infinity where a curve diverged."""
        tables = []
        for dataset, seeds in self.seeds.items():
            own = [group for group in self.groups if group.dataset == dataset]
            blocks = [[areas_over_seeds(group.curves[a], metric, seeds) for a in self.agents] for group in own]
            tables.append(np.asarray(blocks).mean(axis=0))
        return tables


def agent_ranks(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return mean ranks of areas over data sets, the tests of ranks, and pooled differences to the reference agent.

    What the number of data sets or seeds does not allow is left blank, and a note says so.

    Raises:
        ConfigurationError: for an unknown option, or a ``rope`` that is not a number of 0 or more.
        StateError: if a result file is missing, damaged or incomplete.
    """
    chosen = checked_options(options, {"reference_agent": "random", "rope": ROPE})
    reference, rope = str(chosen["reference_agent"]), chosen["rope"]
    if isinstance(rope, bool) or not isinstance(rope, int | float) or not 0 <= rope < math.inf:
        raise ConfigurationError(
            "not a half width of practical equivalence", where="rope", given=rope, allowed="0 or more"
        )
    groups = grouped_curves(runs, list(METRICS))
    planned = list(dict.fromkeys(agent for group in groups for agent in group.states))
    comparison = _comparable(groups)
    rows: list[dict[str, Any]] = []
    sections = []
    for metric in METRICS:
        records = _records(comparison, metric, reference, float(rope))
        for agent in planned:
            records.setdefault(agent, {"metric": metric, "agent": agent})
            records[agent] |= {"reference": reference, "state": _state(groups, agent)}
        rows += [records[agent] for agent in planned]
        shown = [_shown_row(records[agent], agent == reference) for agent in planned]
        sections.append(Section(_heading(metric, comparison, records), _with_the_best(records, planned, shown)))
    frame = pd.DataFrame(rows, columns=_DATA_COLUMNS)
    frame = frame.astype({**dict.fromkeys(_INTEGERS, "Int64"), **dict.fromkeys(_REALS, "float64")})
    columns = (
        "Agent",
        "Mean rank",
        "Pooled Δ",
        "p",
        "P(better)",
        "P(same)",
        "P(worse)",
        "p, restarts (not valid)",
    )
    notes = [
        *_notes(comparison, rows, reference, float(rope)),
        *few_seeds_notes(map(len, comparison.seeds.values()), "the intervals of pooled differences"),
        *reference_notes(groups, reference),
        *partial_notes(runs),
    ]
    return Table(frame, columns, tuple(sections), "Active learning: ranks of the agents over data sets", tuple(notes))


def _comparable(groups: Sequence[GroupOfAgents]) -> _Comparison:
    unused: list[str] = []
    started = [group for group in groups if len(_with_areas(group)) > 1]
    presence = {a: sum(a in _with_areas(g) for g in started) for g in started for a in _with_areas(g)}
    agents = [agent for agent, count in presence.items() if 2 * count >= len(started)]
    rare = [agent for agent in presence if agent not in agents]
    if rare:
        names = ", ".join(map(agent_label, rare))
        unused.append(f"Not ranked, because finished in fewer than half of the groups: {names}.")
    kept: dict[str, list[GroupOfAgents]] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    for group in groups:
        absent = [agent_label(agent) for agent in agents if agent not in _with_areas(group)]
        curves = [group.curves[agent] for agent in agents if agent in group.curves]
        if absent or not agents:
            reason = f"no finished curve of {', '.join(absent)}" if absent else "fewer than two finished agents"
        elif len({own.labelled for own in curves}) > 1:
            reason = "its agents have different numbers of labels"
        else:
            common = set(seeds.get(group.dataset, curves[0].seeds)).intersection(*(own.seeds for own in curves))
            if common:
                seeds[group.dataset] = tuple(sorted(common))
                kept.setdefault(group.dataset, []).append(group)
                continue
            reason = "no seed that all its agents share"
        unused.append(f"Left out: {group.heading} ({reason}).")
    ordered = tuple(group for own in kept.values() for group in own)
    return _Comparison(tuple(agents), ordered, seeds, tuple(unused))


def _with_areas(group: GroupOfAgents) -> list[str]:
    return [agent for agent, curves in group.curves.items() if len(curves.labelled) > 1]


def _records(comparison: _Comparison, metric: str, reference: str, rope: float) -> dict[str, dict[str, Any]]:
    agents = comparison.agents
    if not comparison.groups:
        return {}
    tables = comparison.areas(metric)
    means = np.stack([table.mean(axis=1) for table in tables])
    restarts = np.concatenate([table.T for table in tables])
    shared: dict[str, Any] = {
        "metric": metric,
        "data_sets": len(tables),
        "groups": len(comparison.groups),
        "seeds": min(map(len, comparison.seeds.values())),
        "restart_rows": len(restarts),
        "friedman_p": _friedman_p(means),
        "restarts_friedman_p": _friedman_p(restarts),
    }
    if len(tables) > 1:
        shared["critical_difference"] = nemenyi_critical_difference(len(agents), len(tables), significance=SIGNIFICANCE)
    ranks = mean_ranks(_with_finite_order(means), lower_is_better=True)
    diverged = np.isinf(means).sum(axis=0)
    records = {
        agent: {"agent": agent, **shared, "mean_rank": ranks[i], "diverged_data_sets": int(diverged[i])}
        for i, agent in enumerate(agents)
    }
    if reference not in agents:
        return records
    base = agents.index(reference)
    others = [i for i in range(len(agents)) if i != base]
    for name, values in (("p_holm", means), ("restarts_p_holm", restarts)):
        if len(values) < 2:
            continue
        finite = _with_finite_order(values)
        plain = [signed_rank_p_value(finite[:, i] - finite[:, base]) for i in others]
        for i, adjusted in zip(others, holm_adjusted(plain), strict=True):
            records[agents[i]][name] = float(adjusted)
    for i in others:
        known = [table for table in tables if np.isfinite(table[[i, base]]).all()]
        records[agents[i]] |= _effect([table[i] - table[base] for table in known], rope)
    return records


def _friedman_p(values: FloatArray) -> float:
    """Return Iman and Davenport's p-value, never below that of the same order in every row, ``M!^(1-D)``."""
    rows, methods = values.shape
    if rows < 2:
        return math.nan
    smallest = math.exp((1 - rows) * math.lgamma(methods + 1))
    return min(1.0, max(friedman_test(_with_finite_order(values)).f_p_value, smallest))


def _with_finite_order(values: FloatArray) -> FloatArray:
    """Return ``values`` with infinity replaced by a number farther from every other than any two are apart."""
    finite = values[np.isfinite(values)]
    if finite.size == values.size:
        return values
    if finite.size == 0:
        return np.zeros_like(values)
    return np.where(np.isfinite(values), values, finite.max() + 2 * np.ptp(finite) + 1)


def _effect(differences: Sequence[FloatArray], rope: float) -> dict[str, Any]:
    """Return the pooled standardised difference and the Bayesian test on it, as far as data sets and seeds allow."""
    usable: list[FloatArray] = []
    effects: list[float] = []
    for values in differences:
        if values.size < FEWEST_SEEDS_FOR_A_UNIT:
            continue
        try:
            effects.append(standardised_difference(values))
        except DataError:
            # The same difference for every seed has no spread, and so no unit.
            continue
        usable.append(values)
    record: dict[str, Any] = {"effect_data_sets": len(usable)}
    if not usable:
        return record
    interval = Interval(effects[0], math.nan, math.nan)
    if len(usable) > 1:
        interval = pooled_difference(usable, generator=random_stream(0, "table_interval"), level=LEVEL).interval
    record |= {"effect": interval.estimate, "effect_lower": interval.lower, "effect_upper": interval.upper}
    if len(usable) >= FEWEST_FOR_A_PAIR:
        posterior: PracticalDifference = bayesian_signed_rank(
            effects, rope=rope, generator=random_stream(0, "table_bayesian_signed_rank")
        )
        record["probability_better"] = posterior.left
        record["probability_equivalent"] = posterior.rope
        record["probability_worse"] = posterior.right
    return record


def _state(groups: Sequence[GroupOfAgents], agent: str) -> str:
    states = [group.states[agent] for group in groups if agent in group.states]
    return ", ".join(dict.fromkeys(s for state in states if state != "done" for s in state.split(", "))) or "done"


def _shown_row(record: Mapping[str, Any], is_reference: bool) -> tuple[Cell, ...]:
    def value(name: str) -> float:
        return float(record.get(name, math.nan))

    label = agent_with_state(record["agent"], record["state"])
    if "mean_rank" not in record:
        return (Cell(label), *[Cell("—")] * 7)
    if is_reference:
        return (Cell(label), Cell(number(value("mean_rank"), 2)), Cell("0"), *[Cell("")] * 5)
    lower, upper = value("effect_lower"), value("effect_upper")
    effect = number(value("effect"), 2)
    if math.isfinite(lower):
        effect += f" ({number(lower, 2)} to {number(upper, 2)})"
    probabilities = [number(value(f"probability_{side}"), 2) for side in ("better", "equivalent", "worse")]
    return tuple(
        Cell(text)
        for text in (
            label,
            number(value("mean_rank"), 2),
            effect,
            _p_text(value("p_holm"), mark=True),
            *probabilities,
            _p_text(value("restarts_p_holm"), mark=False),
        )
    )


def _with_the_best(
    records: Mapping[str, Mapping[str, Any]], planned: Sequence[str], shown: Sequence[tuple[Cell, ...]]
) -> tuple[tuple[Cell, ...], ...]:
    ranks = [float(records[agent].get("mean_rank", math.nan)) for agent in planned]
    known = [rank for rank in ranks if math.isfinite(rank)]
    if not known or min(known) == max(known):
        return tuple(shown)
    return tuple(
        (row[0], Cell(row[1].text, best=rank == min(known)), *row[2:]) for rank, row in zip(ranks, shown, strict=True)
    )


def _p_text(p_value: float, *, mark: bool) -> str:
    if math.isnan(p_value):
        return "—"
    text = f"{p_value:.3f}" if p_value >= SMALLEST_SHOWN_P else f"< {SMALLEST_SHOWN_P}"
    return f"{text} †" if mark and p_value < SIGNIFICANCE else text


def _heading(metric: str, comparison: _Comparison, records: Mapping[str, Mapping[str, Any]]) -> str:
    record = next((record for record in records.values() if "mean_rank" in record), None)
    if record is None:
        return f"{metric_label(metric)} · no group in which two agents have finished"
    data_sets = len(comparison.seeds)
    parts = [
        metric_label(metric),
        _counted(data_sets, "data set"),
        f"{len(comparison.agents)} agents",
        seeds_text(map(len, comparison.seeds.values())),
    ]
    if data_sets > 1:
        parts += [
            f"Friedman p {_p_text(record['friedman_p'], mark=False)}",
            f"critical difference {number(record['critical_difference'], 2)}",
        ]
    if record["restart_rows"] > 1:
        claimed = _p_text(record["restarts_friedman_p"], mark=False)
        parts.append(f"restarts as data sets (not valid): {record['restart_rows']} rows, Friedman p {claimed}")
    return " · ".join(parts)


def _notes(comparison: _Comparison, rows: Sequence[Mapping[str, Any]], reference: str, rope: float) -> list[str]:
    data_sets, others = len(comparison.seeds), max(1, len(comparison.agents) - 1)
    power = ": the power is low" if data_sets < FEWEST_FOR_A_PAIR else ""
    after_holm = 1 + math.ceil(math.log2(others / SIGNIFICANCE))
    notes = [
        "Mean rank: over data sets, of the area under the learning curve averaged over seeds; 1 is the best, ties "
        "share their mean rank, the best mean rank is bold.",
        f"{_counted(data_sets, 'data set')}{power}. Below {FEWEST_FOR_A_PAIR} data sets no pair of agents can reach "
        f"p < {SIGNIFICANCE}, however large the difference; after Holm over {_counted(others, 'comparison')} some pair "
        f"can from {after_holm}.",
    ]
    if data_sets < 2:
        notes.append("Ranks need several data sets: Friedman's test, critical difference and p-values are blank.")
    groups = len(comparison.groups)
    if groups > data_sets:
        notes.append(
            f"{groups} groups on {_counted(data_sets, 'data set')}: groups of one data set are not independent, so "
            "areas are averaged over them first."
        )
    label = agent_label(reference)
    if comparison.groups and reference not in comparison.agents:
        notes.append(f"{label} is not among the ranked agents, so there is no difference to it.")
    notes += [
        "Friedman p: Iman and Davenport's F, not below the exact p-value of the same order on every data set. Critical "
        f"difference: Nemenyi's, at {SIGNIFICANCE} over all pairs.",
        f"Pooled Δ: area minus that of {label}, paired by seed, in standard deviations over seeds and averaged over "
        "data sets, with the 95 % interval for new data sets and seeds (two-level bootstrap, Student's t); below 0 is "
        f"better. Needs {FEWEST_SEEDS_FOR_A_UNIT} seeds.",
        f"p: Wilcoxon's signed ranks against {label} on data-set means, after Holm over the agents of a section; "
        f"† below {SIGNIFICANCE}.",
        f"P(better), P(same), P(worse): Bayesian signed rank on the standardised differences, the same within "
        f"±{rope:g}; from {FEWEST_FOR_A_PAIR} data sets.",
        "Restarts as data sets: what the same tests would claim if every seed counted as a data set of its own. Not "
        "valid, because restarts on one data set are not independent; for comparison only.",
    ]
    diverged = {row["agent"] for row in rows if row.get("diverged_data_sets", 0) > 0}
    if diverged:
        names = ", ".join(agent_label(agent) for agent in comparison.agents if agent in diverged)
        notes.append(
            f"Values that are not finite ({names}): such a data set counts as the worst rank, ties shared, and is left "
            "out of the pooled difference."
        )
    notes += [
        f"{dataset_label(dataset)}: {len(seeds)} shared seed{'s' if len(seeds) > 1 else ''}."
        for dataset, seeds in comparison.seeds.items()
        if len({len(other) for other in comparison.seeds.values()}) > 1
    ]
    return [*notes, *comparison.unused]


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
