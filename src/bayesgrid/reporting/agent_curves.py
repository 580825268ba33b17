"""Learning curves as arrays: one per agent, seeds by rounds, and what is read off them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesgrid.errors import StateError
from bayesgrid.metrics.bootstrap import Interval, seed_interval
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.learning_curve import area_under_curve, mean_over_rounds
from bayesgrid.random_streams import random_stream

__all__ = ["LEVEL", "QUANTITIES", "AgentCurves", "agent_curves", "interval_over_seeds"]

LEVEL = 0.95
"""Of every interval in tables, figures and the ledger of claims."""

QUANTITIES: dict[str, Callable[["AgentCurves", str], FloatArray]] = {
    "area": lambda curves, metric: area_under_curve(curves.labelled, curves.by_metric[metric]),
    "mean_over_rounds": lambda curves, metric: mean_over_rounds(curves.labelled, curves.by_metric[metric]),
    "final": lambda curves, metric: curves.by_metric[metric][:, -1],
}


@dataclass(frozen=True)
class AgentCurves:
    """The curves of one agent in one cell: S seeds, R rounds."""

    seeds: tuple[int, ...]
    labelled: tuple[int, ...]
    by_metric: Mapping[str, FloatArray]
    """``[S, R]`` for each metric."""

    def of_seeds(self, seeds: Sequence[int]) -> "AgentCurves":
        """Return the curves of some of the seeds, in the order given."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return AgentCurves(tuple(seeds), self.labelled, {name: values[rows] for name, values in self.by_metric.items()})

    def quantity(self, name: str, metric: str) -> FloatArray:
        """Return ``area``, ``mean_over_rounds`` or ``final`` of a metric for every seed, ``[S]``."""
        return QUANTITIES[name](self, metric)


def agent_curves(rounds: pd.DataFrame, metrics: Sequence[str], *, where: str) -> AgentCurves:
    """Return the curves in the rounds of one agent and cell.

    Raises:
        StateError: if a metric is missing or not finite, or seeds have different rounds; ``where`` names the cell.
    """
    missing = [metric for metric in metrics if metric not in rounds.columns]
    if missing:
        raise StateError(
            f"the rounds lack the metrics {', '.join(missing)}", where=where, given=", ".join(map(str, rounds.columns))
        )
    by_metric = {}
    for metric in metrics:
        wide = rounds.set_index(["seed", "labelled"])[metric].unstack("labelled").sort_index()  # noqa: PD010 (no sums)
        wide = wide.sort_index(axis="columns")
        array = wide.to_numpy(dtype=np.float64)
        if not np.isfinite(array).all():
            seed, labelled = (
                axis[i[0]] for axis, i in zip((wide.index, wide.columns), np.nonzero(~np.isfinite(array)), strict=True)
            )
            raise StateError(
                f"{metric} is missing or not finite at {labelled} labels of seed {seed}",
                where=where,
                remedy="see the run's log; a run with other rounds than its neighbours does not belong in the table",
            )
        by_metric[metric] = array
        seeds, counts = tuple(map(int, wide.index)), tuple(map(int, wide.columns))
    return AgentCurves(seeds, counts, by_metric)


def interval_over_seeds(values: FloatArray) -> Interval:
    """Return the mean over seeds with its 95 % interval, whose ends are NaN for a single seed."""
    if values.size < 2:
        return Interval(float(values.mean()), float("nan"), float("nan"))
    return seed_interval(values, generator=random_stream(0, "table_interval"), level=LEVEL)
