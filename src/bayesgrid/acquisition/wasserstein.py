"""How far the predictive densities of several posterior draws are apart, in units of the target.

In one dimension the 1-Wasserstein distance is the distance of the quantile functions,
``W1(p, p') = int_0^1 |Q(u) - Q'(u)| du`` (Vallender 1974), here the mean over U stratified nodes
``u_k = (k - 1/2) / U`` shared by all draws. Nothing is sampled, so draws that agree have distance zero. That is the EMD
score of BALSA (arXiv 2501.01248) without its noise: distances between independent samples have a floor that grows with
the predictive width.

All pairs cost one sort per node instead of T^2 differences, with Q_(1) <= .. <= Q_(T):
``sum_{h<h'} |Q_h - Q_h'| = sum_k (2 k - T - 1) Q_(k)``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_quantiles
from bayesgrid.errors import ConfigurationError

__all__ = ["WassersteinDisagreement", "wasserstein_disagreement"]


@dataclass(frozen=True)
class WassersteinDisagreement:
    """Scores of M candidates, each `[M]` float64 in units of the target.

    Args:
        consecutive: ``sum_{h<T} W1(p_h, p_{h+1})``.
        all_pairs: mean of ``W1(p_h, p_h')`` over pairs of different draws; 0 for a single draw.
    """

    consecutive: npt.NDArray[np.float64]
    all_pairs: npt.NDArray[np.float64]


@compiled
def _couple(
    quantiles: npt.NDArray[np.float64], column: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]
) -> None:
    """Write the two scores of one candidate with ``quantiles`` `[T, U]`; ``column`` `[T]` is working memory."""
    draws, count = quantiles.shape
    consecutive = 0.0
    pairs = 0.0
    for node in range(count):
        for draw in range(draws):
            column[draw] = quantiles[draw, node]
        for draw in range(draws - 1):
            consecutive += abs(column[draw + 1] - column[draw])
        for draw in range(1, draws):  # insertion sort: T is small, and neighbouring draws are often in order
            value = column[draw]
            slot = draw
            while slot > 0 and column[slot - 1] > value:
                column[slot] = column[slot - 1]
                slot -= 1
            column[slot] = value
        # Gaps between neighbours, each crossed by rank x (T - rank) pairs: no cancellation, zero if draws agree.
        for rank in range(1, draws):
            pairs += rank * (draws - rank) * (column[rank] - column[rank - 1])
    scores[0] = consecutive / count
    scores[1] = pairs / (count * max(draws * (draws - 1) / 2.0, 1.0))


@compiled
def _score_splines(
    knots: npt.NDArray[np.float32], base: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]
) -> None:
    """Write the scores `[M, 2]` of all candidates with ``knots`` `[T, M, 2, 3, K + 1]`."""
    draws = knots.shape[0]
    quantiles = np.empty((draws, base.shape[0]))
    column = np.empty(draws)
    for candidate in range(knots.shape[1]):
        for draw in range(draws):
            spline_quantiles(knots[draw, candidate], base, quantiles[draw])
        _couple(quantiles, column, scores[candidate])


@compiled
def _score_gaussians(
    means: npt.NDArray[np.float64],
    deviations: npt.NDArray[np.float64],
    base: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
) -> None:
    """Write the scores `[M, 2]` of all candidates with ``means`` and ``deviations`` `[T, M]`."""
    draws = means.shape[0]
    quantiles = np.empty((draws, base.shape[0]))
    column = np.empty(draws)
    for candidate in range(means.shape[1]):
        for draw in range(draws):
            for node in range(base.shape[0]):
                quantiles[draw, node] = means[draw, candidate] + deviations[draw, candidate] * base[node]
        _couple(quantiles, column, scores[candidate])


def wasserstein_disagreement(draws: PredictiveDraws, *, quantile_nodes: int = 64) -> WassersteinDisagreement:
    """Score every candidate by the distances between its T predictive densities.

    Args:
        draws: T draws at M candidates. NaN or infinite draws give NaN scores for the candidates they concern.
        quantile_nodes: U, the number of stratified quantiles compared.

    Raises:
        ConfigurationError: for fewer than 2 nodes.
    """
    if quantile_nodes < 2:
        raise ConfigurationError("too few quantiles to compare", given=quantile_nodes, allowed="at least 2")
    base = np.asarray(ndtri((np.arange(quantile_nodes) + 0.5) / quantile_nodes), dtype=np.float64)
    scores = np.empty((draws.inputs, 2), dtype=np.float64)
    match draws:
        case SplineDraws():
            _score_splines(np.ascontiguousarray(draws.knots), base, scores)
            finite = np.isfinite(draws.knots).all(axis=(0, 2, 3, 4))
        case GaussianDraws():
            means = np.ascontiguousarray(draws.mean, dtype=np.float64)
            deviations = np.ascontiguousarray(draws.standard_deviation, dtype=np.float64)
            _score_gaussians(means, deviations, base, scores)
            finite = (np.isfinite(means) & np.isfinite(deviations)).all(axis=0)
    scores[~finite] = np.nan
    return WassersteinDisagreement(consecutive=scores[:, 0].copy(), all_pairs=scores[:, 1].copy())
