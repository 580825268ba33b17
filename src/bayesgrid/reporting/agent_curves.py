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

__all__ = ["LEVEL", "QUANTITIES", "AgentCurves", "agent_curves", "interval_over_seeds", "paired_curves"]

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

    def known_quantity(self, name: str, metric: str) -> FloatArray:
        """Return the same, ``[S]``, with NaN for a seed whose curve is not finite or too short for the quantity."""
        values = self.by_metric[metric]
        enough = len(self.labelled) > 1 or name == "final"
        known = np.array([enough and bool(np.isfinite(row).all()) for row in values])
        result = np.full(len(self.seeds), np.nan)
        if known.any():
            seeds = [seed for seed, is_known in zip(self.seeds, known, strict=True) if is_known]
            result[known] = self.of_seeds(seeds).quantity(name, metric)
        return result


def agent_curves(rounds: pd.DataFrame, metrics: Sequence[str], *, where: str, finite: bool = True) -> AgentCurves:
    """Return the curves in the rounds of one agent and cell.

    Args:
        rounds: one row a seed and round.
        metrics: columns to read.
        where: names the cell in errors.
        finite: whether a value that is not finite is an error; ranks can use a curve that diverged, it is the worst.

    Raises:
        StateError: if a metric is missing or, unless allowed, not finite, or seeds have different rounds.
    """
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
    by_metric = {}
    for metric in metrics:
        array = ordered[metric].to_numpy(dtype=np.float64).reshape(len(seeds), len(counts))
        if finite and not np.isfinite(array).all():
            seed, count = (int(places[0]) for places in np.nonzero(~np.isfinite(array)))
            raise StateError(
                f"{metric} is missing or not finite at {counts[count]} labels of seed {seeds[seed]}",
                where=where,
                remedy="see the run's log; the fit diverged, or the file is not that of a finished run",
            )
        by_metric[metric] = array
    return AgentCurves(seeds, counts, by_metric)


def paired_curves(first: AgentCurves, second: AgentCurves) -> tuple[AgentCurves, AgentCurves] | None:
    """Return the curves of the seeds that both have, in the same order; None if there is no such seed."""
    seeds = [seed for seed in first.seeds if seed in second.seeds]
    return (first.of_seeds(seeds), second.of_seeds(seeds)) if seeds else None


def interval_over_seeds(values: FloatArray) -> Interval:
    """Return the mean over seeds with its 95 % interval.

    The ends are NaN for a single seed, and all three numbers if a value is not finite.
    """
    if not np.isfinite(values).all():
        return Interval(float("nan"), float("nan"), float("nan"))
    if values.size < 2:
        return Interval(float(values.mean()), float("nan"), float("nan"))
    return seed_interval(values, generator=random_stream(0, "table_interval"), level=LEVEL)
