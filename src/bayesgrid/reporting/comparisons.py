"""The small language in which a published claim is put to a test, and the verdict of each of its sentences.

A comparison names data set, architecture, agents and metric; :func:`judge` reads the answer off learning curves. All
metrics are lower-is-better. Differences are paired by seed, and intervals are 95 % Student-t intervals over seeds.
Comparisons of answers to questions are in :mod:`bayesgrid.reporting.answer_comparisons`; their verdicts mean the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Literal, TypeAlias

import numpy as np
import pandas as pd
from pydantic import Field, model_validator
from scipy import stats

from bayesgrid.grid.parameters import Parameters
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.learning_curve import isotonic_violation_by_seed
from bayesgrid.reporting.agent_curves import AgentCurves, agent_curves, interval_over_seeds

__all__ = [
    "BestRank",
    "Change",
    "Comparison",
    "Equal",
    "IsotonicViolation",
    "Measurement",
    "Ordering",
    "SameRanking",
    "ScoreBound",
    "Undecidable",
    "Value",
    "Verdict",
    "interval_text",
    "judge",
    "verdict_below",
    "verdict_of_value",
    "worst_verdict",
]

Verdict: TypeAlias = Literal["reproduced", "within interval", "not reproduced", "not run"]
Metric: TypeAlias = Literal["nll", "nll_standardised", "crps", "mae_median", "mae_mode64", "rmse_mean"]
Quantity: TypeAlias = Literal["area", "mean_over_rounds", "final"]
Architecture: TypeAlias = Literal["spline_flow", "gaussian"]
Rounds: TypeAlias = Mapping[tuple[str, str], pd.DataFrame]
"""The rounds of each (data set, agent)."""


class Undecidable(Exception):
    """The finished runs cannot answer; the message says why."""


class _OnDataset(Parameters):
    dataset: str
    """Data set, as named in ``config/datasets.yaml``."""
    architecture: Architecture = "spline_flow"

    def agents_involved(self) -> tuple[str, ...]:
        raise NotImplementedError

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Return the (data set, agent) pairs whose runs are needed."""
        return tuple((self.dataset, agent) for agent in self.agents_involved())


class Ordering(_OnDataset):
    """Agent ``lower`` has a lower value than agent ``higher``, by more than ``margin``.

    Reproduced if the whole interval of the paired difference lies below ``-margin``; within interval if a part of it
    does; not reproduced if none.
    """

    kind: Literal["ordering"]
    metric: Metric
    quantity: Quantity
    lower: str
    higher: str
    margin: float = Field(default=0.0, ge=0)

    def agents_involved(self) -> tuple[str, ...]:
        """Return the two agents."""
        return self.lower, self.higher


class Value(_OnDataset):
    """An agent's mean is the published number.

    Reproduced if the mean differs from it by at most ``tolerance``; within interval if its interval, widened by the
    tolerance, holds it; otherwise not reproduced.
    """

    kind: Literal["value"]
    metric: Metric
    quantity: Quantity
    agent: str
    number: float
    tolerance: float = Field(gt=0)

    def agents_involved(self) -> tuple[str, ...]:
        """Return the agent."""
        return (self.agent,)


class Change(_OnDataset):
    """An agent's metric rises or falls from one number of labels to another.

    Reproduced if the interval of the paired change lies on the stated side of 0; within interval if a part of it does;
    not reproduced if none.
    """

    kind: Literal["change"]
    metric: Metric
    agent: str
    start: Annotated[int, Field(gt=0)] | Literal["first"]
    end: Annotated[int, Field(gt=0)] | Literal["last"]
    direction: Literal["rises", "falls"]

    def agents_involved(self) -> tuple[str, ...]:
        """Return the agent."""
        return (self.agent,)


class Equal(_OnDataset):
    """Two agents buy the same labels and have bitwise the same curves; reproduced or not reproduced."""

    kind: Literal["equal"]
    agents: Annotated[tuple[str, str], Field(description="the two agents")]

    def agents_involved(self) -> tuple[str, ...]:
        """Return the two agents."""
        return self.agents


class SameRanking(_OnDataset):
    """Two metrics put the agents in the same order.

    Reproduced if they order every pair alike; not reproduced if they order a pair in opposite ways with both intervals
    away from 0; within interval if pairs are ordered in opposite ways, but none so clearly.
    """

    kind: Literal["same_ranking"]
    metrics: tuple[Metric, Metric]
    quantity: Quantity
    agents: Annotated[tuple[str, ...], Field(min_length=2)]

    def agents_involved(self) -> tuple[str, ...]:
        """Return all agents."""
        return self.agents


class ScoreBound(_OnDataset):
    """An agent's scores are no larger than ``bound`` in absolute value, in any round of any seed.

    Reproduced or not reproduced. Scores that are not finite have no size and do not count.
    """

    kind: Literal["score_bound"]
    agent: str
    bound: float = Field(gt=0)

    def agents_involved(self) -> tuple[str, ...]:
        """Return the agent."""
        return (self.agent,)


class IsotonicViolation(_OnDataset):
    """No agent's mean curve rises by ``bound`` or more above its best non-increasing fit.

    Reproduced if for every agent the interval of the rise, over seeds at the round where its mean curve rises most,
    lies below the bound; not reproduced if that of some agent lies above it; otherwise within interval.
    """

    kind: Literal["isotonic_violation"]
    metric: Metric
    agents: Annotated[tuple[str, ...], Field(min_length=1)]
    bound: float = Field(gt=0)

    def agents_involved(self) -> tuple[str, ...]:
        """Return all agents."""
        return self.agents


class BestRank(Parameters):
    """An agent has the lowest mean rank over data sets.

    Agents are ranked within each data set and seed, and ranks are averaged over the data sets. Reproduced if the
    interval of the difference to every other agent lies below 0; not reproduced if that to some agent lies above 0;
    otherwise within interval.
    """

    kind: Literal["best_rank"]
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    architecture: Architecture = "spline_flow"
    metric: Metric
    quantity: Quantity
    agent: str
    others: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _agent_is_not_its_own_rival(self) -> "BestRank":
        if self.agent in self.others:
            raise ValueError(f"{self.agent!r} is compared with itself")
        return self

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Return the (data set, agent) pairs whose runs are needed."""
        return tuple((dataset, agent) for dataset in self.datasets for agent in (self.agent, *self.others))


Comparison: TypeAlias = Ordering | Value | Change | Equal | SameRanking | ScoreBound | IsotonicViolation | BestRank


@dataclass(frozen=True)
class Measurement:
    """What was found."""

    verdict: Verdict
    finding: str
    """The finding in words."""
    interval: Interval
    """Of the quantity that decided; NaN where there is none."""
    seeds: int


_NONE = Interval(float("nan"), float("nan"), float("nan"))


def judge(comparison: Comparison, rounds: Rounds) -> Measurement:
    """Return the verdict of ``comparison`` on the rounds of its cells.

    Raises:
        Undecidable: for fewer than 2 common seeds, or a number of labels that was not recorded.
        StateError: if the rounds lack a metric or have holes.
    """
    match comparison:
        case Ordering():
            return _judge_ordering(comparison, rounds)
        case Value():
            return _judge_value(comparison, rounds)
        case Change():
            return _judge_change(comparison, rounds)
        case Equal():
            return _judge_equal(comparison, rounds)
        case SameRanking():
            return _judge_same_ranking(comparison, rounds)
        case ScoreBound():
            return _judge_score_bound(comparison, rounds)
        case IsotonicViolation():
            return _judge_isotonic_violation(comparison, rounds)
        case BestRank():
            return _judge_best_rank(comparison, rounds)


def verdict_below(interval: Interval, limit: float) -> Verdict:
    """Return whether a quantity is below ``limit``: all of its interval, a part of it, or none."""
    if interval.upper < limit:
        return "reproduced"
    return "within interval" if interval.lower < limit else "not reproduced"


def verdict_of_value(interval: Interval, number: float, tolerance: float) -> Verdict:
    """Return whether a mean is ``number`` up to ``tolerance``, or its interval, widened by the tolerance, holds it."""
    if abs(interval.estimate - number) <= tolerance:
        return "reproduced"
    holds = interval.lower - tolerance <= number <= interval.upper + tolerance
    return "within interval" if holds else "not reproduced"


def worst_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict of a claim with several parts: that of the part which does worst."""
    order: tuple[Verdict, ...] = ("not reproduced", "within interval")
    return next((verdict for verdict in order if verdict in verdicts), "reproduced")


def interval_text(interval: Interval) -> str:
    """Return the estimate with its interval as findings print them."""
    return f"{interval.estimate:.4g} [{interval.lower:.4g}, {interval.upper:.4g}]"


def _judge_ordering(claim: Ordering, rounds: Rounds) -> Measurement:
    lower, higher = _aligned(rounds, claim.cells(), [claim.metric])
    difference = lower.quantity(claim.quantity, claim.metric) - higher.quantity(claim.quantity, claim.metric)
    interval = interval_over_seeds(difference)
    verdict = verdict_below(interval, -claim.margin)
    return Measurement(verdict, f"difference {interval_text(interval)}", interval, difference.size)


def _judge_value(claim: Value, rounds: Rounds) -> Measurement:
    (curves,) = _aligned(rounds, claim.cells(), [claim.metric])
    interval = interval_over_seeds(curves.quantity(claim.quantity, claim.metric))
    verdict = verdict_of_value(interval, claim.number, claim.tolerance)
    return Measurement(verdict, f"mean {interval_text(interval)}", interval, len(curves.seeds))


def _judge_change(claim: Change, rounds: Rounds) -> Measurement:
    (curves,) = _aligned(rounds, claim.cells(), [claim.metric])
    values = curves.by_metric[claim.metric]
    start, end = (
        _recorded(curves, {"first": curves.labelled[0], "last": curves.labelled[-1]}.get(str(count), count))
        for count in (claim.start, claim.end)
    )
    if start >= end:
        raise Undecidable(f"the runs record nothing after {curves.labelled[start]} labels")
    change = values[:, end] - values[:, start]
    interval = interval_over_seeds(change)
    rising = claim.direction == "rises"
    judged = Interval(-interval.estimate, -interval.upper, -interval.lower) if rising else interval
    finding = f"change from {curves.labelled[start]} to {curves.labelled[end]} labels {interval_text(interval)}"
    return Measurement(verdict_below(judged, 0.0), finding, interval, change.size)


def _judge_equal(claim: Equal, rounds: Rounds) -> Measurement:
    metrics = ["nll", "crps", "mae_median"]
    first, second = _aligned(rounds, claim.cells(), metrics)
    frames = [rounds[cell].set_index(["seed", "labelled"]).sort_index() for cell in claim.cells()]
    columns = [name for name in (*metrics, "chosen") if all(name in frame for frame in frames)]
    for seed in first.seeds:
        for position, labelled in enumerate(first.labelled):
            for name in columns:
                if name in metrics:
                    same = bool(
                        first.by_metric[name][first.seeds.index(seed), position]
                        == second.by_metric[name][second.seeds.index(seed), position]
                    )
                else:
                    left, right = (list(frame.loc[(seed, labelled), name]) for frame in frames)
                    same = left == right
                if not same:
                    finding = f"first differ in {name} at {labelled} labels of seed {seed}"
                    return Measurement("not reproduced", finding, _NONE, len(first.seeds))
    finding = f"identical in {', '.join(columns)} at all {len(first.labelled)} rounds"
    return Measurement("reproduced", finding, _NONE, len(first.seeds))


def _judge_same_ranking(claim: SameRanking, rounds: Rounds) -> Measurement:
    curves = dict(zip(claim.agents, _aligned(rounds, claim.cells(), claim.metrics), strict=True))
    means = [[float(c.quantity(claim.quantity, metric).mean()) for c in curves.values()] for metric in claim.metrics]
    opposite, clearly = [], []
    for first, second in combinations(claim.agents, 2):
        intervals = [
            interval_over_seeds(
                curves[first].quantity(claim.quantity, metric) - curves[second].quantity(claim.quantity, metric)
            )
            for metric in claim.metrics
        ]
        if np.sign(intervals[0].estimate) != np.sign(intervals[1].estimate):
            opposite.append(f"{first} and {second}")
            if all(interval.excludes(0.0) for interval in intervals):
                clearly.append(opposite[-1])
    tau = float(stats.kendalltau(*means).statistic)
    finding = f"Kendall's tau {tau:.2f}" + (f"; opposite for {', '.join(opposite)}" if opposite else "")
    verdict: Verdict = "not reproduced" if clearly else "within interval" if opposite else "reproduced"
    seeds = len(next(iter(curves.values())).seeds)
    return Measurement(verdict, finding, Interval(tau, float("nan"), float("nan")), seeds)


def _judge_score_bound(claim: ScoreBound, rounds: Rounds) -> Measurement:
    frame = rounds[claim.cells()[0]]
    missing = [name for name in ("score_min", "score_max") if name not in frame]
    if missing:
        raise Undecidable(f"the rounds do not record {', '.join(missing)}")
    sizes = frame[["score_min", "score_max"]].abs().max(axis=1)
    known = sizes[np.isfinite(sizes)]
    if known.empty:
        raise Undecidable(f"no round of {claim.agent} has a finite score")
    largest = float(known.max())
    verdict: Verdict = "reproduced" if largest <= claim.bound else "not reproduced"
    finding = f"largest absolute score {largest:.2g} in {len(known)} rounds"
    return Measurement(verdict, finding, Interval(largest, float("nan"), float("nan")), frame["seed"].nunique())


def _judge_isotonic_violation(claim: IsotonicViolation, rounds: Rounds) -> Measurement:
    aligned = _aligned(rounds, claim.cells(), [claim.metric], same_labels=False)
    rises = [interval_over_seeds(isotonic_violation_by_seed(curves.by_metric[claim.metric])) for curves in aligned]
    verdict = worst_verdict([verdict_below(rise, claim.bound) for rise in rises])
    worst = max(range(len(rises)), key=lambda position: rises[position].estimate)
    finding = f"largest rise {interval_text(rises[worst])}, of {claim.agents[worst]}"
    return Measurement(verdict, finding, rises[worst], len(aligned[0].seeds))


def _judge_best_rank(claim: BestRank, rounds: Rounds) -> Measurement:
    cells = claim.cells()
    agents = (claim.agent, *claim.others)
    aligned = _aligned(rounds, cells, [claim.metric], same_labels=False)
    values = np.stack([curves.quantity(claim.quantity, claim.metric) for curves in aligned])
    by_dataset: FloatArray = values.reshape(len(claim.datasets), len(agents), -1)
    ranks = stats.rankdata(by_dataset, axis=1).mean(axis=0)
    gaps = [interval_over_seeds(ranks[0] - ranks[position]) for position in range(1, len(agents))]
    # The rival that comes closest decides.
    closest = max(range(len(gaps)), key=lambda position: gaps[position].estimate)
    verdict = worst_verdict([verdict_below(gap, 0.0) for gap in gaps])
    rival = f"difference to {claim.others[closest]} {interval_text(gaps[closest])}"
    finding = f"mean rank {ranks[0].mean():.2f} of {len(agents)}; {rival}"
    return Measurement(verdict, finding, gaps[closest], ranks.shape[1])


def _aligned(
    rounds: Rounds,
    cells: tuple[tuple[str, str], ...],
    metrics: list[str] | tuple[str, ...],
    *,
    same_labels: bool = True,
) -> list[AgentCurves]:
    curves = [agent_curves(rounds[cell], metrics, where=f"{cell[1]} on {cell[0]}") for cell in cells]
    seeds = [seed for seed in curves[0].seeds if all(seed in other.seeds for other in curves)]
    if len(seeds) < 2:
        raise Undecidable(f"an interval needs 2 seeds that all agents share, there are {len(seeds)}")
    if same_labels and len({own.labelled for own in curves}) > 1:
        raise Undecidable("the agents were recorded at different numbers of labels")
    return [own.of_seeds(seeds) for own in curves]


def _recorded(curves: AgentCurves, labelled: int | str) -> int:
    if labelled not in curves.labelled:
        raise Undecidable(f"{labelled} labels were not recorded ({curves.labelled[0]} to {curves.labelled[-1]})")
    return curves.labelled.index(int(labelled))
