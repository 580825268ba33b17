"""What the predicted probabilities of an answer are worth, example by example, and the metrics made of them.

The answer is predicted by the average over draws of the class probabilities, over the options that a question has. All
metrics of answers in runs, tables and figures are those of :data:`ANSWER_STATISTICS`, so that they cannot disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.brier import brier_scores
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.class_probabilities import top_label
from bayesgrid.metrics.crossed_bootstrap import ExampleStatistic
from bayesgrid.metrics.drawn_probabilities import averaged_log_probabilities, uncertainty_split
from bayesgrid.metrics.example_statistics import (
    adaptive_calibration_statistic,
    calibration_statistic,
    debiased_calibration_statistic,
    mean_statistic,
    risk_coverage_statistic,
    roc_statistic,
)

__all__ = ["ANSWER_STATISTICS", "CALIBRATION_BINS", "SMALLEST_PROBABILITY", "AnswerScores", "answer_scores"]

SMALLEST_PROBABILITY = 1e-12
"""What the probability of the answer is raised to in the negative log likelihood, 27.6 nats at most."""

CALIBRATION_BINS = 15
"""Of equal width; equal-mass bins are as many, or one an example where there are fewer."""


@dataclass(frozen=True)
class AnswerScores:
    """Scores of N predicted answers, ``[N]`` each."""

    probabilities: FloatArray
    """``[N, C]``, averaged over draws; 0 for absent options."""
    confidence: FloatArray
    """The largest probability."""
    correct: FloatArray
    """1 where the first class of the largest probability is the answer, else 0."""
    nll: FloatArray
    """``-log p(answer)`` in nats."""
    brier: FloatArray
    """``sum_k (p_k - [k = answer])^2``."""
    entropy: FloatArray
    aleatoric: FloatArray
    epistemic: FloatArray


def answer_scores(log_probabilities: npt.ArrayLike, answers: npt.ArrayLike) -> AnswerScores:
    """Return the scores of predictions given as ``log p_s`` ``[S, N, C]`` and the right classes ``[N]``.

    Raises:
        DataError: for NaN, another rank, or answers that are no class or none of an example's options.
    """
    averaged = averaged_log_probabilities(log_probabilities)
    split = uncertainty_split(log_probabilities)
    probabilities = np.exp(averaged)
    top = top_label(probabilities, answers)
    of_answer = averaged[np.arange(top.correct.size), np.asarray(answers, dtype=np.int64)]
    absent = np.flatnonzero(np.isneginf(of_answer))
    if absent.size:
        raise DataError(
            "the answer is none of the options",
            where=f"example {absent[0]}",
            given=int(np.asarray(answers)[absent[0]]),
            allowed=f"one of its {int(np.isfinite(averaged[absent[0]]).sum())} options",
        )
    return AnswerScores(
        probabilities=probabilities,
        confidence=top.confidence,
        correct=top.correct,
        nll=np.maximum(-np.maximum(of_answer, np.log(SMALLEST_PROBABILITY)), 0.0),
        brier=brier_scores(probabilities, answers),
        entropy=split.total,
        aleatoric=split.aleatoric,
        epistemic=split.epistemic,
    )


def _adaptive(scores: AnswerScores) -> ExampleStatistic:
    bins = min(CALIBRATION_BINS, scores.confidence.size)
    return adaptive_calibration_statistic(scores.confidence, scores.correct, bins=bins)


ANSWER_STATISTICS: Mapping[str, Callable[[AnswerScores], ExampleStatistic]] = MappingProxyType(
    {
        "accuracy": lambda scores: mean_statistic(scores.correct),
        "nll": lambda scores: mean_statistic(scores.nll),
        "brier": lambda scores: mean_statistic(scores.brier),
        "ece": lambda scores: calibration_statistic(scores.confidence, scores.correct, bins=CALIBRATION_BINS),
        "ece_debiased": lambda scores: debiased_calibration_statistic(
            scores.confidence, scores.correct, bins=CALIBRATION_BINS
        ),
        "ece_adaptive": _adaptive,
        "aurc": lambda scores: risk_coverage_statistic(scores.confidence, 1 - scores.correct),
        "error_auroc": lambda scores: roc_statistic(-scores.confidence, 1 - scores.correct),
        "entropy": lambda scores: mean_statistic(scores.entropy),
        "mutual_information": lambda scores: mean_statistic(scores.epistemic),
        "aleatoric": lambda scores: mean_statistic(scores.aleatoric),
        "confidence": lambda scores: mean_statistic(scores.confidence),
    }
)
"""Metric by name, from scores to a statistic of how often each example counts; ``error_auroc`` is that of 1 less the
confidence against being wrong, and NaN where all answers are right or all are wrong."""
