"""What the scores of a query measure: ignorance or noise, signal or rounding, the target's range or its tails.

Each function answers one question about a query from arrays alone. A quantity that does not exist, as a correlation of
equal scores does not, is NaN; scores, draws and encodings that are not finite are left out.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from scipy.stats import rankdata

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.epistemic_spread import predictive_moments
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density
from bayesgrid.errors import DataError

__all__ = ["batch_similarity", "distinct_masks", "grid_coverage", "noise_floor", "spread_correlations"]

_FEWEST_RANKED = 3
"""Candidates; two always correlate by plus or minus one."""


def spread_correlations(
    scores: npt.NDArray[np.floating] | None, draws: PredictiveDraws, *, quadrature_nodes: int = 64
) -> tuple[float, float]:
    """Return Spearman's correlation of the scores with the aleatoric and with the epistemic spread.

    The aleatoric spread of a candidate is the mean over draws of the predictive standard deviation, the epistemic one
    the standard deviation over draws of the predictive mean. Both are NaN without scores, and a correlation is NaN if
    one side is constant or fewer than three candidates are finite.

    Args:
        scores: `[n]`, or None for an agent without scores.
        draws: T draws at the n candidates.
        quadrature_nodes: as for :func:`bayesgrid.acquisition.epistemic_spread.predictive_moments`.

    Raises:
        DataError: if there are not as many scores as candidates.
    """
    if scores is None:
        return math.nan, math.nan
    if scores.shape != (draws.inputs,):
        raise DataError("scores and draws have different candidates", given=scores.shape, allowed=f"[{draws.inputs}]")
    means, deviations = predictive_moments(draws, quadrature_nodes=quadrature_nodes)
    return _rank_correlation(scores, deviations.mean(axis=0)), _rank_correlation(scores, means.std(axis=0))


def noise_floor(
    scores_without_dropout: npt.NDArray[np.floating] | None, scores: npt.NDArray[np.floating] | None
) -> float:
    """Return the mean score of identical draws over the mean score: the share that is no disagreement.

    An exact score has a floor of 0, one that compares samples of the draws has not. Only scores that are never
    negative, as disagreements are, have a floor to speak of. NaN without scores, or if their mean is 0.

    Args:
        scores_without_dropout: `[n]`, the score when every draw is the network without dropout.
        scores: `[n]`, the score under the posterior masks.
    """
    if scores_without_dropout is None or scores is None:
        return math.nan
    floor, level = _finite_mean(scores_without_dropout), _finite_mean(scores)
    return floor / level if level != 0.0 else math.nan


def grid_coverage(
    draws: PredictiveDraws, lower: npt.NDArray[np.floating] | float, upper: npt.NDArray[np.floating] | float
) -> float:
    """Return the predictive probability of [lower, upper], the mean over draws and candidates.

    A score by quadrature over that interval is blind to the rest. NaN if no density is finite.

    Args:
        draws: T draws at n candidates.
        lower: one number or `[n]`, in standardised units, as the draws.
        upper: likewise, not below ``lower``.

    Raises:
        DataError: if an upper bound is below its lower bound or not a number.
    """
    bounds = np.empty((draws.inputs, 2), dtype=np.float64)
    bounds[:, 0], bounds[:, 1] = lower, upper
    if not bool((bounds[:, 0] <= bounds[:, 1]).all()):
        raise DataError("an interval of targets ends before it begins", given=f"{lower} to {upper}")
    match draws:
        case GaussianDraws():
            deviations = np.asarray(draws.standard_deviation, dtype=np.float64)[..., np.newaxis]
            images = (bounds - np.asarray(draws.mean, dtype=np.float64)[..., np.newaxis]) / deviations
            finite = np.asarray(np.isfinite(draws.mean) & np.isfinite(draws.standard_deviation))
        case SplineDraws():
            images = np.empty((draws.draws, draws.inputs, 2))
            _spline_images(np.ascontiguousarray(draws.knots), bounds, images)
            finite = np.asarray(np.isfinite(draws.knots).all(axis=(2, 3, 4)))
    probability = ndtr(images[..., 1]) - ndtr(images[..., 0])
    return float(probability[finite].mean()) if bool(finite.any()) else math.nan


def batch_similarity(chosen: npt.NDArray[np.floating], candidates: npt.NDArray[np.floating]) -> float:
    """Return the mean cosine between the encodings of two chosen examples: near 1 for a redundant batch.

    Encodings are centred by the mean of the candidates. The batch's own mean would hide a batch from one corner, since
    centred by it every batch has a mean cosine below zero.

    ``mean_{i != j} u_i . u_j = (|sum_i u_i|^2 - q) / (q (q - 1))`` for unit vectors u.

    Args:
        chosen: `[q, h]`, encodings of the batch; those equal to the candidates' mean have no direction and are left
            out. NaN if fewer than two are left.
        candidates: `[n, h]`, encodings that the batch was chosen from.
    """
    points = candidates[np.isfinite(candidates).all(axis=1)].astype(np.float64)
    batch = chosen[np.isfinite(chosen).all(axis=1)].astype(np.float64)
    if len(points) == 0 or len(batch) < 2:
        return math.nan
    batch -= points.mean(axis=0)
    lengths = np.linalg.norm(batch, axis=1)
    units = batch[lengths > 0.0] / lengths[lengths > 0.0, np.newaxis]
    count = len(units)
    if count < 2:
        return math.nan
    total = units.sum(axis=0)
    return float((total @ total - count) / (count * (count - 1)))


def distinct_masks(masks: Sequence[npt.NDArray[np.floating]]) -> int:
    """Return how many of T posterior masks differ: repeated ones are one function and add no disagreement.

    Args:
        masks: for each dropout layer, at least one, the factors `[T, width]`; two masks differ if any layer does.
    """
    return len(np.unique(np.concatenate(masks, axis=1), axis=0))


@compiled
def _spline_images(
    knots: npt.NDArray[np.float32], points: npt.NDArray[np.float64], images: npt.NDArray[np.float64]
) -> None:
    """Write ``r2(r1(y))`` `[T, n, 2]` of two ascending ``points`` `[n, 2]` for ``knots`` `[T, n, 2, 3, K + 1]`."""
    log_density = np.empty(points.shape[1])
    for draw in range(knots.shape[0]):
        for candidate in range(knots.shape[1]):
            spline_log_density(knots[draw, candidate], points[candidate], log_density, images[draw, candidate])


def _finite_mean(values: npt.NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _rank_correlation(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> float:
    """Return Spearman's correlation, Pearson's of the mid-ranks, over the positions where both are finite."""
    both = np.isfinite(left) & np.isfinite(right)
    if np.count_nonzero(both) < _FEWEST_RANKED:
        return math.nan
    ranks = [rankdata(values[both]) for values in (left, right)]
    first, second = (values - values.mean() for values in ranks)
    norm = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / norm if norm > 0.0 else math.nan
