"""Every metric of every method of a cell on common resamples: means, paired differences, and the set of the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayesgrid.errors import StateError
from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS
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
from bayesgrid.reporting.answer_intervals import within_range
from bayesgrid.reporting.answer_names import HIGHER_IS_BETTER, LOWER_IS_BETTER
from bayesgrid.reporting.answer_predictions import AnswerPredictions
from bayesgrid.reporting.answer_runs import AnswerCell, MethodRuns
from bayesgrid.reporting.answer_trials import Trial, read_trials, trial_statistics

__all__ = ["BIASED_UPWARDS", "CellEstimates", "Entry", "cell_estimates", "reference_entry"]

SIGNIFICANT = 1 - LEVEL

BIASED_UPWARDS = frozenset({"ece", "ece_adaptive"})
"""Metrics whose expectation is above their value on all questions, by more for less confident predictions."""


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
        return self.row.columns(temperature=self.temperature)


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
        """Return the mean over seeds and its interval: over seeds and questions where predictions give the metric.

        It does not leave the values that the metric can have.
        """
        if (entry, metric) in self.resampled:
            return within_range(metric, _estimated(self.resampled[entry, metric]).interval)
        values = self.published.get(entry, {}).get(metric, {})
        return within_range(metric, interval_over_seeds(np.array(list(values.values()) or [np.nan])))

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
        """Return the entry of the best mean and all but those that are significantly worse in pairs, after Holm.

        An entry that cannot be compared, for want of a common seed or a standard error, is not known to be worse.
        Errors of calibration that are biased upwards have no best; of the debiased one, negative means are all 0.
        """
        if metric in BIASED_UPWARDS:
            return frozenset()
        sign = 1 if metric in LOWER_IS_BETTER else -1 if metric in HIGHER_IS_BETTER else 0
        means = {
            entry: sign * self.estimate(entry, metric).estimate
            for entry in self.entries
            if sign and (entry, metric) in self.resampled
        }
        means = {entry: mean for entry, mean in means.items() if np.isfinite(mean)}
        if len(means) < 2:
            return frozenset()
        if metric == "ece_debiased":
            means = {entry: max(mean, 0.0) for entry, mean in means.items()}
        first = min(means, key=lambda entry: means[entry])
        others = self.differences(first, metric)
        compared = [one for one in means if one in others and means[one] > means[first]]
        worse = {one for one in compared if others[one][1] <= SIGNIFICANT}
        return frozenset(means) - worse


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
        trials = read_trials(row.finished)
        answered += [(plain, own.predictions) for own in trials]
        predictions[plain] = trials[0].predictions
        published[plain] = _published(trials, [name for name in metrics if name not in ANSWER_STATISTICS])
        statistics |= {(plain, metric): trial_statistics(trials, metric) for metric in wanted}
        if temperature and all(own.scaled for own in trials):
            scaled = Entry(row, temperature=True)
            entries.append(scaled)
            predictions[scaled] = predictions[plain]
            statistics |= {(scaled, metric): trial_statistics(trials, metric, scaled=True) for metric in wanted}
    _same_questions(cell, answered)
    examples = len(next(iter(predictions.values())).examples) if predictions else 0
    resampled = {}
    if statistics:
        resampled = resampled_statistics(
            statistics,
            [examples],
            generator=random_stream(0, "table_questions"),
            replicates=replicates,
            groups=_groups([own for _, own in answered]),
        )
    seeds = {entry: own.seeds for entry, own in predictions.items()}
    return CellEstimates(cell, tuple(entries), examples, seeds, resampled, published)


def reference_entry(entries: Sequence[Entry], method: str, *, temperature: bool = False) -> Entry | None:
    """Return the entry of ``method`` that others are compared with: the one without a variant, or the first."""
    own = [entry for entry in entries if entry.row.method == method and entry.temperature == temperature]
    return next((entry for entry in own if not entry.row.variant), own[0] if own else None)


def _groups(predictions: Sequence[AnswerPredictions]) -> tuple[str, ...]:
    """Return the groups of the questions that all answered, from the first that knows any: older files have none."""
    return next((own.groups for own in predictions if any(own.groups)), predictions[0].groups)


def _published(trials: Sequence[Trial], metrics: Sequence[str]) -> dict[str, dict[int, float]]:
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
