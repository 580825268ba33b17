"""How far the geometric mean of the draws is from each of them, in nats, for every candidate.

With ``g = exp((1/T) sum_h log p_h) / Z`` the normalised geometric mean of the draws p_1 .. p_T,
``sum_h KL(g || p_h) = -T log Z``: the reverse of the divergence from the arithmetic mean, never negative and zero if
the draws agree. It is the sum of entropies ``sum_h (H[p_h] - H[g])`` plus ``sum_h int (p_h - g) log p_h``, without
which Gaussian draws of one width at different places would cancel.

The pool of draws that hardly overlap is high where none of them is, and none asks for nodes there: of the flows of the
tests, those 15 nats and more from their pool come out up to a sixth too far with 64 nodes.

Source: the entropy score of the reference code of BALSA (arXiv 2501.01248), whose pool is the geometric mean without Z;
for the logarithmic pool of densities, Genest and Zidek (1986), Combining Probability Distributions.
"""

import math

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.density_grid import base_of_levels, place_nodes
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density, spline_quantiles

__all__ = ["geometric_pool_divergence"]


@compiled
def _log_mass(log_density: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    """Return the logarithm of the integral of a density from its ``log_density`` and quadrature ``weights`` `[G]`."""
    largest = log_density[0]
    for node in range(1, log_density.shape[0]):
        largest = max(largest, log_density[node])
    total = 0.0
    for node in range(log_density.shape[0]):
        total += weights[node] * math.exp(log_density[node] - largest)
    log_mass: float = largest + math.log(total)
    return log_mass


@compiled
def _score_splines(
    knots: npt.NDArray[np.float32],
    base: npt.NDArray[np.float64],
    grid_nodes: int,
    scores: npt.NDArray[np.float64],
) -> None:
    """Write ``-log Z`` `[M]` of all candidates with ``knots`` `[T, M, 2, 3, K + 1]`."""
    draws = knots.shape[0]
    levels = np.empty((draws, base.shape[0]))
    nodes, weights, images = np.empty(grid_nodes), np.empty(grid_nodes), np.empty(grid_nodes)
    log_density, pool = np.empty(grid_nodes), np.empty(grid_nodes)
    for candidate in range(knots.shape[1]):
        for draw in range(draws):
            spline_quantiles(knots[draw, candidate], base, levels[draw])
        place_nodes(levels, nodes, weights)
        pool[:] = 0.0
        for draw in range(draws):
            spline_log_density(knots[draw, candidate], nodes, log_density, images)
            mass = _log_mass(log_density, weights)
            for node in range(grid_nodes):
                pool[node] += (log_density[node] - mass) / draws
        scores[candidate] = -_log_mass(pool, weights)


def _gaussian_scores(means: npt.NDArray[np.float64], deviations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ``-log Z`` `[M]` of Gaussians `[T, M]`, whose geometric mean is one, with the mean of the precisions."""
    precisions = 1.0 / (deviations * deviations)
    pooled = precisions.mean(axis=0)
    centre = (precisions * means).mean(axis=0) / pooled
    distances = (precisions * (means - centre) ** 2).mean(axis=0)
    scores: npt.NDArray[np.float64] = 0.5 * (np.log(pooled) + distances) + np.log(deviations).mean(axis=0)
    return scores


def geometric_pool_divergence(
    draws: PredictiveDraws, *, grid_nodes: int = 64, tail_probability: float = 1e-4
) -> npt.NDArray[np.float64]:
    """Return ``sum_h KL(g || p_h)`` of every candidate, `[M]`; for Gaussian draws in closed form.

    Memory is O(grid_nodes) beyond the draws and the scores; time is O(M T grid_nodes) on one thread.

    Args:
        draws: T draws at M candidates. NaN or infinite draws give NaN for the candidates they concern.
        grid_nodes: G, nodes per candidate, placed by the quantiles of all draws.
        tail_probability: probability beyond each end of the union of the supports that is left out.

    Raises:
        ConfigurationError: for fewer than 8 nodes, or a tail probability outside (0, 0.5).
    """
    base = base_of_levels(grid_nodes, tail_probability)
    match draws:
        case SplineDraws():
            scores = np.empty(draws.inputs, dtype=np.float64)
            _score_splines(np.ascontiguousarray(draws.knots), base, grid_nodes, scores)
            finite = np.isfinite(draws.knots).all(axis=(0, 2, 3, 4))
        case GaussianDraws():
            means, deviations = draws.mean.astype(np.float64), draws.standard_deviation.astype(np.float64)
            scores = _gaussian_scores(means, deviations)
            finite = (np.isfinite(means) & np.isfinite(deviations)).all(axis=0)
    scores = draws.draws * np.maximum(scores, 0.0)
    scores[~finite] = np.nan
    return scores
