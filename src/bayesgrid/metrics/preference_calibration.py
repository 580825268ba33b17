"""Whether predicted preferences spread as people do, and whether uncertainty says where a prediction is wrong.

None of the values depends on the side a response stands on.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape
from bayesgrid.metrics.discrimination import area_under_roc
from bayesgrid.metrics.preference_scores import symmetric_calibration_error

__all__ = ["ANNOTATOR_METRICS", "annotator_metrics", "error_aurocs", "vote_disagreement"]

ANNOTATOR_METRICS = (
    "annotator_nll",
    "annotator_nll_floor",
    "share_ece",
    "share_error",
    "share_spearman",
    "disagreement_spearman",
)

_DIGITS = 9
"""Of numbers that rounding must not order: 1/3 and 1 - 2/3 are one share."""


def annotator_metrics(
    probability: npt.ArrayLike, votes: npt.ArrayLike, uncertainty: Mapping[str, npt.ArrayLike] | None = None
) -> Mapping[str, float]:
    """Return how predicted probabilities stand to the shares of annotators, over the pairs that have votes.

    ``annotator_nll`` is the log score (nats) that one of a pair's annotators, drawn at random, is expected to give the
    prediction, a tie being half for each side, and ``annotator_nll_floor`` that of the shares themselves, which no
    prediction betters. ``share_ece`` and ``share_error`` compare probability and share, in bins and pair by pair
    (mean absolute difference); ``share_spearman`` correlates the two over both sides of all pairs.
    ``disagreement_spearman`` correlates the entropy of the prediction with :func:`vote_disagreement`, and
    ``disagreement_spearman_<name>`` each other uncertainty, over pairs with two votes or more. A correlation with
    something that does not vary is NaN.

    Args:
        probability: ``[N]``, that the first is preferred.
        votes: ``[N, 3]``, for the first, for the second, for a tie; 0 everywhere where nobody voted.
        uncertainty: further scores ``[N]`` by name, higher where a prediction is trusted less.

    Raises:
        DataError: for NaN, unlike numbers, votes below 0, or no vote.
    """
    p = checked_array(probability, name="probability", dimensions=1)
    given = checked_array(votes, name="votes", dimensions=2)
    counts = given.sum(axis=1)
    if given.shape != (p.size, 3) or (given < 0).any() or not counts.any():
        raise DataError(
            "no votes of annotators",
            where="votes",
            given=f"shape {given.shape}, {counts.sum():g} votes",
            allowed=f"({p.size}, 3), 0 or more, at least one vote",
        )
    voted = counts > 0
    share = (given[voted, 0] + given[voted, 2] / 2) / counts[voted]
    seen = p[voted]
    clipped = np.clip(seen, 1e-12, 1 - 1e-12)
    found = {
        "annotator_nll": float(-(share * np.log(clipped) + (1 - share) * np.log1p(-clipped)).mean()),
        "annotator_nll_floor": float((special.entr(share) + special.entr(1 - share)).mean()),
        "share_ece": symmetric_calibration_error(seen, share),
        "share_error": float(np.abs(seen - share).mean()),
        "share_spearman": _spearman(np.r_[seen, 1 - seen].round(_DIGITS), np.r_[share, 1 - share]),
    }
    several = counts >= 2
    disagreement = vote_disagreement(given[several]) if several.any() else np.empty(0)
    # Distance from one half orders pairs as the entropy does, without its rounding at the ends.
    found["disagreement_spearman"] = _spearman(-np.abs(p[several] - 0.5), disagreement)
    for name, values in (uncertainty or {}).items():
        score = checked_array(values, name=name, dimensions=1)
        same_shape(probability=p, **{name: score})
        found[f"disagreement_spearman_{name}"] = _spearman(score[several], disagreement)
    return found


def vote_disagreement(votes: npt.ArrayLike) -> FloatArray:
    """Return the probability that two votes drawn from a pair's with replacement differ, ``[N]`` (Gini-Simpson).

    Args:
        votes: ``[N, 3]``, for the first, for the second, for a tie; at least one each.

    Raises:
        DataError: for NaN, or a pair without votes.
    """
    given = checked_array(votes, name="votes", dimensions=2)
    counts = given.sum(axis=1, keepdims=True)
    if (counts <= 0).any():
        raise DataError("a pair has no votes", where="votes", given=0, allowed="at least one vote")
    return np.asarray(1 - np.square(given / counts).sum(axis=1))


def error_aurocs(
    probability: npt.ArrayLike, target: npt.ArrayLike, uncertainty: Mapping[str, npt.ArrayLike]
) -> Mapping[str, float]:
    """Return ``error_auroc_<name>`` of each uncertainty: how well it separates wrong predictions from right ones.

    Undecided predictions and labels are left out. NaN where all the others are right or all are wrong.

    Args:
        probability: ``[N]``, that the first is preferred.
        target: ``[N]``, 1 where it is, 0 where it is not, or between.
        uncertainty: scores ``[N]`` by name, higher where a prediction is trusted less.

    Raises:
        DataError: for NaN or unlike numbers.
    """
    p, y = checked_array(probability, name="probability"), checked_array(target, name="target")
    same_shape(probability=p, target=y)
    agreement = np.sign(p - 0.5) * np.sign(y - 0.5)
    clear = agreement != 0
    wrong = agreement[clear] < 0
    found = {}
    for name, values in uncertainty.items():
        score = checked_array(values, name=name, dimensions=1)
        same_shape(probability=p, **{name: score})
        mixed = 0 < wrong.sum() < wrong.size
        found[f"error_auroc_{name}"] = area_under_roc(score[clear], wrong) if mixed else float("nan")
    return found


def _spearman(first: FloatArray, votes: FloatArray) -> float:
    second = votes.round(_DIGITS)
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(stats.spearmanr(first, second).statistic)
