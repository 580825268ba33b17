"""Which agents are compared with each other: runs by group and agent, with the curves that are finished."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.errors import ConfigurationError, nearest_name
from bayesgrid.grid.parameters import flatten
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.reporting.agent_curves import AgentCurves, agent_curves
from bayesgrid.reporting.collect import RunRecord, buys_no_labels, cell_of_run, collect_rounds, variants
from bayesgrid.reporting.names import agent_label, group_heading, seeds_text

__all__ = [
    "GroupOfAgents",
    "areas_over_seeds",
    "bounds_alone",
    "checked_options",
    "few_seeds_notes",
    "grouped_curves",
    "grouped_runs",
    "partial_notes",
    "reference_notes",
]

ENOUGH_FOR_A_BOOTSTRAP = 5
"""Seeds from which a bootstrap over them is printed without a warning."""


@dataclass(frozen=True)
class GroupOfAgents:
    """The agents that are compared with each other: one data set, architecture, query size and variant."""

    dataset: str
    architecture: str
    query_size: int
    variant: str
    settings: tuple[Any, ...]
    """Values of the keys that the table has as axes of its own."""
    members: Mapping[str, tuple[RunRecord, ...]]
    """The planned runs of every agent."""
    bounds: tuple[RunRecord, ...] = ()
    """Planned runs that fit the same network to all labels at once."""
    curves: Mapping[str, AgentCurves] = field(default_factory=dict)
    """Of the agents with a finished run."""
    upper_bound: AgentCurves | None = None
    """One round, of the finished ``bounds``."""

    @property
    def states(self) -> dict[str, str]:
        """Return the state of every planned agent: ``done``, or the states of its unfinished runs."""
        return {agent: _state(runs) for agent, runs in self.members.items()}

    @property
    def cell(self) -> dict[str, Any]:
        """Return the group's columns of a table."""
        return {
            "dataset": self.dataset,
            "architecture": self.architecture,
            "query_size": self.query_size,
            "variant": self.variant,
        }

    @property
    def heading(self) -> str:
        """Return the group's printed name."""
        return group_heading(self.dataset, self.architecture, self.query_size if self.members else None, self.variant)

    @property
    def extent(self) -> str:
        """Return the labels and seeds of what is finished, as printed; empty if nothing is."""
        own = list(self.curves.values())
        if not self.members and self.upper_bound is not None:
            own = [self.upper_bound]
        if not own:
            return ""
        first, last = min(c.labelled[0] for c in own), max(c.labelled[-1] for c in own)
        labels = f"{first:,} to {last:,}" if first < last else f"{last:,}"
        return f"{labels} labels · {seeds_text(len(curves.seeds) for curves in own)}"

    @property
    def bound_state(self) -> str:
        """Return the state of the runs with all labels: ``done``, or the states of the unfinished ones."""
        return _state(self.bounds)


def grouped_runs(runs: Sequence[RunRecord], *, axes: Sequence[str] = ()) -> list[GroupOfAgents]:
    """Return the groups of ``runs`` in their order, without curves.

    Args:
        runs: those of one table. Runs that buy no labels belong to the groups of their data set and architecture.
        axes: dotted keys by whose values runs are kept apart too, without being named as a variant.

    Raises:
        ConfigurationError: if a run has no data set, architecture, query size or agent.
    """
    label = variants(runs, apart_from=axes)
    members: dict[tuple[Any, ...], dict[str, list[RunRecord]]] = {}
    bounds = []
    for run in runs:
        cell = cell_of_run(run)
        absent = [key for key, value in cell.items() if value is None]
        if absent:
            raise ConfigurationError(
                f"a table that compares agents needs runs with {', '.join(absent)}",
                where=run.run_id,
                given=f"study {run.study!r}",
            )
        if buys_no_labels(run):
            bounds.append(run)
            continue
        values = flatten(run.spec)
        settings = tuple(values.get(key) for key in axes)
        group = (cell["dataset"], cell["architecture"], cell["query_size"], label[run.run_id], settings)
        members.setdefault(group, {}).setdefault(cell["agent"], []).append(run)
    groups = []
    for (dataset, architecture, query_size, variant, settings), agents in members.items():
        own = {agent: tuple(planned) for agent, planned in agents.items()}
        fitting = _bounds_of(next(iter(own.values()))[0], bounds, label)
        groups.append(GroupOfAgents(dataset, architecture, query_size, variant, settings, own, fitting))
    return groups


def grouped_curves(
    runs: Sequence[RunRecord], metrics: Sequence[str], *, axes: Sequence[str] = (), finite: bool = False
) -> list[GroupOfAgents]:
    """Return the groups of ``runs`` in their order, with the curves of what is finished.

    Args:
        runs: as for :func:`grouped_runs`.
        metrics: columns of ``rounds.parquet``.
        axes: as for :func:`grouped_runs`.
        finite: whether a value that is not finite is an error; ranks can use a curve that diverged, it is the worst.

    Raises:
        ConfigurationError: if a run has no data set, architecture, query size or agent.
        StateError: if a result file is missing or damaged, lacks a metric, or seeds have different rounds; or, if
            ``finite``, a value is not finite.
    """
    done = [run for run in runs if run.finished]
    rounds = collect_rounds(done) if done else pd.DataFrame(columns=["run_id"])
    groups = []
    for group in grouped_runs(runs, axes=axes):
        curves = {}
        for agent, own in group.members.items():
            names = [run.run_id for run in own if run.finished]
            if names:
                frame = rounds[rounds["run_id"].isin(names)]
                curves[agent] = agent_curves(frame, metrics, where=", ".join(names), finite=finite)
        bound = _upper_bound(group.bounds, rounds, metrics, finite=finite)
        groups.append(replace(group, curves=curves, upper_bound=bound))
    return groups


def bounds_alone(
    runs: Sequence[RunRecord], groups: Sequence[GroupOfAgents], metrics: Sequence[str], *, finite: bool = False
) -> list[GroupOfAgents]:
    """Return groups without agents for the runs that buy no labels and belong to none of ``groups``.

    Args:
        runs: those of one table.
        groups: of :func:`grouped_curves` for the same runs.
        metrics: columns of ``rounds.parquet``.
        finite: as for :func:`grouped_curves`.

    Raises:
        StateError: as :func:`grouped_curves` does.
    """
    placed = {run.run_id for group in groups for run in group.bounds}
    label = variants(runs)
    kinds: dict[tuple[str, str, str], list[RunRecord]] = {}
    for run in runs:
        if buys_no_labels(run) and run.run_id not in placed:
            cell = cell_of_run(run)
            kinds.setdefault((cell["dataset"], cell["architecture"], label[run.run_id]), []).append(run)
    alone = []
    for (dataset, architecture, variant), own in kinds.items():
        done = [run for run in own if run.finished]
        rounds = collect_rounds(done) if done else pd.DataFrame(columns=["run_id"])
        bound = _upper_bound(own, rounds, metrics, finite=finite)
        size = cell_of_run(own[0])["query_size"]
        alone.append(GroupOfAgents(dataset, architecture, size, variant, (), {}, tuple(own), upper_bound=bound))
    return alone


def areas_over_seeds(curves: AgentCurves, metric: str, seeds: Sequence[int]) -> FloatArray:
    """Return the area under the curve of each of ``seeds``, ``[S]``; infinity where a value is not finite."""
    areas = curves.of_seeds(seeds).known_quantity("area", metric)
    return np.where(np.isnan(areas), np.inf, areas)


def checked_options(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``defaults`` updated by ``options``.

    Raises:
        ConfigurationError: for an option that is not among the defaults.
    """
    for key in options:
        if key not in defaults:
            suggestion = nearest_name(key, list(defaults))
            raise ConfigurationError(
                f"unknown option {key!r} of the table",
                allowed=", ".join(defaults) or "no options",
                remedy=f"did you mean {suggestion!r}?" if suggestion else None,
            )
    return {**defaults, **options}


def partial_notes(runs: Sequence[RunRecord]) -> list[str]:
    """Return what a reader of a partial table must know."""
    waiting = sum(not run.finished for run in runs)
    return [f"Partial: {waiting} of {len(runs)} runs are not finished."] if waiting else []


def few_seeds_notes(counts: Iterable[int], what: str) -> list[str]:
    """Return a warning if bootstrap intervals of ``what`` rest on too few seeds; one seed has no interval.

    Args:
        counts: seeds of every interval.
        what: the intervals, as the subject of a sentence in the plural.
    """
    few = [count for count in counts if 1 < count < ENOUGH_FOR_A_BOOTSTRAP]
    if not few:
        return []
    return [
        f"With {seeds_text(few)} {what} are too narrow and cover less than 95 %: a bootstrap needs at least "
        f"{ENOUGH_FOR_A_BOOTSTRAP} seeds."
    ]


def reference_notes(groups: Sequence[GroupOfAgents], reference: str) -> list[str]:
    """Return what to plan where differences to the agent ``reference`` are missing because it has no run at all."""
    without = [group for group in groups if group.members and reference not in group.members]
    if not without:
        return []
    label = agent_label(reference)
    note = (
        f"No difference to {label} in {len(without)} of {len(groups)} sections: it needs a run of {label} with the "
        "same data, network, query size and settings."
    )
    if any("posterior.sampler=ensemble" in group.variant for group in without):
        note += f" For an ensemble that is a run of {label} with posterior.sampler: ensemble."
    return [note]


def _state(runs: Sequence[RunRecord]) -> str:
    return ", ".join(dict.fromkeys(run.state for run in runs if not run.finished)) or "done"


def _upper_bound(
    bounds: Sequence[RunRecord], rounds: pd.DataFrame, metrics: Sequence[str], *, finite: bool
) -> AgentCurves | None:
    names = [run.run_id for run in bounds if run.finished]
    if not names:
        return None
    frame = rounds[rounds["run_id"].isin(names)]
    # Seeds may have other numbers of training rows: the bound is one round all the same.
    same = frame.assign(labelled=frame["labelled"].max())
    return agent_curves(same, metrics, where=", ".join(names), finite=finite)


def _bounds_of(run: RunRecord, bounds: Sequence[RunRecord], label: Mapping[str, str]) -> tuple[RunRecord, ...]:
    """Return the runs with all labels that have the test rows, the network and, if they differ, the recipe of ``run``.

    Raises:
        ConfigurationError: if they are of several kinds all the same.
    """
    own = flatten(run.spec)
    keys = ("dataset", "architecture", "mode", "labels.split", "labels.published_split", "labels.test_split_seed")
    fitting = [bound for bound in bounds if all(flatten(bound.spec).get(key) == own.get(key) for key in keys)]
    if len({label[bound.run_id] for bound in fitting}) > 1:
        recipe = [key for key in own if key.startswith(("network.", "training."))]
        fitting = [bound for bound in fitting if all(flatten(bound.spec).get(key) == own[key] for key in recipe)]
    if len({label[bound.run_id] for bound in fitting}) > 1:
        raise ConfigurationError(
            "runs with all labels are of several kinds",
            where=run.run_id,
            given=", ".join(bound.run_id for bound in fitting),
            allowed="one kind for each data set, architecture and recipe",
        )
    return tuple(fitting)
