"""Repetitions of one evaluation with other draws, which are averaged within a seed and are no seeds of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS, AnswerScores
from bayesgrid.metrics.crossed_bootstrap import ExampleStatistic
from bayesgrid.reporting.answer_predictions import AnswerPredictions, read_answer_metrics, read_answer_predictions
from bayesgrid.reporting.answer_runs import runs_by_trial
from bayesgrid.reporting.collect import RunRecord

__all__ = ["Trial", "read_trials", "trial_statistics"]


@dataclass(frozen=True)
class Trial:
    """One repetition of a method's evaluation."""

    predictions: AnswerPredictions
    metrics: Mapping[str, Mapping[int, float]]
    """Published ones, by name, then by seed."""

    @property
    def scaled(self) -> bool:
        """Return whether every seed has an inverse temperature."""
        return all(seed in self.metrics.get("inverse_temperature", {}) for seed in self.predictions.seeds)

    def scores(self, seed: int, *, scaled: bool) -> AnswerScores:
        """Return the scores of one seed, with logits as they are or scaled."""
        inverse = self.metrics["inverse_temperature"][seed] if scaled else 1.0
        return self.predictions.scores(seed, inverse_temperature=inverse)


def read_trials(runs: Sequence[RunRecord]) -> tuple[Trial, ...]:
    """Return the trials of ``runs``, which are finished and of one method, in increasing order.

    Raises:
        StateError: if a file is missing or damaged, or a trial holds a seed twice.
    """
    return tuple(Trial(read_answer_predictions(own), read_answer_metrics(own)) for own in runs_by_trial(runs))


def trial_statistics(trials: Sequence[Trial], metric: str, *, scaled: bool = False) -> list[ExampleStatistic]:
    """Return a statistic for every seed of the first trial: the mean over the trials that hold it.

    Args:
        trials: of one method.
        metric: a name of ``ANSWER_STATISTICS``.
        scaled: whether logits are multiplied by the inverse temperature that the runs published.
    """
    return [
        _mean_of(
            [
                ANSWER_STATISTICS[metric](own.scores(seed, scaled=scaled))
                for own in trials
                if seed in own.predictions.logits
            ]
        )
        for seed in trials[0].predictions.seeds
    ]


def _mean_of(statistics: Sequence[ExampleStatistic]) -> ExampleStatistic:
    if len(statistics) == 1:
        return statistics[0]
    return lambda counts: np.mean([statistic(counts) for statistic in statistics], axis=0)
