"""What finished evaluations say in a form that claims can be put to: a metric per seed, on resampled questions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesgrid.errors import StateError
from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS, AnswerScores
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.crossed_bootstrap import Resampled, crossed_estimate, resampled_statistics
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL
from bayesgrid.reporting.answer_predictions import read_answer_metrics, read_answer_predictions
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.comparisons import Undecidable

__all__ = ["AnswerEvidence", "SeededScores", "mean_over_data_sets", "scores_difference"]


@dataclass(frozen=True)
class SeededScores:
    """A metric, or a difference or mean of metrics, of some seeds on resampled questions."""

    seeds: tuple[int, ...]
    resampled: Resampled
    evaluation: str
    """The data set whose questions were answered; several are joined by commas."""
    questions: tuple[str, ...]
    """Names of the questions."""

    def of_seeds(self, seeds: Sequence[int]) -> "SeededScores":
        """Return the scores of ``seeds``, which are some of its own."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return SeededScores(tuple(seeds), self.resampled.of_seeds(rows), self.evaluation, self.questions)

    def interval(self) -> Interval:
        """Return the mean over seeds with its 95 % interval for new seeds and new questions.

        Raises:
            Undecidable: for fewer than 2 seeds, or a mean that has no interval.
        """
        if len(self.seeds) < 2:
            raise Undecidable(f"an interval needs 2 seeds that all methods share, there are {len(self.seeds)}")
        found = crossed_estimate(self.resampled, generator=random_stream(0, "table_seeds"), level=LEVEL).interval
        if not np.isfinite([found.estimate, found.lower, found.upper]).all():
            raise Undecidable("the metric is not finite on these questions")
        return found


class AnswerEvidence:
    """Reads and resamples what comparisons ask for; files are read, and metrics resampled, once."""

    def __init__(self, *, replicates: int = 4_000) -> None:
        """Start empty; ``replicates`` is the number of resamples of every data set's questions."""
        self._replicates = replicates
        self._scores: dict[tuple[tuple[str, ...], bool], tuple[dict[int, AnswerScores], tuple[str, ...]]] = {}
        self._resampled: dict[tuple[tuple[str, ...], bool, str], SeededScores] = {}

    def metric(self, runs: Sequence[RunRecord], evaluation: str, metric: str, *, temperature: bool) -> SeededScores:
        """Return ``metric`` of one method.

        All methods that answered one data set see the same resamples of its questions; those of another data set are
        independent of them.

        Args:
            runs: finished, with different seeds of one method.
            evaluation: the data set whose questions they answered.
            metric: a name of ``ANSWER_STATISTICS``.
            temperature: whether logits are multiplied by the inverse temperature that the runs published.

        Raises:
            Undecidable: if a temperature is asked for and none was published.
            StateError: if a file is missing or damaged, or seeds answered other questions.
        """
        source = (tuple(run.run_id for run in runs), temperature)
        if source not in self._scores:
            self._scores[source] = _scores(runs, temperature)
        key = (*source, metric)
        if key not in self._resampled:
            scores, questions = self._scores[source]
            resampled = resampled_statistics(
                {metric: [ANSWER_STATISTICS[metric](own) for own in scores.values()]},
                [len(questions)],
                generator=random_stream(0, f"claim questions of {evaluation}"),
                replicates=self._replicates,
            )
            self._resampled[key] = SeededScores(tuple(scores), resampled[metric], evaluation, questions)
        return self._resampled[key]


def scores_difference(first: SeededScores, second: SeededScores) -> SeededScores:
    """Return ``first`` minus ``second`` on the seeds of both, paired by question if they answered one data set.

    Raises:
        Undecidable: if they share no seed.
        StateError: if they answered different questions of one data set.
    """
    if first.evaluation == second.evaluation and first.questions != second.questions:
        raise StateError(
            "methods that are compared answered different questions",
            where=first.evaluation,
            given=f"{len(first.questions)} and {len(second.questions)} questions, "
            f"{len({*first.questions} & {*second.questions})} shared",
            remedy="evaluate all methods on the same version of the data",
        )
    left, right = _of_common_seeds([first, second])
    evaluation = ", ".join(dict.fromkeys((first.evaluation, second.evaluation)))
    resampled = Resampled(
        left.resampled.observed - right.resampled.observed,
        left.resampled.replicates - right.resampled.replicates,
        min(left.resampled.examples, right.resampled.examples),
    )
    return SeededScores(left.seeds, resampled, evaluation, first.questions)


def mean_over_data_sets(scores: Sequence[SeededScores]) -> SeededScores:
    """Return the unweighted mean of ``scores``, one a data set, on the seeds of all.

    Raises:
        Undecidable: if there is no such seed.
    """
    common = _of_common_seeds(scores)
    resampled = Resampled(
        np.mean([one.resampled.observed for one in common], axis=0),
        np.mean([one.resampled.replicates for one in common], axis=0),
        min(one.resampled.examples for one in common),
    )
    evaluation = ", ".join(one.evaluation for one in common)
    return SeededScores(common[0].seeds, resampled, evaluation, common[0].questions)


def _of_common_seeds(scores: Sequence[SeededScores]) -> list[SeededScores]:
    seeds = [seed for seed in scores[0].seeds if all(seed in other.seeds for other in scores)]
    if not seeds:
        raise Undecidable("an interval needs 2 seeds that all methods share, there are 0")
    return [one.of_seeds(seeds) for one in scores]


def _scores(runs: Sequence[RunRecord], temperature: bool) -> tuple[dict[int, AnswerScores], tuple[str, ...]]:
    predictions = read_answer_predictions(runs)
    scales = dict.fromkeys(predictions.seeds, 1.0)
    if temperature:
        published = read_answer_metrics(runs).get("inverse_temperature", {})
        if any(seed not in published for seed in predictions.seeds):
            raise Undecidable("the runs published no temperature")
        scales = {seed: published[seed] for seed in predictions.seeds}
    scores = {seed: predictions.scores(seed, inverse_temperature=scales[seed]) for seed in predictions.seeds}
    return scores, predictions.examples
