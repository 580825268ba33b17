"""Which agents have finished in which group, with their curves; values that are not finite are kept.

Ranks can use a curve that diverged, it is the worst one, where :mod:`bayesgrid.reporting.agent_curves` refuses it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.errors import ConfigurationError, StateError, nearest_name
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.learning_curve import area_under_curve
from bayesgrid.reporting.agent_curves import AgentCurves
from bayesgrid.reporting.collect import RunRecord, cell_of_run, collect_rounds, variants
from bayesgrid.reporting.names import group_heading

__all__ = ["GroupOfAgents", "areas_over_seeds", "checked_options", "grouped_curves", "partial_notes"]


@dataclass(frozen=True)
class GroupOfAgents:
    """The agents that are compared with each other: one data set, architecture, query size and variant."""

    dataset: str
    architecture: str
    query_size: int
    variant: str
    curves: Mapping[str, AgentCurves]
    """Of the agents with a finished run."""
    states: Mapping[str, str]
    """Of every planned agent: ``done``, or the states of its unfinished runs."""

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


def grouped_curves(runs: Sequence[RunRecord], metrics: Sequence[str]) -> list[GroupOfAgents]:
    """Return the groups of ``runs`` in their order, with the curves of what is finished.

    Raises:
        ConfigurationError: if a run has no data set, architecture, query size or agent.
        StateError: if a result file is missing or damaged, lacks a metric, or seeds have different rounds.
    """
    label = variants(runs)
    members: dict[tuple[Any, ...], dict[str, list[RunRecord]]] = {}
    for run in runs:
        cell = cell_of_run(run)
        absent = [key for key, value in cell.items() if value is None]
        if absent:
            raise ConfigurationError(
                f"a table that compares agents needs runs with {', '.join(absent)}",
                where=run.run_id,
                given=f"study {run.study!r}",
            )
        group = (cell["dataset"], cell["architecture"], cell["query_size"], label[run.run_id])
        members.setdefault(group, {}).setdefault(cell["agent"], []).append(run)
    finished = [run for run in runs if run.finished]
    rounds = collect_rounds(finished) if finished else None
    groups = []
    for group, agents in members.items():
        curves, states = {}, {}
        for agent, own in agents.items():
            done = [run.run_id for run in own if run.finished]
            states[agent] = ", ".join(dict.fromkeys(run.state for run in own if not run.finished)) or "done"
            if rounds is not None and done:
                curves[agent] = _curves(rounds[rounds["run_id"].isin(done)], metrics, where=", ".join(done))
        groups.append(GroupOfAgents(*group, curves=curves, states=states))
    return groups


def areas_over_seeds(curves: AgentCurves, metric: str, seeds: Sequence[int]) -> FloatArray:
    """Return the area under the curve of each of ``seeds``, ``[S]``; infinity where a value is not finite."""
    values = curves.of_seeds(seeds).by_metric[metric]
    finite = np.isfinite(values).all(axis=1)
    areas = np.full(len(seeds), np.inf)
    if finite.any():
        areas[finite] = area_under_curve(curves.labelled, values[finite])
    return areas


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
                allowed=", ".join(defaults),
                remedy=f"did you mean {suggestion!r}?" if suggestion else None,
            )
    return {**defaults, **options}


def partial_notes(runs: Sequence[RunRecord]) -> list[str]:
    """Return what a reader of a partial table must know."""
    waiting = sum(not run.finished for run in runs)
    return [f"Partial: {waiting} of {len(runs)} runs are not finished."] if waiting else []


def _curves(rounds: pd.DataFrame, metrics: Sequence[str], *, where: str) -> AgentCurves:
    missing = [metric for metric in metrics if metric not in rounds.columns]
    if missing:
        raise StateError(
            f"the rounds lack the metrics {', '.join(missing)}", where=where, given=", ".join(map(str, rounds.columns))
        )
    ordered = rounds.sort_values(["seed", "labelled"])
    seeds = tuple(sorted(map(int, ordered["seed"].unique())))
    counts = tuple(sorted(map(int, ordered["labelled"].unique())))
    if len(ordered) != len(seeds) * len(counts):
        raise StateError(
            "seeds of one agent have different numbers of labels",
            where=where,
            given=f"{len(ordered)} rounds",
            allowed=f"{len(seeds)} seeds times {len(counts)} rounds",
            remedy="see the run's log; a run with other rounds than its neighbours does not belong in the table",
        )
    arrays = {metric: ordered[metric].to_numpy(dtype=np.float64).reshape(len(seeds), len(counts)) for metric in metrics}
    return AgentCurves(seeds, counts, arrays)
