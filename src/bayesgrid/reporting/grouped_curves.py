"""Which agents are compared with each other: runs by group and agent, with the curves that are finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.errors import ConfigurationError, nearest_name
from bayesgrid.grid.parameters import flatten
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.reporting.agent_curves import AgentCurves, agent_curves
from bayesgrid.reporting.collect import RunRecord, buys_no_labels, cell_of_run, collect_rounds, variants
from bayesgrid.reporting.names import group_heading, seeds_text

__all__ = [
    "GroupOfAgents",
    "areas_over_seeds",
    "checked_options",
    "grouped_curves",
    "grouped_runs",
    "partial_notes",
]


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
        return group_heading(self.dataset, self.architecture, self.query_size, self.variant)

    @property
    def extent(self) -> str:
        """Return the labels and seeds of what is finished, as printed; empty if nothing is."""
        own = list(self.curves.values())
        if not own:
            return ""
        first, last = min(c.labelled[0] for c in own), max(c.labelled[-1] for c in own)
        return f"{first:,} to {last:,} labels · {seeds_text(len(curves.seeds) for curves in own)}"


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
        names = [run.run_id for run in group.bounds if run.finished]
        bound = None
        if names:
            frame = rounds[rounds["run_id"].isin(names)]
            # Seeds may have other numbers of training rows: the bound is one round all the same.
            same = frame.assign(labelled=frame["labelled"].max())
            bound = agent_curves(same, metrics, where=", ".join(names), finite=finite)
        groups.append(replace(group, curves=curves, upper_bound=bound))
    return groups


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


def _state(runs: Sequence[RunRecord]) -> str:
    return ", ".join(dict.fromkeys(run.state for run in runs if not run.finished)) or "done"


def _bounds_of(run: RunRecord, bounds: Sequence[RunRecord], label: Mapping[str, str]) -> tuple[RunRecord, ...]:
    """Return the runs with all labels that have the data, the network and, if they differ in it, the recipe of ``run``.

    Raises:
        ConfigurationError: if they are of several kinds all the same.
    """
    own = flatten(run.spec)
    keys = ("dataset", "architecture", "mode")
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
