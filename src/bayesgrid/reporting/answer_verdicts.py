"""The verdict of a comparison of answers, from the runs that may decide it."""

from collections.abc import Mapping, Sequence
from typing import Any

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import flatten
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.reporting.agent_curves import interval_over_seeds
from bayesgrid.reporting.answer_comparisons import (
    AnswerComparison,
    AnswerEqual,
    AnswerOrdering,
    AnswerRange,
    AnswerValue,
    Contender,
    DataFreeWidth,
    MetricComparison,
)
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

__all__ = ["has_settings", "judge_answers"]


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
    runs: Sequence[RunRecord], comparison: MetricComparison, contender: Contender, dataset: str
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
