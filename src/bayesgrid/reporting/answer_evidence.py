"""What finished evaluations say in a form that claims can be put to: a metric per seed, on resampled questions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesgrid.errors import StateError
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.crossed_bootstrap import Resampled, crossed_estimate, resampled_statistics
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL
from bayesgrid.reporting.answer_trials import Trial, read_trials, trial_statistics
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
    groups: tuple[str, ...]
    """Their groups, empty for questions that stand alone."""

    def of_seeds(self, seeds: Sequence[int]) -> "SeededScores":
        """Return the scores of ``seeds``, which are some of its own."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return SeededScores(tuple(seeds), self.resampled.of_seeds(rows), self.evaluation, self.questions, self.groups)

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
        self._trials: dict[tuple[str, ...], tuple[Trial, ...]] = {}
        self._resampled: dict[tuple[tuple[str, ...], bool, str], SeededScores] = {}

    def metric(self, runs: Sequence[RunRecord], evaluation: str, metric: str, *, temperature: bool) -> SeededScores:
        """Return ``metric`` of one method.

        All methods that answered one data set see the same resamples of its questions; those of another data set are
        independent of them.

        Args:
            runs: finished, with different seeds of one method, or trials of them, which are averaged.
            evaluation: the data set whose questions they answered.
            metric: a name of ``ANSWER_STATISTICS``.
            temperature: whether logits are multiplied by the inverse temperature that the runs published.

        Raises:
            Undecidable: if a temperature is asked for and none was published.
            StateError: if a file is missing or damaged, seeds answered other questions, or a seed is there twice.
        """
        source = tuple(run.run_id for run in runs)
        if source not in self._trials:
            self._trials[source] = _read(runs)
        trials = self._trials[source]
        if temperature and not all(own.scaled for own in trials):
            raise Undecidable("the runs published no temperature")
        key = (source, temperature, metric)
        if key not in self._resampled:
            answered = trials[0].predictions
            resampled = resampled_statistics(
                {metric: trial_statistics(trials, metric, scaled=temperature)},
                [len(answered.examples)],
                generator=random_stream(0, f"claim questions of {evaluation}"),
                replicates=self._replicates,
                groups=answered.groups,
            )
            self._resampled[key] = SeededScores(
                answered.seeds, resampled[metric], evaluation, answered.examples, answered.groups
            )
        return self._resampled[key]


def scores_difference(first: SeededScores, second: SeededScores) -> SeededScores:
    """Return ``first`` minus ``second`` on the seeds of both, paired by question if they answered one data set.

    Raises:
        Undecidable: if they share no seed, or only one knows the groups of the questions.
        StateError: if they answered different questions of one data set.
    """
    if first.evaluation == second.evaluation and first.questions != second.questions:
        raise _other_questions(first.evaluation, first.questions, second.questions)
    if first.evaluation == second.evaluation and first.groups != second.groups:
        raise Undecidable("the predictions of one method lack the groups of questions; evaluate it again")
    left, right = _of_common_seeds([first, second])
    evaluation = ", ".join(dict.fromkeys((first.evaluation, second.evaluation)))
    resampled = Resampled(
        left.resampled.observed - right.resampled.observed,
        left.resampled.replicates - right.resampled.replicates,
        min(left.resampled.units, right.resampled.units),
    )
    return SeededScores(left.seeds, resampled, evaluation, first.questions, first.groups)


def mean_over_data_sets(scores: Sequence[SeededScores]) -> SeededScores:
    """Return the unweighted mean of ``scores``, one a data set, on the seeds of all.

    Raises:
        Undecidable: if there is no such seed.
    """
    common = _of_common_seeds(scores)
    resampled = Resampled(
        np.mean([one.resampled.observed for one in common], axis=0),
        np.mean([one.resampled.replicates for one in common], axis=0),
        min(one.resampled.units for one in common),
    )
    evaluation = ", ".join(one.evaluation for one in common)
    return SeededScores(common[0].seeds, resampled, evaluation, common[0].questions, common[0].groups)


def _of_common_seeds(scores: Sequence[SeededScores]) -> list[SeededScores]:
    seeds = [seed for seed in scores[0].seeds if all(seed in other.seeds for other in scores)]
    if not seeds:
        raise Undecidable("an interval needs 2 seeds that all methods share, there are 0")
    return [one.of_seeds(seeds) for one in scores]


def _read(runs: Sequence[RunRecord]) -> tuple[Trial, ...]:
    trials = read_trials(runs)
    for other in trials[1:]:
        if other.predictions.examples != trials[0].predictions.examples:
            raise _other_questions(runs[0].run_id, trials[0].predictions.examples, other.predictions.examples)
    return trials


def _other_questions(where: str, first: Sequence[str], second: Sequence[str]) -> StateError:
    return StateError(
        "methods or trials that are compared answered different questions",
        where=where,
        given=f"{len(first)} and {len(second)} questions, {len({*first} & {*second})} shared",
        remedy="evaluate all methods on the same version of the data",
    )
