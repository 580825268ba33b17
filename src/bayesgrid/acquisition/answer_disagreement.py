"""Scores of questions with a few possible answers, from what several draws of a posterior answer.

All read ``log p_s(y | x)``, ``[S, N, C]``: S draws, N questions, C labels, minus infinity for labels that a question
does not offer. They are in nats and float64.

Sources: Houlsby, Huszar, Ghahramani, Lengyel (2011), Bayesian Active Learning for Classification and Preference
Learning, arXiv 1112.5745, equation 2 (BALD); Settles (2009), Active Learning Literature Survey, section 3.1 (the rest).
"""

import numpy as np
import numpy.typing as npt
from scipy import special

from bayesgrid.errors import DataError

__all__ = [
    "ROUNDING",
    "averaged_answers",
    "checked_answers",
    "entropies",
    "expected_entropy",
    "least_confidence",
    "mutual_information",
    "normalised_predictive_entropy",
    "predictive_entropy",
    "small_margin",
]

ROUNDING = 1e-12
"""Information in nats that is taken for 0."""

_SUM_TOLERANCE = 1e-6


def checked_answers(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return ``log_probabilities`` as float64 ``[S, N, C]``.

    Raises:
        DataError: for another rank, no draw, question or label, NaN, or probabilities that do not sum to 1.
    """
    values = np.asarray(log_probabilities, dtype=np.float64)
    if values.ndim != 3 or values.size == 0:
        raise DataError(
            "answers of draws have the wrong shape", given=values.shape, allowed="[S, N, C], none of them 0"
        )
    sums = special.logsumexp(values, axis=2)
    wrong = np.argwhere(~(np.abs(sums) <= _SUM_TOLERANCE))
    if wrong.size:
        draw, question = (int(place) for place in wrong[0])
        raise DataError(
            "the probabilities of the answers do not sum to 1",
            where=f"draw {draw}, question {question}",
            given=float(np.exp(sums[draw, question])),
            remedy="normalise over the labels that the question offers",
        )
    return values


def averaged_answers(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return ``log mean_s p_s(y | x)``, ``[N, C]``.

    Raises:
        DataError: see :func:`checked_answers`; so do all scores of this module.
    """
    values = checked_answers(log_probabilities)
    averaged: npt.NDArray[np.float64] = special.logsumexp(values, axis=0) - np.log(values.shape[0])
    return averaged


def entropies(log_probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ``-sum_y p(y) log p(y)`` over the last axis, with 0 log 0 = 0."""
    probabilities = np.exp(log_probabilities)
    summed: npt.NDArray[np.float64] = special.entr(probabilities).sum(axis=-1)
    return summed


def predictive_entropy(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return ``H[mean_s p_s]``, ``[N]``: how undecided the posterior is about the answer, for whatever reason."""
    return entropies(averaged_answers(log_probabilities))


def normalised_predictive_entropy(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the predictive entropy as a share of its maximum, the logarithm of the number of options, ``[N]``.

    A question with one option has 0.
    """
    averaged = averaged_answers(log_probabilities)
    largest = np.log(np.maximum(np.isfinite(averaged).sum(axis=1), 2))
    share: npt.NDArray[np.float64] = entropies(averaged) / largest
    return share


def expected_entropy(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return ``mean_s H[p_s]``, ``[N]``: the part of the predictive entropy that no further label removes."""
    averaged: npt.NDArray[np.float64] = entropies(checked_answers(log_probabilities)).mean(axis=0)
    return averaged


def mutual_information(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return BALD, ``H[mean_s p_s] - mean_s H[p_s]``, ``[N]``: what the answer tells about which draw is right.

    0 where all draws agree, as for a posterior with one draw; at most log S and log C.
    """
    gap = predictive_entropy(log_probabilities) - expected_entropy(log_probabilities)
    # Entropy is concave: what lies below 0, or as little above it, is rounding, and would rank questions at random.
    return np.where(gap > ROUNDING, gap, 0.0)


def least_confidence(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return ``1 - max_y mean_s p_s(y)``, ``[N]``: the probability that the most probable answer is wrong."""
    largest: npt.NDArray[np.float64] = np.exp(averaged_answers(log_probabilities).max(axis=1))
    return 1.0 - largest


def small_margin(log_probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return 1 minus the difference of the two largest averaged probabilities, ``[N]``; 0 for a certain answer."""
    ordered = np.sort(np.exp(averaged_answers(log_probabilities)), axis=1)
    second = ordered[:, -2] if ordered.shape[1] > 1 else np.zeros(len(ordered))
    margin: npt.NDArray[np.float64] = ordered[:, -1] - second
    return 1.0 - margin
