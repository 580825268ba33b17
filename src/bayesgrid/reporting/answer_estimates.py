"""Every metric of every method of a cell on common resamples: means, paired differences, and the set of the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayesgrid.errors import StateError
from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS, AnswerScores
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.crossed_bootstrap import (
    CrossedEstimate,
    ExampleStatistic,
    Resampled,
    crossed_estimate,
    resampled_statistics,
)
from bayesgrid.metrics.multiple_comparisons import holm_adjusted
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL, interval_over_seeds
from bayesgrid.reporting.answer_names import HIGHER_IS_BETTER, LOWER_IS_BETTER
from bayesgrid.reporting.answer_predictions import AnswerPredictions, read_answer_metrics, read_answer_predictions
from bayesgrid.reporting.answer_runs import AnswerCell, MethodRuns

__all__ = ["CellEstimates", "Entry", "cell_estimates", "reference_entry"]

SIGNIFICANT = 1 - LEVEL


@dataclass(frozen=True)
class Entry:
    """One row of a comparison: a method, with its logits as they are or after temperature scaling."""

    row: MethodRuns
    temperature: bool = False

    @property
    def label(self) -> str:
        """Return the printed name."""
        return self.row.label(temperature=self.temperature)

    @property
    def columns(self) -> dict[str, object]:
        """Return the entry's columns of a table."""
        return {"method": self.row.method, "variant": self.row.variant, "temperature": self.temperature}


@dataclass(frozen=True)
class CellEstimates:
    """The entries of one cell with their resampled metrics; unfinished methods are entries without any."""

    cell: AnswerCell
    entries: tuple[Entry, ...]
    examples: int
    seeds: Mapping[Entry, tuple[int, ...]]
    resampled: Mapping[tuple[Entry, str], Resampled]
    published: Mapping[Entry, Mapping[str, Mapping[int, float]]]
    """Metrics as the runs published them, for what is no function of the test predictions."""

    def known(self, entry: Entry, metric: str) -> bool:
        """Return whether the metric has a value for the entry."""
        return (entry, metric) in self.resampled or metric in self.published.get(entry, {})

    def estimate(self, entry: Entry, metric: str) -> Interval:
        """Return the mean over seeds and its interval: over seeds and questions where predictions give the metric."""
        if (entry, metric) in self.resampled:
            return _estimated(self.resampled[entry, metric]).interval
        values = self.published.get(entry, {}).get(metric, {})
        return interval_over_seeds(np.array(list(values.values()) or [np.nan]))

    def difference(self, entry: Entry, reference: Entry, metric: str) -> CrossedEstimate | None:
        """Return entry minus reference on the seeds of both; None if a metric or a common seed is missing."""
        if (entry, metric) not in self.resampled or (reference, metric) not in self.resampled:
            return None
        common = [seed for seed in self.seeds[entry] if seed in self.seeds[reference]]
        if not common:
            return None
        pair = [
            self.resampled[one, metric].of_seeds([self.seeds[one].index(seed) for seed in common])
            for one in (entry, reference)
        ]
        return _estimated(pair[0].minus(pair[1]))

    def differences(self, reference: Entry, metric: str) -> dict[Entry, tuple[CrossedEstimate, float]]:
        """Return the difference of every other entry to ``reference`` with its p-value after Holm over the entries."""
        found = {
            entry: difference
            for entry in self.entries
            if entry != reference and (difference := self.difference(entry, reference, metric)) is not None
        }
        tested = [entry for entry, difference in found.items() if np.isfinite(difference.p_value)]
        adjusted = dict.fromkeys(found, float("nan"))
        if tested:
            values = holm_adjusted([found[entry].p_value for entry in tested])
            adjusted.update(zip(tested, map(float, values), strict=True))
        return {entry: (difference, adjusted[entry]) for entry, difference in found.items()}

    def best(self, metric: str) -> frozenset[Entry]:
        """Return the entry of the best mean and all whose paired difference to it is not significant after Holm."""
        sign = 1 if metric in LOWER_IS_BETTER else -1 if metric in HIGHER_IS_BETTER else 0
        means = {
            entry: sign * self.estimate(entry, metric).estimate
            for entry in self.entries
            if sign and (entry, metric) in self.resampled
        }
        means = {entry: mean for entry, mean in means.items() if np.isfinite(mean)}
        if len(means) < 2:
            return frozenset()
        first = min(means, key=lambda entry: means[entry])
        others = self.differences(first, metric)
        return frozenset({first, *(entry for entry, (_, p_value) in others.items() if p_value > SIGNIFICANT)})


def cell_estimates(
    cell: AnswerCell, metrics: Sequence[str], *, temperature: bool = False, replicates: int = 10_000
) -> CellEstimates:
    """Return the metrics of all methods of ``cell``.

    Args:
        cell: some of its runs may be unfinished.
        metrics: names of ``ANSWER_STATISTICS``, computed from predictions, or of published metrics.
        temperature: whether every method has a second entry with scaled logits; the scale is the published one.
        replicates: resamples of the questions, common to all entries.

    Raises:
        StateError: if a file is missing or damaged, or methods answered different questions.
    """
    entries: list[Entry] = []
    answered: list[tuple[Entry, AnswerPredictions]] = []
    predictions: dict[Entry, AnswerPredictions] = {}
    published: dict[Entry, dict[str, dict[int, float]]] = {}
    statistics: dict[tuple[Entry, str], list[ExampleStatistic]] = {}
    wanted = [metric for metric in metrics if metric in ANSWER_STATISTICS]
    for row in cell.rows:
        plain = Entry(row)
        entries.append(plain)
        if not row.finished:
            continue
        trials = [_Trial(read_answer_predictions(own), read_answer_metrics(own)) for own in row.finished_trials]
        answered += [(plain, own.predictions) for own in trials]
        predictions[plain] = trials[0].predictions
        published[plain] = _published(trials, [name for name in metrics if name not in ANSWER_STATISTICS])
        statistics |= {(plain, metric): _statistics(trials, metric) for metric in wanted}
        if temperature and all(own.scaled for own in trials):
            scaled = Entry(row, temperature=True)
            entries.append(scaled)
            predictions[scaled] = predictions[plain]
            statistics |= {(scaled, metric): _statistics(trials, metric, scaled=True) for metric in wanted}
    _same_questions(cell, answered)
    examples = len(next(iter(predictions.values())).examples) if predictions else 0
    resampled = {}
    if statistics:
        resampled = resampled_statistics(
            statistics, [examples], generator=random_stream(0, "table_questions"), replicates=replicates
        )
    seeds = {entry: own.seeds for entry, own in predictions.items()}
    return CellEstimates(cell, tuple(entries), examples, seeds, resampled, published)


def reference_entry(entries: Sequence[Entry], method: str, *, temperature: bool = False) -> Entry | None:
    """Return the entry of ``method`` that others are compared with: the one without a variant, or the first."""
    own = [entry for entry in entries if entry.row.method == method and entry.temperature == temperature]
    return next((entry for entry in own if not entry.row.variant), own[0] if own else None)


@dataclass(frozen=True)
class _Trial:
    """One repetition of a method's evaluation with other draws."""

    predictions: AnswerPredictions
    metrics: Mapping[str, Mapping[int, float]]

    @property
    def scaled(self) -> bool:
        """Return whether every seed has an inverse temperature."""
        return all(seed in self.metrics.get("inverse_temperature", {}) for seed in self.predictions.seeds)

    def scores(self, seed: int, *, scaled: bool) -> AnswerScores:
        """Return the scores of one seed, with logits as they are or scaled."""
        inverse = self.metrics["inverse_temperature"][seed] if scaled else 1.0
        return self.predictions.scores(seed, inverse_temperature=inverse)


def _statistics(trials: Sequence[_Trial], metric: str, *, scaled: bool = False) -> list[ExampleStatistic]:
    """Return the statistic of every seed: the mean over its trials, which are no further seeds."""
    return [
        _mean_of([ANSWER_STATISTICS[metric](own.scores(seed, scaled=scaled)) for own in trials])
        for seed in trials[0].predictions.seeds
    ]


def _mean_of(statistics: Sequence[ExampleStatistic]) -> ExampleStatistic:
    if len(statistics) == 1:
        return statistics[0]
    return lambda counts: np.mean([statistic(counts) for statistic in statistics], axis=0)


def _published(trials: Sequence[_Trial], metrics: Sequence[str]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for metric in metrics:
        by_seed = [own.metrics[metric] for own in trials if metric in own.metrics]
        if by_seed:
            found[metric] = {seed: float(np.mean([own[seed] for own in by_seed if seed in own])) for seed in by_seed[0]}
    return found


def _estimated(resampled: Resampled) -> CrossedEstimate:
    return crossed_estimate(resampled, generator=random_stream(0, "table_seeds"), level=LEVEL)


def _same_questions(cell: AnswerCell, answered: Sequence[tuple[Entry, AnswerPredictions]]) -> None:
    kinds: dict[tuple[str, ...], Entry] = {}
    for entry, own in answered:
        kinds.setdefault(own.examples, entry)
    if len(kinds) > 1:
        (first, one), (second, two), *_ = kinds.items()
        shared = len({*first} & {*second})
        raise StateError(
            "methods that are compared answered different questions",
            where=cell.heading,
            given=f"{one.label}: {len(first)} questions; {two.label}: {len(second)}, {shared} shared",
            remedy="evaluate all methods on the same version of the data",
        )
