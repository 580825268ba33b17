"""The comparisons in which a claim about preference models is put to a test, and the verdict of each.

A comparison names a data set, models, rules and a metric that runs publish, of the tested pairs or of a further
evaluation set. Differences are paired by seed, intervals are 95 % Student-t intervals over seeds, and nothing depends
on which end of a metric is better. Metrics that are published in per cent are fractions here.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from pydantic import Field

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import Parameters
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.label_saving import accuracy_grid, label_saving
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL, interval_over_seeds
from bayesgrid.reporting.answer_verdicts import has_settings
from bayesgrid.reporting.collect import RunRecord, collect_metrics
from bayesgrid.reporting.comparisons import (
    Measurement,
    Undecidable,
    Verdict,
    interval_text,
    verdict_below,
    verdict_of_value,
)
from bayesgrid.reporting.preference_rows import paired_values
from bayesgrid.reporting.preference_runs import RuleRuns, preference_cells

__all__ = [
    "PreferenceComparison",
    "PreferenceContender",
    "PreferenceOrdering",
    "PreferenceSaving",
    "PreferenceValue",
    "Untestable",
    "judge_preferences",
]


class PreferenceContender(Parameters):
    """One side of a comparison."""

    model: str
    """Kind of model, as in ``model.kind``."""
    rule: str = "random"
    """How its pairs are chosen."""
    where: dict[str, Any] = {}
    """Further dotted keys of the specification and the values that its runs must have."""

    @property
    def label(self) -> str:
        """Return the name in findings."""
        return ", ".join([self.model, self.rule, *(f"{key} {value}" for key, value in self.where.items())])


class _OnPairs(Parameters):
    dataset: str
    """Set that is learnt from, as named in ``config/datasets.yaml``."""


class _OfMetric(_OnPairs):
    split: str = "test"
    """``test``, or the name of a further evaluation set."""
    metric: str
    """A metric of the last round that runs publish."""


class PreferenceValue(_OfMetric):
    """A contender's mean, or its difference to another that is paired by seed, is the published number.

    Reproduced if the mean differs from it by at most ``tolerance``; within interval if its interval, widened by the
    tolerance, holds it; otherwise not reproduced.
    """

    kind: Literal["preference_value"]
    contender: PreferenceContender
    minus: PreferenceContender | None = None
    """The other, where a difference was published."""
    number: float
    tolerance: float = Field(gt=0)


class PreferenceOrdering(_OfMetric):
    """Contender ``lower`` has a lower value than ``higher``, by more than ``margin``.

    Reproduced if the whole interval of the paired difference lies below ``-margin``; within interval if a part of it
    does; not reproduced if none.
    """

    kind: Literal["preference_ordering"]
    lower: PreferenceContender
    higher: PreferenceContender
    margin: float = Field(default=0.0, ge=0)


class PreferenceSaving(_OnPairs):
    """A rule reaches the accuracies of another with at least ``share`` fewer labels, whichever accuracy is asked for.

    Asked at the accuracies of the grid of ``bayesgrid.metrics.label_saving`` that the reference reaches on all seeds.
    Reproduced if the whole interval lies above ``share`` at every one of them; not reproduced if it lies below at every
    one; otherwise within interval.
    """

    kind: Literal["preference_saving"]
    contender: PreferenceContender
    reference: PreferenceContender
    share: float = Field(gt=0, lt=1)


class Untestable(Parameters):
    """A claim that no run of this project can decide; it is in the ledger so that a reader finds out why."""

    kind: Literal["untestable"]
    reason: Annotated[str, Field(min_length=10)]


PreferenceComparison: TypeAlias = PreferenceValue | PreferenceOrdering | PreferenceSaving | Untestable


def judge_preferences(
    comparison: PreferenceValue | PreferenceOrdering | PreferenceSaving | Untestable, runs: Sequence[RunRecord]
) -> Measurement:
    """Return the verdict of ``comparison``.

    Args:
        comparison: of a claim.
        runs: those that may decide it, finished or not.

    Raises:
        Undecidable: if a run that is needed is missing or not finished, does not publish the metric, or fewer than 2
            seeds are shared.
        ConfigurationError: if a contender has runs with different hyperparameters.
        StateError: if a result file is missing or damaged.
    """
    match comparison:
        case PreferenceValue():
            sides = [comparison.contender, *([] if comparison.minus is None else [comparison.minus])]
            values = _published(comparison, runs, *sides)
            interval = interval_over_seeds((values[0] - values[1] if len(values) > 1 else values[0]).to_numpy())
            verdict = verdict_of_value(interval, comparison.number, comparison.tolerance)
            what = "mean" if comparison.minus is None else "difference"
            return Measurement(verdict, f"{what} {interval_text(interval)}", interval, len(values[0]))
        case PreferenceOrdering():
            lower, higher = _published(comparison, runs, comparison.lower, comparison.higher)
            interval = interval_over_seeds((lower - higher).to_numpy())
            verdict = verdict_below(interval, -comparison.margin)
            return Measurement(verdict, f"difference {interval_text(interval)}", interval, len(lower))
        case PreferenceSaving():
            return _judge_saving(comparison, runs)
        case Untestable():
            raise Undecidable(f"untestable here: {comparison.reason}")


def _judge_saving(claim: PreferenceSaving, runs: Sequence[RunRecord]) -> Measurement:
    rows = [_row(claim.dataset, runs, one) for one in (claim.contender, claim.reference)]
    pair = paired_values(*(row.curves(["accuracy"]) for row in rows))
    if pair is None or len(pair[0].seeds) < 2 or len(pair[0].labelled) < 2:
        raise Undecidable("an interval needs 2 seeds and 2 rounds that both share")
    own, other = (side.by_metric["accuracy"] for side in pair)
    found = label_saving(
        pair[0].labelled,
        own,
        other,
        accuracy_grid(pair[0].labelled, other),
        generator=random_stream(0, "table_interval"),
        level=LEVEL,
    )
    asked = found.reference_unreached == 0
    if not asked.any():
        raise Undecidable(f"{claim.reference.label} reaches none of the accuracies on all seeds")
    lower, upper = found.lower[asked], found.upper[asked]
    verdict: Verdict = "within interval"
    if (lower > claim.share).all():
        verdict = "reproduced"
    elif (upper < claim.share).all():
        verdict = "not reproduced"
    ends = [f"{100 * found.accuracy[asked][place]:.1f} %" for place in (0, -1)]
    saved = " to ".join(dict.fromkeys(f"{found.estimate[asked][place]:.2f}" for place in (0, -1)))
    finding = f"share of labels saved {saved} at accuracies {' to '.join(dict.fromkeys(ends))}"
    middle = int(asked.sum()) // 2
    interval = Interval(float(found.estimate[asked][middle]), float(lower[middle]), float(upper[middle]))
    return Measurement(verdict, f"{finding}; {interval_text(interval)} in their middle", interval, len(pair[0].seeds))


def _published(
    claim: PreferenceValue | PreferenceOrdering, runs: Sequence[RunRecord], *contenders: PreferenceContender
) -> list["pd.Series[float]"]:
    # All are looked up before the first is read, so that what is not run costs nothing.
    rows = [_row(claim.dataset, runs, one) for one in contenders]
    found = []
    for contender, row in zip(contenders, rows, strict=True):
        frame = collect_metrics(row.runs)
        own = frame[(frame["split"] == claim.split) & (frame["metric"] == claim.metric)].set_index("seed")["value"]
        if own.empty:
            where = "the tested pairs" if claim.split == "test" else claim.split
            raise Undecidable(f"the runs of {contender.label} do not publish {claim.metric} of {where}")
        found.append(own)
    seeds = [seed for seed in found[0].index if all(seed in other.index for other in found)]
    if len(seeds) < 2:
        raise Undecidable(f"an interval needs 2 seeds that all contenders share, there are {len(seeds)}")
    values = [own.loc[seeds].astype(np.float64) for own in found]
    if not all(np.isfinite(own).all() for own in values):
        raise Undecidable(f"{claim.metric} is not finite")
    return values


def _row(dataset: str, runs: Sequence[RunRecord], contender: PreferenceContender) -> RuleRuns:
    settings = {"dataset": dataset, "model.kind": contender.model, "acquisition.rule": contender.rule}
    own = [run for run in runs if has_settings(run, settings | contender.where)]
    if not own:
        raise Undecidable(f"no such run of {contender.label} on {dataset} in the experiment")
    rows = [row for cell in preference_cells(own) for row in cell.rows]
    if len(rows) > 1:
        raise ConfigurationError(
            "a claim selects runs with different hyperparameters",
            where=f"{contender.label} on {dataset}",
            given=", ".join(run.run_id for row in rows for run in row.runs[:1]),
            remedy="tell them apart with `where`, such as {model.dimension: 6}",
        )
    (row,) = rows
    waiting = [run for run in row.runs if not run.finished]
    if waiting:
        raise Undecidable(
            f"{len(waiting)} of {len(row.runs)} runs of {contender.label} on {dataset}: {waiting[0].state}"
        )
    return row
