"""Tables of active-learning curves: areas, final values, differences to a reference agent, and the curves themselves.

Every seed redraws the initial labels, the validation rows, the weights and the queries; the test rows are the same for
all seeds and agents. Intervals of curves and areas are Student's over seeds and speak about new seeds on these test
rows; predictions are published for the last round, so intervals of final values speak about new test rows too
(hierarchical bootstrap). Differences are paired. Student's t rather than bootstrap percentiles, because five seeds are
too few for the latter (:mod:`bayesgrid.metrics.bootstrap`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.errors import StateError
from bayesgrid.metrics.bootstrap import Interval, hierarchical_interval
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.multiple_comparisons import holm_adjusted, paired_p_value
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL, AgentCurves, interval_over_seeds, paired_curves
from bayesgrid.reporting.collect import GROUP_COLUMNS, RunRecord, collect_metrics, count_test_rows, final_scores
from bayesgrid.reporting.grouped_curves import (
    GroupOfAgents,
    bounds_alone,
    checked_options,
    few_seeds_notes,
    grouped_curves,
    partial_notes,
    reference_notes,
)
from bayesgrid.reporting.names import METRICS, agent_label, dataset_label, metric_label, state_label
from bayesgrid.reporting.table import Cell, Section, Table, decimals_for, number_with_interval

__all__ = ["UPPER_BOUND", "learning_curve_summary", "learning_curves"]

UPPER_BOUND = "all_labels"
"""What stands in the column ``agent`` for runs that fit once, to all labels."""
SIGNIFICANCE = 0.05
SHOWN_POINTS = 5
"""Numbers of labels at which the Markdown and LaTeX form of the curves shows values."""

_DATA_COLUMNS = [
    *GROUP_COLUMNS,
    "agent",
    "metric",
    "quantity",
    "reference",
    "labelled",
    "estimate",
    "lower",
    "upper",
    "p_holm",
    "seeds",
    "test_rows",
    "state",
]


def learning_curve_summary(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return areas under the curves, final values and paired differences of areas to the reference agent.

    Runs that fit once, to all labels, are the last row of the agents with their data and network, or a section of their
    own where there are none.

    Raises:
        ConfigurationError: for an unknown option.
        StateError: if a result file is missing, damaged or incomplete.
    """
    reference = _reference_agent(options)
    groups = _groups(runs)
    records = [[*_summary_records(group, reference), *_bound_records(group)] for group in groups]
    sections = [
        Section(_heading(group), _summary_rows(group, own, reference))
        for group, own in zip(groups, records, strict=True)
    ]
    notes = [
        "Area: trapezoid area under the curve over the number of labels, divided by the labels bought. "
        "Final: after the last query. Lower is better; the best mean of each column is bold.",
        *_interval_notes(groups),
        "Final values: for new seeds and new test rows (hierarchical bootstrap over seeds, then rows).",
        f"Δ: area minus that of {agent_label(reference)}, paired by seed; "
        f"† Holm-adjusted p < {SIGNIFICANCE} over the agents of a section.",
        *few_seeds_notes(_seed_counts(groups), "the intervals of final values"),
        *reference_notes(groups, reference),
        *_bound_notes(groups),
        *_leak_notes(runs),
        *partial_notes(runs),
    ]
    shown = [metric_label(metric) for metric in METRICS]
    columns = ("Agent", *(f"{c} {m}" for m in shown for c in ("Area", "Δ")), *(f"Final {m}" for m in shown))
    return Table(
        _frame(_rows(groups, records)),
        columns,
        tuple(sections),
        "Active learning: areas under the learning curves",
        tuple(notes),
    )


def learning_curves(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return every metric and its paired difference to the reference agent at every number of labels, for figures.

    The Markdown and LaTeX form shows the metrics at five numbers of labels.

    Raises:
        ConfigurationError: for an unknown option.
        StateError: if a result file is missing, damaged or incomplete.
    """
    reference = _reference_agent(options)
    groups = _groups(runs)
    records = [[*_curve_records(group.curves, reference), *_bound_records(group)] for group in groups]
    sections = [Section(_heading(group), _curve_rows(group, own)) for group, own in zip(groups, records, strict=True)]
    notes = (
        f"At {SHOWN_POINTS} of the recorded numbers of labels. Lower is better; the best mean at each is bold.",
        *_interval_notes(groups),
        *reference_notes(groups, reference),
        *_bound_notes(groups),
        *partial_notes(runs),
    )
    columns = ("Labels", "Agent", *(metric_label(metric) for metric in METRICS))
    return Table(_frame(_rows(groups, records)), columns, tuple(sections), "Active learning: learning curves", notes)


def _groups(runs: Sequence[RunRecord]) -> list[GroupOfAgents]:
    groups = grouped_curves(runs, list(METRICS), finite=True)
    return [*groups, *bounds_alone(runs, groups, list(METRICS), finite=True)]


def _seed_counts(groups: Sequence[GroupOfAgents]) -> list[int]:
    return [len(curves.seeds) for group in groups for curves in group.curves.values()]


def _test_rows(group: GroupOfAgents) -> int | None:
    planned = [run for members in group.members.values() for run in members] if group.members else group.bounds
    done = [run for run in planned if run.finished]
    return count_test_rows(done[0]) if done else None


def _heading(group: GroupOfAgents) -> str:
    rows = _test_rows(group)
    return " · ".join(part for part in (group.heading, group.extent, f"{rows:,} test rows" if rows else "") if part)


def _name(group: GroupOfAgents, agent: str) -> str:
    """Return the agent's label, with its seeds when they are not all there."""
    members = group.members[agent]
    if all(run.finished for run in members):
        return agent_label(agent)
    states = ", ".join(map(state_label, group.states[agent].split(", ")))
    planned = sum(len(run.spec.get("seeds", ())) for run in members)
    return f"{agent_label(agent)} ({len(group.curves[agent].seeds)} of {planned} seeds; {states})"


def _rows(groups: Sequence[GroupOfAgents], records: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows of the data: each group's records, then a row without numbers for each agent without a run."""
    rows: list[dict[str, Any]] = []
    for group, own in zip(groups, records, strict=True):
        states, test_rows = {**group.states, UPPER_BOUND: "done"}, _test_rows(group)
        if not group.members:
            states[UPPER_BOUND] = group.bound_state
        rows += [{**group.cell, **r, "test_rows": test_rows, "state": states[r["agent"]]} for r in own]
        rows += [
            {**group.cell, "agent": agent, "seeds": 0, "state": state}
            for agent, state in states.items()
            if agent not in group.curves and agent != UPPER_BOUND
        ]
        if not group.members and group.upper_bound is None:
            rows.append({**group.cell, "agent": UPPER_BOUND, "seeds": 0, "state": group.bound_state})
    return rows


def _hole_rows(group: GroupOfAgents, before: int, columns: int) -> dict[str, tuple[Cell, ...]]:
    """Return the shown row of each agent without a finished run: ``before`` empty cells, agent, state, empty cells."""
    rows = {}
    for agent, state in group.states.items():
        if agent not in group.curves:
            states = ", ".join(map(state_label, state.split(", ")))
            cells = [*[""] * before, agent_label(agent), f"({states})"]
            rows[agent] = tuple(Cell(text) for text in [*cells, *[""] * (columns - len(cells))])
    if not group.members and group.upper_bound is None:
        states = ", ".join(map(state_label, group.bound_state.split(", ")))
        cells = [*[""] * before, agent_label(UPPER_BOUND), f"({states})"]
        rows[UPPER_BOUND] = tuple(Cell(text) for text in [*cells, *[""] * (columns - len(cells))])
    return rows


def _bound_records(group: GroupOfAgents) -> list[dict[str, Any]]:
    bound = group.upper_bound
    if bound is None:
        return []
    return [
        _record(
            UPPER_BOUND,
            metric,
            "upper_bound",
            bound.labelled[0],
            interval_over_seeds(bound.by_metric[metric][:, 0]),
            len(bound.seeds),
        )
        for metric in METRICS
    ]


def _final_scores(group: GroupOfAgents, agent: str) -> dict[str, FloatArray]:
    """Return the scores of every seed on every test row after the last round, ``[S, N]`` for each metric.

    Raises:
        StateError: if their means are not the metrics of the last round.
    """
    runs = [run for run in group.members[agent] if run.finished]
    curves = group.curves[agent]
    scores = final_scores(runs, curves.seeds)
    for metric in METRICS:
        if not np.allclose(scores[metric].mean(axis=1), curves.by_metric[metric][:, -1], rtol=1e-4, atol=1e-6):
            raise StateError(
                f"predictions and rounds disagree on the final {metric}",
                where=", ".join(str(run.folder) for run in runs),
                remedy="the files come from different computations: delete the folder and start the workflow again",
            )
    return scores


def _leak_notes(runs: Sequence[RunRecord]) -> list[str]:
    finished = [run for run in runs if run.finished]
    if not finished:
        return []
    metrics = collect_metrics(finished)
    notes = []
    for name, what in (
        ("leaked_equal_rows", "equal a training or validation row in all features"),
        ("leaked_rows_of_shared_groups", "share a subject, family or stretch with one"),
    ):
        leaked = metrics[(metrics["metric"] == name) & (metrics["value"] > 0)]
        counts = leaked.groupby("dataset", sort=False)["value"].max().items()
        if len(leaked):
            rows = ", ".join(f"{count:,.0f} of {dataset_label(dataset)}" for dataset, count in counts)
            notes.append(f"Test rows that {what}: {rows}.")
    return notes


def _reference_agent(options: Mapping[str, Any]) -> str:
    return str(checked_options(options, {"reference_agent": "random"})["reference_agent"])


def _bound_notes(groups: Sequence[GroupOfAgents]) -> list[str]:
    if all(group.upper_bound is None for group in groups):
        return []
    label = agent_label(UPPER_BOUND)
    notes = [f"{label}: one fit to all training rows, with as many seeds as its run has."]
    if any(not group.members for group in groups):
        notes.append(f"A section of {label} alone has no area and no difference: nothing was bought after the one fit.")
    return notes


def _interval_notes(groups: Sequence[GroupOfAgents]) -> list[str]:
    alone = [group.upper_bound for group in groups if not group.members and group.upper_bound is not None]
    counts = {*_seed_counts(groups), *(len(bound.seeds) for bound in alone)}
    notes = ["NLL in nats, CRPS and MAE in units of the target, all for targets scaled to [0, 1] by the training rows."]
    if counts - {1}:
        notes.append(
            "±: half-width of the 95 % Student-t interval of the mean over seeds (number in each heading), "
            "for new seeds on the same test rows."
        )
    if 1 in counts:
        notes.append("A single seed has no interval.")
    return notes


def _record(
    agent: str, metric: str, quantity: str, labelled: int | None, interval: Interval, seeds: int
) -> dict[str, Any]:
    return {
        "agent": agent,
        "metric": metric,
        "quantity": quantity,
        "labelled": labelled,
        "estimate": interval.estimate,
        "lower": interval.lower,
        "upper": interval.upper,
        "p_holm": float("nan"),
        "seeds": seeds,
    }


def _summary_records(group: GroupOfAgents, reference: str) -> list[dict[str, Any]]:
    curves = group.curves
    final = {agent: _final_scores(group, agent) for agent in curves}
    other = curves.get(reference)
    records: list[dict[str, Any]] = []
    for metric in METRICS:
        tested: list[dict[str, Any]] = []
        p_values: list[float] = []
        for agent, own in curves.items():
            last, count = own.labelled[-1], len(own.seeds)
            if len(own.labelled) > 1:
                for quantity in ("area", "mean_over_rounds"):
                    interval = interval_over_seeds(own.quantity(quantity, metric))
                    records.append(_record(agent, metric, quantity, None, interval, count))
            interval = _interval_over_seeds_and_rows(final[agent][metric])
            records.append(_record(agent, metric, "final", last, interval, count))
            if other is None or agent == reference or own.labelled != other.labelled:
                continue
            seeds = [seed for seed in own.seeds if seed in other.seeds]
            if not seeds:
                continue
            rows = [[curve.seeds.index(seed) for seed in seeds] for curve in (own, other)]
            paired = final[agent][metric][rows[0]] - final[reference][metric][rows[1]]
            interval = _interval_over_seeds_and_rows(paired)
            record = _record(agent, metric, "final_difference", last, interval, len(seeds))
            records.append({**record, "reference": reference})
            if len(own.labelled) < 2:
                continue
            difference = own.quantity("area", metric)[rows[0]] - other.quantity("area", metric)[rows[1]]
            record = _record(agent, metric, "area_difference", None, interval_over_seeds(difference), len(seeds))
            record["reference"] = reference
            records.append(record)
            if len(seeds) > 1:
                tested.append(record)
                p_values.append(paired_p_value(difference))
        if tested:
            for record, adjusted in zip(tested, holm_adjusted(p_values), strict=True):
                record["p_holm"] = float(adjusted)
    return records


def _interval_over_seeds_and_rows(scores: FloatArray) -> Interval:
    if min(scores.shape) < 2:
        return Interval(float(scores.mean()), float("nan"), float("nan"))
    return hierarchical_interval(scores, generator=random_stream(0, "table_interval"), level=LEVEL)


def _curve_records(curves: Mapping[str, AgentCurves], reference: str) -> list[dict[str, Any]]:
    values = [
        _record(agent, metric, "value", count, interval_over_seeds(own.by_metric[metric][:, position]), len(own.seeds))
        for metric in METRICS
        for agent, own in curves.items()
        for position, count in enumerate(own.labelled)
    ]
    other = curves.get(reference)
    differences = []
    for agent, own in curves.items():
        if other is None or agent == reference or own.labelled != other.labelled:
            continue
        pair = paired_curves(own, other)
        if pair is None:
            continue
        left, right = pair
        seeds = left.seeds
        for metric in METRICS:
            gaps = left.by_metric[metric] - right.by_metric[metric]
            for position, count in enumerate(own.labelled):
                interval = interval_over_seeds(gaps[:, position])
                differences.append(_record(agent, metric, "difference", count, interval, len(seeds)))
    return values + [{**record, "reference": reference} for record in differences]


def _summary_rows(
    group: GroupOfAgents, records: Sequence[Mapping[str, Any]], reference: str
) -> tuple[tuple[Cell, ...], ...]:
    wanted = [(m, q) for m in METRICS for q in ("area", "area_difference")] + [(m, "final") for m in METRICS]
    found = {(r["agent"], r["metric"], r["quantity"]): r for r in records}
    agents = list(group.curves)
    columns: list[list[Cell]] = []
    for metric, quantity in wanted:
        own = [found.get((agent, metric, quantity)) for agent in agents]
        cells = _interval_cells(own, mark_best=quantity != "area_difference")
        if quantity == "area_difference":
            cells = [Cell("0") if a == reference and len(agents) > 1 else c for a, c in zip(agents, cells, strict=True)]
        columns.append(cells)
    rows = {a: (Cell(_name(group, a)), *cells) for a, cells in zip(agents, zip(*columns, strict=True), strict=True)}
    rows.update(_hole_rows(group, 0, len(wanted) + 1))
    named = [*group.members, *([UPPER_BOUND] if UPPER_BOUND in rows else [])]
    return (*(rows[agent] for agent in named), *_bound_rows(found, len(wanted) - len(METRICS)))


def _bound_rows(found: Mapping[tuple[str, str, str], Mapping[str, Any]], before: int) -> list[tuple[Cell, ...]]:
    """Return the shown row of the upper bound, ``before`` empty cells after its name, or none."""
    own = [
        found[UPPER_BOUND, metric, "upper_bound"] for metric in METRICS if (UPPER_BOUND, metric, "upper_bound") in found
    ]
    if not own:
        return []
    cells = [cell for record in own for cell in _interval_cells([record], mark_best=False)]
    return [(Cell(f"{agent_label(UPPER_BOUND)} ({own[0]['labelled']:,})"), *[Cell("")] * before, *cells)]


def _curve_rows(group: GroupOfAgents, records: Sequence[Mapping[str, Any]]) -> tuple[tuple[Cell, ...], ...]:
    counts = sorted({record["labelled"] for record in records if record["quantity"] == "value"})
    chosen = (
        sorted({counts[round(i * (len(counts) - 1) / (SHOWN_POINTS - 1))] for i in range(SHOWN_POINTS)})
        if counts
        else []
    )
    found = {(r["agent"], r["metric"], r["labelled"]): r for r in records if r["quantity"] == "value"}
    agents = list(group.curves)
    rows: list[tuple[Cell, ...]] = []
    for labelled in chosen:
        columns = [_interval_cells([found.get((a, m, labelled)) for a in agents], mark_best=True) for m in METRICS]
        for position, agent in enumerate(agents):
            count = Cell(f"{labelled:,}" if position == 0 else "")
            rows.append((count, Cell(_name(group, agent)), *(column[position] for column in columns)))
    bounds = {(r["agent"], r["metric"], r["quantity"]): r for r in records if r["quantity"] == "upper_bound"}
    bound = [(Cell(""), *row) for row in _bound_rows(bounds, 0)]
    return (*rows, *bound, *_hole_rows(group, 1, len(METRICS) + 2).values())


def _interval_cells(records: Sequence[Mapping[str, Any] | None], *, mark_best: bool) -> list[Cell]:
    present = [record for record in records if record is not None]
    decimals = decimals_for([(record["upper"] - record["lower"]) / 2 for record in present])
    estimates = [record["estimate"] for record in present]
    best = min(estimates, default=float("nan"))
    mark_best = mark_best and best < max(estimates, default=float("nan"))
    cells = []
    for record in records:
        if record is None:
            cells.append(Cell("—"))
            continue
        text = number_with_interval(record["estimate"], record["lower"], record["upper"], decimals)
        if record["p_holm"] < SIGNIFICANCE:
            text += " †"
        cells.append(Cell(text, best=mark_best and record["estimate"] == best))
    return cells


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=_DATA_COLUMNS)
    integers = dict.fromkeys(("query_size", "labelled", "seeds", "test_rows"), "Int64")
    reals = dict.fromkeys(("estimate", "lower", "upper", "p_holm"), "float64")
    return frame.astype({**integers, **reals})
