"""The metrics of one fit on one evaluation set, for one seed, from stored logits alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS, AnswerScores, answer_scores
from bayesgrid.metrics.conformal_sets import (
    conformal_threshold,
    least_ambiguous_scores,
    mean_set_size,
    set_coverage,
)
from bayesgrid.metrics.drawn_probabilities import drawn_log_probabilities
from bayesgrid.metrics.temperature import fit_inverse_temperature

__all__ = ["COVERAGE", "TEMPERED_METRICS", "DrawnAnswers", "answer_metrics"]

TEMPERED_METRICS = ("accuracy", "nll", "brier", "ece", "ece_debiased", "ece_adaptive", "aurc", "error_auroc")
"""Reported after temperature scaling too, as ``tempered_<name>``."""

COVERAGE = 0.9
"""Of the conformal sets behind ``coverage_90`` and ``set_size_90``."""


@dataclass(frozen=True)
class DrawnAnswers:
    """Predictions of N questions by S draws of one posterior, and the answers."""

    logits: npt.NDArray[np.float64]
    """``[S, N, C]``, absent options not masked."""
    answers: npt.NDArray[np.int64]
    """``[N]``, index into the C labels."""
    options: npt.NDArray[np.int64]
    """``[N]``, how many options a question has: the first so many labels."""


def answer_metrics(test: DrawnAnswers, validation: DrawnAnswers | None = None) -> dict[str, float]:
    """Return every metric of ``test`` by name, those of ``tempered_`` and of conformal sets only with ``validation``.

    The inverse temperature and the threshold of the conformal sets (least ambiguous, 90 %) come from the validation
    slice, which no fit has trained on; it may have another number of labels. ``error_auroc`` is NaN where all answers
    are right or all are wrong.

    Args:
        test: predictions to be judged.
        validation: predictions by the same draws of examples held out of the training split.

    Raises:
        DataError: for no example or draw, NaN, infinite logits, options outside 1 to C, or an answer that is none of
            the options.
    """
    log_probabilities = drawn_log_probabilities(test.logits, test.options)
    scores = answer_scores(log_probabilities, test.answers)
    metrics = _values(scores, tuple(ANSWER_STATISTICS))
    metrics["examples"] = float(test.answers.size)
    metrics["majority_accuracy"] = float(np.bincount(test.answers).max() / test.answers.size)
    if validation is None:
        return metrics
    threshold = _conformal_threshold(validation)
    present = np.arange(test.logits.shape[2]) < test.options[:, None]
    sets = (least_ambiguous_scores(scores.probabilities) <= threshold) & present
    metrics["coverage_90"] = set_coverage(sets, test.answers)
    metrics["set_size_90"] = mean_set_size(sets)
    inverse = fit_inverse_temperature(validation.logits, validation.answers, validation.options)
    tempered = drawn_log_probabilities(test.logits, test.options, inverse_temperature=inverse)
    metrics["inverse_temperature"] = inverse
    after = _values(answer_scores(tempered, test.answers), TEMPERED_METRICS)
    return metrics | {f"tempered_{name}": value for name, value in after.items()}


def _values(scores: AnswerScores, names: tuple[str, ...]) -> dict[str, float]:
    once = np.ones((1, scores.correct.size))
    return {name: float(ANSWER_STATISTICS[name](scores)(once)[0]) for name in names}


def _conformal_threshold(validation: DrawnAnswers) -> float:
    log_probabilities = drawn_log_probabilities(validation.logits, validation.options)
    scores = least_ambiguous_scores(answer_scores(log_probabilities, validation.answers).probabilities)
    return conformal_threshold(scores[np.arange(validation.answers.size), validation.answers], level=COVERAGE)
