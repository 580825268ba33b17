"""Tables of active-learning curves: areas, final values, differences to a reference agent, and the curves themselves.

Every seed redraws the initial labels, the validation rows, the weights and the queries; the test rows are the same for
all seeds and agents. Intervals of curves and areas are Student's over seeds and speak about new seeds on these test
rows; predictions are published for the last round, so intervals of final values speak about new test rows too
(hierarchical bootstrap). Differences are paired. Student's t rather than bootstrap percentiles, because five seeds are
too few for the latter (:mod:`bayesgrid.metrics.bootstrap`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from bayesgrid.errors import ConfigurationError, StateError, nearest_name
from bayesgrid.metrics.bootstrap import Interval, hierarchical_interval
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.multiple_comparisons import holm_adjusted, paired_p_value
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL, AgentCurves, agent_curves, interval_over_seeds
from bayesgrid.reporting.collect import (
    GROUP_COLUMNS,
    RunRecord,
    cell_of_run,
    collect_metrics,
    collect_rounds,
    count_test_rows,
    final_scores,
    variants,
)
from bayesgrid.reporting.names import METRICS, agent_label, dataset_label, group_heading, metric_label, state_label
from bayesgrid.reporting.table import Cell, Section, Table, decimals_for, number_with_interval

__all__ = ["learning_curve_summary", "learning_curves"]

Group: TypeAlias = tuple[str, str, int, str]

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

    Raises:
        ConfigurationError: for an unknown option.
        StateError: if a result file is missing, damaged or incomplete.
    """
    reference = _reference_agent(options)
    plan = _Plan(runs)
    rows: list[dict[str, Any]] = []
    sections = []
    for group in plan.groups:
        records = _summary_records(plan, group, reference)
        rows += [
            {**dict(zip(GROUP_COLUMNS, group, strict=True)), **record, "test_rows": plan.test_rows[group]}
            | {"state": plan.state(group, record["agent"])}
            for record in records
        ]
        rows += plan.holes(group)
        sections.append(Section(plan.heading(group), _summary_rows(plan, group, records, reference)))
    notes = [
        "Area: trapezoid area under the curve over the number of labels, divided by the labels bought. "
        "Final: after the last query. Lower is better; the best mean of each column is bold.",
        *_interval_notes(plan),
        "Final values: for new seeds and new test rows (hierarchical bootstrap over seeds, then rows).",
        f"Δ: area minus that of {agent_label(reference)}, paired by seed; "
        f"† Holm-adjusted p < {SIGNIFICANCE} over the agents of a section.",
        *_leak_notes(runs),
        *plan.notes(),
    ]
    shown = [metric_label(metric) for metric in METRICS]
    columns = ("Agent", *(f"{c} {m}" for m in shown for c in ("Area", "Δ")), *(f"Final {m}" for m in shown))
    return Table(
        _frame(rows), columns, tuple(sections), "Active learning: areas under the learning curves", tuple(notes)
    )


def learning_curves(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return every metric and its paired difference to the reference agent at every number of labels, for figures.

    The Markdown and LaTeX form shows the metrics at five numbers of labels.

    Raises:
        ConfigurationError: for an unknown option.
        StateError: if a result file is missing, damaged or incomplete.
    """
    reference = _reference_agent(options)
    plan = _Plan(runs)
    rows: list[dict[str, Any]] = []
    sections = []
    for group in plan.groups:
        records = _curve_records(plan.curves[group], reference)
        rows += [
            {**dict(zip(GROUP_COLUMNS, group, strict=True)), **record, "test_rows": plan.test_rows[group]}
            | {"state": plan.state(group, record["agent"])}
            for record in records
        ]
        rows += plan.holes(group)
        sections.append(Section(plan.heading(group), _curve_rows(plan, group, records)))
    notes = (
        f"At {SHOWN_POINTS} of the recorded numbers of labels. Lower is better; the best mean at each is bold.",
        *_interval_notes(plan),
        *plan.notes(),
    )
    columns = ("Labels", "Agent", *(metric_label(metric) for metric in METRICS))
    return Table(_frame(rows), columns, tuple(sections), "Active learning: learning curves", notes)


class _Plan:
    """The runs sorted into groups and agents, with the curves of those that are finished."""

    def __init__(self, runs: Sequence[RunRecord]) -> None:
        self.members: dict[Group, dict[str, list[RunRecord]]] = {}
        label = variants(runs)
        for run in runs:
            cell = cell_of_run(run)
            absent = [key for key, value in cell.items() if value is None]
            if absent:
                raise ConfigurationError(
                    f"a learning-curve table needs runs with {', '.join(absent)}",
                    where=run.run_id,
                    given=f"study {run.study!r}",
                )
            group = (cell["dataset"], cell["architecture"], cell["query_size"], label[run.run_id])
            self.members.setdefault(group, {}).setdefault(cell["agent"], []).append(run)
        finished = [run for run in runs if run.finished]
        rounds = collect_rounds(finished) if finished else None
        self.groups = list(self.members)
        self.curves: dict[Group, dict[str, AgentCurves]] = {}
        self.test_rows: dict[Group, int | None] = {}
        for group, agents in self.members.items():
            done = [run for members in agents.values() for run in members if run.finished]
            self.test_rows[group] = count_test_rows(done[0]) if done else None
            self.curves[group] = {}
            for agent, members in agents.items():
                identities = [run.run_id for run in members if run.finished]
                if rounds is not None and identities:
                    own = rounds[rounds["run_id"].isin(identities)]
                    self.curves[group][agent] = agent_curves(own, list(METRICS), where=", ".join(identities))

    def final_scores(self, group: Group, agent: str) -> dict[str, FloatArray]:
        """Return the scores of every seed on every test row after the last round, ``[S, N]`` for each metric.

        Raises:
            StateError: if their means are not the metrics of the last round.
        """
        runs = [run for run in self.members[group][agent] if run.finished]
        curves = self.curves[group][agent]
        scores = final_scores(runs, curves.seeds)
        for metric in METRICS:
            if not np.allclose(scores[metric].mean(axis=1), curves.by_metric[metric][:, -1], rtol=1e-4, atol=1e-6):
                raise StateError(
                    f"predictions and rounds disagree on the final {metric}",
                    where=", ".join(str(run.folder) for run in runs),
                    remedy="the files come from different computations: delete the folder and start the workflow again",
                )
        return scores

    def state(self, group: Group, agent: str) -> str:
        """Return ``done``, or the states of the agent's unfinished runs."""
        waiting = dict.fromkeys(run.state for run in self.members[group][agent] if not run.finished)
        return ", ".join(waiting) or "done"

    def name(self, group: Group, agent: str) -> str:
        """Return the agent's label, with its seeds when they are not all there."""
        members = self.members[group][agent]
        if all(run.finished for run in members):
            return agent_label(agent)
        states = ", ".join(state_label(state) for state in self.state(group, agent).split(", "))
        planned = sum(len(run.spec.get("seeds", ())) for run in members)
        return f"{agent_label(agent)} ({len(self.curves[group][agent].seeds)} of {planned} seeds; {states})"

    def holes(self, group: Group) -> list[dict[str, Any]]:
        """Return a row without numbers for each agent without a finished run."""
        cell = dict(zip(GROUP_COLUMNS, group, strict=True))
        missing = [agent for agent in self.members[group] if agent not in self.curves[group]]
        return [{**cell, "agent": agent, "seeds": 0, "state": self.state(group, agent)} for agent in missing]

    def hole_rows(self, group: Group, before: int, columns: int) -> dict[str, tuple[Cell, ...]]:
        """Return the shown form of :meth:`holes` by agent: ``before`` empty cells, agent, state, empty cells."""
        rows = {}
        for hole in self.holes(group):
            state = ", ".join(state_label(part) for part in hole["state"].split(", "))
            cells = [*[""] * before, agent_label(hole["agent"]), f"({state})"]
            rows[hole["agent"]] = tuple(Cell(text) for text in [*cells, *[""] * (columns - len(cells))])
        return rows

    def heading(self, group: Group) -> str:
        """Return the group's name with its labels, seeds and test rows."""
        parts = [group_heading(*group)]
        curves = list(self.curves[group].values())
        if curves:
            first, last = min(c.labelled[0] for c in curves), max(c.labelled[-1] for c in curves)
            counts = sorted({len(c.seeds) for c in curves})
            seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            parts.append(f"{first:,} to {last:,} labels · {seeds} seed{'s' if counts[-1] > 1 else ''}")
        if self.test_rows[group] is not None:
            parts.append(f"{self.test_rows[group]:,} test rows")
        return " · ".join(parts)

    def notes(self) -> list[str]:
        """Return what a reader of a partial table must know."""
        runs = [run for agents in self.members.values() for members in agents.values() for run in members]
        waiting = sum(not run.finished for run in runs)
        return [f"Partial: {waiting} of {len(runs)} runs are not finished."] if waiting else []


def _reference_agent(options: Mapping[str, Any]) -> str:
    for key in options:
        if key != "reference_agent":
            suggestion = nearest_name(key, ["reference_agent"])
            raise ConfigurationError(
                f"unknown option {key!r} of the table",
                allowed="reference_agent",
                remedy=f"did you mean {suggestion!r}?" if suggestion else None,
            )
    return str(options.get("reference_agent", "random"))


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


def _interval_notes(plan: _Plan) -> list[str]:
    counts = {len(curves.seeds) for agents in plan.curves.values() for curves in agents.values()}
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


def _summary_records(plan: "_Plan", group: Group, reference: str) -> list[dict[str, Any]]:
    curves = plan.curves[group]
    final = {agent: plan.final_scores(group, agent) for agent in curves}
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
        seeds = [seed for seed in own.seeds if seed in other.seeds]
        if not seeds:
            continue
        left, right = own.of_seeds(seeds), other.of_seeds(seeds)
        for metric in METRICS:
            gaps = left.by_metric[metric] - right.by_metric[metric]
            for position, count in enumerate(own.labelled):
                interval = interval_over_seeds(gaps[:, position])
                differences.append(_record(agent, metric, "difference", count, interval, len(seeds)))
    return values + [{**record, "reference": reference} for record in differences]


def _summary_rows(
    plan: _Plan, group: Group, records: Sequence[Mapping[str, Any]], reference: str
) -> tuple[tuple[Cell, ...], ...]:
    wanted = [(m, q) for m in METRICS for q in ("area", "area_difference")] + [(m, "final") for m in METRICS]
    found = {(r["agent"], r["metric"], r["quantity"]): r for r in records}
    agents = list(plan.curves[group])
    columns: list[list[Cell]] = []
    for metric, quantity in wanted:
        own = [found.get((agent, metric, quantity)) for agent in agents]
        cells = _interval_cells(own, mark_best=quantity != "area_difference")
        if quantity == "area_difference":
            cells = [Cell("0") if a == reference and len(agents) > 1 else c for a, c in zip(agents, cells, strict=True)]
        columns.append(cells)
    rows = {a: (Cell(plan.name(group, a)), *cells) for a, cells in zip(agents, zip(*columns, strict=True), strict=True)}
    rows.update(plan.hole_rows(group, 0, len(wanted) + 1))
    return tuple(rows[agent] for agent in plan.members[group])


def _curve_rows(plan: _Plan, group: Group, records: Sequence[Mapping[str, Any]]) -> tuple[tuple[Cell, ...], ...]:
    counts = sorted({record["labelled"] for record in records})
    chosen = (
        sorted({counts[round(i * (len(counts) - 1) / (SHOWN_POINTS - 1))] for i in range(SHOWN_POINTS)})
        if counts
        else []
    )
    found = {(r["agent"], r["metric"], r["labelled"]): r for r in records if r["quantity"] == "value"}
    agents = list(plan.curves[group])
    rows: list[tuple[Cell, ...]] = []
    for labelled in chosen:
        columns = [_interval_cells([found.get((a, m, labelled)) for a in agents], mark_best=True) for m in METRICS]
        for position, agent in enumerate(agents):
            count = Cell(f"{labelled:,}" if position == 0 else "")
            rows.append((count, Cell(plan.name(group, agent)), *(column[position] for column in columns)))
    return (*rows, *plan.hole_rows(group, 1, len(METRICS) + 2).values())


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
