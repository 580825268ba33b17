"""How much the predictive densities of several posterior draws disagree, in nats, for every candidate.

With draws p_1 .. p_T and their mean ``p = (1/T) sum_h p_h``:

- mutual information between target and parameters, ``H[p] - (1/T) sum_h H[p_h]`` (BALD: Houlsby et al. 2011,
  arXiv 1112.5745), which equals ``(1/T) sum_h KL(p_h || p)``, the KL-grid score of BALSA (arXiv 2501.01248) over T;
- ``sum_h KL(p_h || p_{h+1})`` over consecutive draws, the KL-pairs score of BALSA;
- the mean of ``KL(p_h || p_h')`` over all ordered pairs, in O(T G) by
  ``sum_{h,h'} KL(p_h || p_h') = T sum_h E_h[log p_h] - int (sum_h p_h) (sum_h' log p_h')``.

The densities are read on one grid per candidate, G nodes on the union of the draws' supports. Each density is
normalised on the grid, so that mutual information and divergences are those of true distributions on the nodes: never
negative, zero if all draws agree, and the mutual information at most log T, whatever the resolution.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.density_grid import base_of_levels, place_nodes
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density, spline_quantiles
from bayesgrid.errors import NumericalError

__all__ = ["DensityDisagreement", "density_disagreement"]

_SMALLEST = 1e-300
_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)

_KL_GRID, _KL_CONSECUTIVE, _KL_ALL_PAIRS, _ENTROPY_TOTAL, _ENTROPY_MEAN = range(5)


@dataclass(frozen=True)
class DensityDisagreement:
    """Scores of M candidates, each `[M]` float64 in nats.

    Args:
        mutual_information: between target and parameters, in [0, log T].
        kl_grid: ``sum_h KL(p_h || p)``, T times the mutual information.
        kl_consecutive: ``sum_{h<T} KL(p_h || p_{h+1})``.
        kl_all_pairs: mean of ``KL(p_h || p_h')`` over ordered pairs of different draws; 0 for a single draw.
        entropy_total: differential entropy of the mean density; the mutual information plus ``entropy_mean``.
        entropy_mean: mean differential entropy of the draws. With fewer than about four nodes for each draw that shares
            its support with no other, the two entropies mean nothing; the mutual information is still within a few
            hundredths of a nat.
    """

    mutual_information: npt.NDArray[np.float64]
    kl_grid: npt.NDArray[np.float64]
    kl_consecutive: npt.NDArray[np.float64]
    kl_all_pairs: npt.NDArray[np.float64]
    entropy_total: npt.NDArray[np.float64]
    entropy_mean: npt.NDArray[np.float64]


@compiled
def _compare(
    log_density: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    mass: npt.NDArray[np.float64],
    mixture: npt.NDArray[np.float64],
    mass_sum: npt.NDArray[np.float64],
    log_sum: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
) -> None:
    """Write the scores of one candidate.

    Args:
        log_density: `[T, G]`; normalised in place.
        weights: `[G]`, of the quadrature.
        mass: `[T, G]`, working memory; the probability of each node under each draw.
        mixture: `[G]`, working memory; the sum of the densities.
        mass_sum: `[G]`, working memory; the sum of the masses.
        log_sum: `[G]`, working memory; the sum of the log-densities.
        scores: `[5]`, written.
    """
    draws, count = log_density.shape
    mixture[:] = 0.0
    mass_sum[:] = 0.0
    log_sum[:] = 0.0
    for draw in range(draws):
        largest = log_density[draw, 0]
        for node in range(1, count):
            largest = max(largest, log_density[draw, node])
        total = 0.0
        for node in range(count):
            mass[draw, node] = math.exp(log_density[draw, node] - largest)
            total += weights[node] * mass[draw, node]
        total = max(total, _SMALLEST)
        inverse = 1.0 / total
        shift = largest + math.log(total)
        for node in range(count):
            density = mass[draw, node] * inverse
            mixture[node] += density
            mass[draw, node] = weights[node] * density
            mass_sum[node] += mass[draw, node]
            log_density[draw, node] -= shift
            log_sum[node] += log_density[draw, node]

    own = 0.0  # sum_h E_h[log p_h]
    consecutive = 0.0
    for draw in range(draws):
        for node in range(count):
            own += mass[draw, node] * log_density[draw, node]
    for draw in range(draws - 1):
        for node in range(count):
            consecutive += mass[draw, node] * (log_density[draw, node] - log_density[draw + 1, node])
    cross = 0.0  # sum_h E_h[log p]
    pairs = 0.0
    for node in range(count):
        # A node that no draw reaches has no mass either; the bound only keeps 0 log 0 from being NaN.
        cross += mass_sum[node] * math.log(max(mixture[node] / draws, _SMALLEST))
        pairs += mass_sum[node] * log_sum[node]
    scores[_KL_GRID] = max(own - cross, 0.0)
    scores[_KL_CONSECUTIVE] = max(consecutive, 0.0)
    scores[_KL_ALL_PAIRS] = max((draws * own - pairs) / max(draws * (draws - 1), 1), 0.0)
    scores[_ENTROPY_TOTAL] = -cross / draws
    scores[_ENTROPY_MEAN] = -own / draws


@compiled
def _score_splines(
    knots: npt.NDArray[np.float32],
    base: npt.NDArray[np.float64],
    grid_nodes: int,
    scores: npt.NDArray[np.float64],
) -> None:
    """Write the scores `[M, 5]` of all candidates with ``knots`` `[T, M, 2, 3, K + 1]`, one candidate after another."""
    draws = knots.shape[0]
    levels = np.empty((draws, base.shape[0]))
    nodes, weights, images = np.empty(grid_nodes), np.empty(grid_nodes), np.empty(grid_nodes)
    mixture, mass_sum, log_sum = np.empty(grid_nodes), np.empty(grid_nodes), np.empty(grid_nodes)
    log_density, mass = np.empty((draws, grid_nodes)), np.empty((draws, grid_nodes))
    for candidate in range(knots.shape[1]):
        for draw in range(draws):
            spline_quantiles(knots[draw, candidate], base, levels[draw])
        place_nodes(levels, nodes, weights)
        for draw in range(draws):
            spline_log_density(knots[draw, candidate], nodes, log_density[draw], images)
        _compare(log_density, weights, mass, mixture, mass_sum, log_sum, scores[candidate])


@compiled
def _score_gaussians(
    means: npt.NDArray[np.float64],
    deviations: npt.NDArray[np.float64],
    base: npt.NDArray[np.float64],
    grid_nodes: int,
    scores: npt.NDArray[np.float64],
) -> None:
    """Write the scores `[M, 5]` of all candidates: divergences of pairs in closed form, the rest on the grid.

    ``KL(p || p') = log(s'/s) + (s^2 + (m - m')^2) / (2 s'^2) - 1/2``; over all ordered pairs the logarithms cancel.
    """
    draws = means.shape[0]
    levels = np.empty((draws, base.shape[0]))
    nodes, weights = np.empty(grid_nodes), np.empty(grid_nodes)
    mixture, mass_sum, log_sum = np.empty(grid_nodes), np.empty(grid_nodes), np.empty(grid_nodes)
    log_density, mass = np.empty((draws, grid_nodes)), np.empty((draws, grid_nodes))
    for candidate in range(means.shape[1]):
        for draw in range(draws):
            mean, deviation = means[draw, candidate], deviations[draw, candidate]
            for level in range(base.shape[0]):
                levels[draw, level] = mean + deviation * base[level]
        place_nodes(levels, nodes, weights)
        for draw in range(draws):
            mean, deviation = means[draw, candidate], deviations[draw, candidate]
            constant = math.log(deviation) + _LOG_NORMAL_CONSTANT
            inverse = 1.0 / deviation
            for node in range(grid_nodes):
                standardised = (nodes[node] - mean) * inverse
                log_density[draw, node] = -0.5 * standardised * standardised - constant
        _compare(log_density, weights, mass, mixture, mass_sum, log_sum, scores[candidate])

        consecutive = 0.0
        pairs = 0.0
        for other in range(draws):
            mean, deviation = means[other, candidate], deviations[other, candidate]
            half_precision = 0.5 / (deviation * deviation)
            for draw in range(draws):
                difference = means[draw, candidate] - mean
                spread = deviations[draw, candidate]
                quadratic = (spread * spread + difference * difference) * half_precision - 0.5
                pairs += quadratic
                if draw + 1 == other:
                    consecutive += math.log(deviation / spread) + quadratic
        scores[candidate, _KL_CONSECUTIVE] = max(consecutive, 0.0)
        scores[candidate, _KL_ALL_PAIRS] = max(pairs / max(draws * (draws - 1), 1), 0.0)


def density_disagreement(
    draws: PredictiveDraws, *, grid_nodes: int = 64, tail_probability: float = 1e-4
) -> DensityDisagreement:
    """Score every candidate by the disagreement of its T predictive densities.

    Memory is O(T x grid_nodes) beyond the draws and the scores; time is O(M T grid_nodes) on one thread.

    Args:
        draws: T draws at M candidates.
        grid_nodes: G, nodes per candidate, placed by the quantiles of all draws.
        tail_probability: probability beyond each end of the union of the supports that is left out.

    Raises:
        ConfigurationError: for fewer than 8 nodes, or a tail probability outside (0, 0.5).
        NumericalError: if finite draws give a score that is not finite. Draws that are NaN or infinite give NaN scores
            for the candidates they concern, to be counted at selection.
    """
    base = base_of_levels(grid_nodes, tail_probability)
    scores = np.empty((draws.inputs, 5), dtype=np.float64)
    match draws:
        case SplineDraws():
            _score_splines(np.ascontiguousarray(draws.knots), base, grid_nodes, scores)
            finite_input = np.isfinite(draws.knots).all(axis=(0, 2, 3, 4))
        case GaussianDraws():
            means = np.ascontiguousarray(draws.mean, dtype=np.float64)
            deviations = np.ascontiguousarray(draws.standard_deviation, dtype=np.float64)
            _score_gaussians(means, deviations, base, grid_nodes, scores)
            finite_input = (np.isfinite(means) & np.isfinite(deviations)).all(axis=0)
    scores[~finite_input] = np.nan
    finite_output = np.isfinite(scores).all(axis=1)
    if not bool((finite_output | ~finite_input).all()):
        raise NumericalError(
            "finite predictive densities gave scores that are not finite",
            given=f"candidates {np.flatnonzero(finite_input & ~finite_output)[:5].tolist()}",
        )
    return DensityDisagreement(
        mutual_information=scores[:, _KL_GRID] / draws.draws,
        kl_grid=scores[:, _KL_GRID].copy(),
        kl_consecutive=scores[:, _KL_CONSECUTIVE].copy(),
        kl_all_pairs=scores[:, _KL_ALL_PAIRS].copy(),
        entropy_total=scores[:, _ENTROPY_TOTAL].copy(),
        entropy_mean=scores[:, _ENTROPY_MEAN].copy(),
    )
