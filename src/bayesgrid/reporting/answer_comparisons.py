"""Comparisons that put a claim about answers to a test, and the verdict of each.

A comparison names model, data sets, methods and a metric of ``ANSWER_STATISTICS``; :func:`judge_answers` computes it
from finished evaluations. Nothing depends on which end of a metric is better: a comparison says which value is lower.
Differences are paired by seed and question, and intervals are 95 % for new seeds and new questions (crossed bootstrap).
Metrics that are published in per cent are fractions here.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from bayesgrid.errors import ConfigurationError, did_you_mean
from bayesgrid.grid.parameters import Parameters, flatten
from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.reporting.agent_curves import interval_over_seeds
from bayesgrid.reporting.answer_evidence import AnswerEvidence, SeededScores, mean_over_data_sets, scores_difference
from bayesgrid.reporting.answer_names import MEAN_SUFFIX
from bayesgrid.reporting.answer_runs import answer_cells
from bayesgrid.reporting.collect import RunRecord, collect_metrics
from bayesgrid.reporting.comparisons import (
    Measurement,
    Undecidable,
    Verdict,
    interval_text,
    verdict_below,
    verdict_of_value,
    worst_verdict,
)

__all__ = [
    "AnswerComparison",
    "AnswerEqual",
    "AnswerOrdering",
    "AnswerRange",
    "AnswerValue",
    "Contender",
    "DataFreeWidth",
    "has_settings",
    "judge_answers",
]


def _known_metric(name: str) -> str:
    if name not in ANSWER_STATISTICS:
        remedy = did_you_mean(name, ANSWER_STATISTICS)
        raise ValueError(f"no metric of answers: {name!r}" + (f"; {remedy}" if remedy else ""))
    return name


AnswerMetric: TypeAlias = Annotated[str, AfterValidator(_known_metric)]


class Contender(Parameters):
    """One side of a comparison; a bare name stands for a method with nothing else to say about it."""

    method: str
    """Name in the specification; ``blob_mean`` is ``blob`` that answers with its posterior mean."""
    temperature: bool = False
    """Whether its logits are scaled by the temperature fitted to the held-out labels."""
    where: dict[str, Any] = {}
    """Dotted keys of the specification and the values that its runs must have."""
    dataset: str | None = None
    """Data set it was trained on, in place of the comparison's."""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """Return the name in findings."""
        settings = [f"{key} {value}" for key, value in self.where.items()]
        return ", ".join([self.method, *settings, *(["temperature"] if self.temperature else [])])


class _OnAnswers(Parameters):
    model: str
    """Base model, as named in ``config/models.yaml``."""
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Data sets trained on; values are averaged over them, each with the same weight."""
    evaluation: str | None = None
    """Data set whose questions are answered; the one trained on by default."""

    def contenders(self) -> tuple[Contender, ...]:
        """Return the sides of the comparison."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _one_place_each(self) -> "_OnAnswers":
        if len(self.datasets) > 1 and any(contender.dataset for contender in self.contenders()):
            raise ValueError("a contender with a data set of its own cannot be averaged over several")
        return self


class AnswerValue(_OnAnswers):
    """A method's mean is the published number.

    Reproduced if the mean differs from it by at most ``tolerance``; within interval if its interval, widened by the
    tolerance, holds it; otherwise not reproduced.
    """

    kind: Literal["answer_value"]
    metric: AnswerMetric
    method: Contender
    number: float
    tolerance: float = Field(gt=0)

    def contenders(self) -> tuple[Contender, ...]:
        """Return the method."""
        return (self.method,)


class AnswerRange(_OnAnswers):
    """A method's mean lies between two bounds, such as those around the accuracy of a guess.

    Reproduced if its whole interval does; within interval if a part of it does; not reproduced if none.
    """

    kind: Literal["answer_range"]
    metric: AnswerMetric
    method: Contender
    lowest: float | None = None
    highest: float | None = None

    @model_validator(mode="after")
    def _some_bound(self) -> "AnswerRange":
        lowest, highest = self.bounds()
        if (self.lowest is None and self.highest is None) or lowest >= highest:
            raise ValueError("a range needs a bound, and 'lowest' below 'highest'")
        return self

    def contenders(self) -> tuple[Contender, ...]:
        """Return the method."""
        return (self.method,)

    def bounds(self) -> tuple[float, float]:
        """Return both bounds, infinite where there is none."""
        infinity = float("inf")
        return (
            -infinity if self.lowest is None else self.lowest,
            infinity if self.highest is None else self.highest,
        )


class AnswerOrdering(_OnAnswers):
    """Method ``lower`` has a lower value than method ``higher``, by more than ``margin``.

    Reproduced if the whole interval of the difference lies below ``-margin``; within interval if a part of it does; not
    reproduced if none. With a negative margin, ``lower`` may be higher by that much: it is no worse.
    """

    kind: Literal["answer_ordering"]
    metric: AnswerMetric
    lower: Contender
    higher: Contender
    margin: float = 0.0

    @model_validator(mode="after")
    def _two_contenders(self) -> "AnswerOrdering":
        if self.lower == self.higher:
            raise ValueError(f"{self.lower.label!r} is compared with itself")
        return self

    def contenders(self) -> tuple[Contender, ...]:
        """Return the two methods."""
        return self.lower, self.higher


class AnswerEqual(_OnAnswers):
    """Two methods have the same values up to ``tolerance``.

    Reproduced if the interval of the difference lies within the tolerance for every metric; not reproduced if that of
    some metric lies outside; otherwise within interval.
    """

    kind: Literal["answer_equal"]
    metrics: Annotated[tuple[AnswerMetric, ...], Field(min_length=1)]
    methods: tuple[Contender, Contender]
    tolerance: float = Field(gt=0)

    def contenders(self) -> tuple[Contender, ...]:
        """Return the two methods."""
        return self.methods


class DataFreeWidth(Parameters):
    """A posterior is as wide as its objective makes it without any data; decided by fits, not evaluations.

    Of the ratio of the mean standard deviation to that at the end of the path without data: reproduced if its interval
    over seeds lies within ``tolerance`` of 1; within interval if a part of it does; not reproduced if none.
    """

    kind: Literal["data_free_width"]
    model: str
    """Base model, as named in ``config/models.yaml``."""
    dataset: str
    """Data set trained on."""
    method: Contender
    tolerance: float = Field(gt=0)


AnswerComparison: TypeAlias = AnswerValue | AnswerRange | AnswerOrdering | AnswerEqual | DataFreeWidth


def has_settings(run: RunRecord, where: Mapping[str, Any]) -> bool:
    """Return whether the specification of ``run`` has the values of ``where``, by dotted key."""
    if not where:
        return True
    settings = flatten(run.spec)
    return all(settings.get(key) == value for key, value in where.items())


def judge_answers(comparison: AnswerComparison, runs: Sequence[RunRecord], evidence: AnswerEvidence) -> Measurement:
    """Return the verdict of ``comparison``.

    Args:
        comparison: of a claim.
        runs: those that may decide it, finished or not.
        evidence: reads the finished ones.

    Raises:
        Undecidable: if a run that is needed is missing or not finished, or fewer than 2 seeds are shared.
        ConfigurationError: if a method has runs with different hyperparameters.
        StateError: if a result file is missing or damaged.
    """
    if isinstance(comparison, DataFreeWidth):
        return _judge_width(comparison, runs)
    # All are looked up before the first is read, so that what is not run costs nothing.
    selected = [
        [_selected(runs, comparison, contender, dataset) for contender in comparison.contenders()]
        for dataset in comparison.datasets
    ]

    def scores(metric: str) -> SeededScores:
        by_dataset = []
        for own in selected:
            sides = [evidence.metric(found, evaluation, metric, temperature=t) for found, evaluation, t in own]
            by_dataset.append(sides[0] if len(sides) == 1 else scores_difference(*sides))
        return mean_over_data_sets(by_dataset)

    match comparison:
        case AnswerValue():
            found = scores(comparison.metric)
            interval = found.interval()
            verdict = verdict_of_value(interval, comparison.number, comparison.tolerance)
            return _measurement(verdict, "mean", interval, found)
        case AnswerRange():
            found = scores(comparison.metric)
            interval = found.interval()
            return _measurement(_verdict_between(interval, *comparison.bounds()), "mean", interval, found)
        case AnswerOrdering():
            found = scores(comparison.metric)
            interval = found.interval()
            return _measurement(verdict_below(interval, -comparison.margin), "difference", interval, found)
        case AnswerEqual():
            every = {metric: scores(metric) for metric in comparison.metrics}
            intervals = {metric: own.interval() for metric, own in every.items()}
            largest = max(intervals, key=lambda metric: abs(intervals[metric].estimate))
            limit = comparison.tolerance
            verdict = worst_verdict([_verdict_between(one, -limit, limit) for one in intervals.values()])
            return _measurement(verdict, f"largest difference, of {largest},", intervals[largest], every[largest])


def _judge_width(comparison: DataFreeWidth, runs: Sequence[RunRecord]) -> Measurement:
    fits = _finished_runs(runs, comparison.model, comparison.method, comparison.dataset, None)
    frame = collect_metrics(fits)
    wide = frame[frame["split"] == "train"].pivot_table(index="seed", columns="metric", values="value")
    missing = [name for name in ("mean_deviation", "data_free_deviation") if name not in wide]
    if missing:
        raise Undecidable(f"the fits do not record {', '.join(missing)}")
    ratio = (wide["mean_deviation"] / wide["data_free_deviation"]).to_numpy(dtype=float)
    if ratio.size < 2:
        raise Undecidable(f"an interval needs 2 seeds, there are {ratio.size}")
    interval = interval_over_seeds(ratio)
    verdict = _verdict_between(interval, 1 - comparison.tolerance, 1 + comparison.tolerance)
    return Measurement(verdict, f"ratio of widths {interval_text(interval)}", interval, ratio.size)


def _selected(
    runs: Sequence[RunRecord], comparison: _OnAnswers, contender: Contender, dataset: str
) -> tuple[tuple[RunRecord, ...], str, bool]:
    trained = contender.dataset or dataset
    evaluation = comparison.evaluation or trained
    found = _finished_runs(runs, comparison.model, contender, trained, evaluation)
    return found, evaluation, contender.temperature


def _finished_runs(
    runs: Sequence[RunRecord], model: str, contender: Contender, dataset: str, evaluation: str | None
) -> tuple[RunRecord, ...]:
    wanted = {"model": model, "dataset": dataset, "method": contender.method.removesuffix(MEAN_SUFFIX)}
    own = [
        run
        for run in runs
        if all(run.spec.get(key) == value for key, value in wanted.items())
        and (evaluation is None or _evaluated(run.spec) == evaluation)
        and has_settings(run, contender.where)
    ]
    place = f"{contender.label} on {dataset}" + ("" if evaluation in (None, dataset) else f", answering {evaluation}")
    rows = [row for cell in answer_cells(own) for row in cell.rows if row.method == contender.method]
    if not rows:
        raise Undecidable(f"no such run of {place} with {model} in the experiment")
    if len(rows) > 1:
        raise ConfigurationError(
            "a claim selects runs with different hyperparameters",
            where=f"{place} with {model}",
            given="; ".join(row.variant or "(the others)" for row in rows),
            remedy="tell them apart with `where`, such as {width.parent: blob}",
        )
    (row,) = rows
    waiting = [run for run in row.runs if not run.finished]
    if waiting:
        raise Undecidable(f"{len(waiting)} of {len(row.runs)} runs of {place} with {model}: {waiting[0].state}")
    return row.runs


def _evaluated(spec: Mapping[str, Any]) -> Any:
    return (spec.get("evaluation") or {}).get("dataset") or spec.get("dataset")


def _verdict_between(interval: Interval, lowest: float, highest: float) -> Verdict:
    if interval.lower >= lowest and interval.upper <= highest:
        return "reproduced"
    return "within interval" if interval.upper >= lowest and interval.lower <= highest else "not reproduced"


def _measurement(verdict: Verdict, what: str, interval: Interval, scores: SeededScores) -> Measurement:
    return Measurement(verdict, f"{what} {interval_text(interval)}", interval, len(scores.seeds))
