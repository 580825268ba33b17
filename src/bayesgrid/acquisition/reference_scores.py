"""The reference code's scores on its density grid, defects included.

Read by ``mode: faithful`` alone. With p_1 .. p_T the densities of T draws for a target scaled to [0, 1], y_g the nodes
of an even grid on [0.1, 0.9], and p the mean of the draws, every score is a plain sum over the grid:

- ``kl_grid``: ``sum_h sum_g p_h log(p_h / p)``. No width of a step and no normalisation, so that a candidate whose
  density lies within the interval, or is high, scores more.
- ``kl_grid_normalised``: the same with each p_h over its integral on the grid, which blows up what little of a density
  lies within the interval.
- ``kl_pairs``: ``sum_{h<T} sum_g p_h log(p_h / p_{h+1})``. As ``kl_grid``; without normalisation it may be negative.
- ``kl_difference``: ``sum_{h<T} sum_g [rel(p_h, p_{h+1}) - rel(p_h, p)]``, ``rel(0, q) = 0``. Leaves the last draw's
  distance from the mean out.
- ``bald_entropy``: ``sum_h (H[p / v] - H[p_h])``, ``v`` the integral of p. Normalises the mean and not the draws, so
  that the score is far from zero where the interval cuts densities off, even if the draws agree.
- ``pool_entropy``: ``sum_{h<T} (H[p_h] - H[g])``, ``g = exp(mean_{h<T} log p_h)``. g is not normalised, and the last
  draw is dropped.

H is the trapezoid rule with steps of 0.8 / G, where G nodes have steps of 0.8 / (G - 1). Densities are single
precision: below about 1e-45 they are zero, ``0 log 0`` is NaN, and that selection ranks NaN first.

Source: BALSA (arXiv 2501.01248), section 4, and the formulas of its reference code at commit d68a3380.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density
from bayesgrid.errors import ConfigurationError

__all__ = ["ReferenceGridScores", "reference_entropies", "reference_grid_scores"]

_LOWER, _UPPER = 0.1, 0.9
_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)
# Numbers of single precision: the smallest normal one, the distance of those below it, and the logarithms of the ratios
# that round to zero and to infinity.
_SMALLEST_NORMAL = 2.0**-126
_SUBNORMAL_STEP = 2.0**-149
_LOWEST_LOG_RATIO = -150.0 * math.log(2.0)
_LARGEST_LOG_RATIO = 128.0 * math.log(2.0)

_KL_GRID, _KL_GRID_NORMALISED, _KL_PAIRS, _KL_DIFFERENCE, _BALD_ENTROPY, _POOL_ENTROPY = range(6)


@dataclass(frozen=True)
class ReferenceGridScores:
    """Scores of M candidates, each `[M]` float64; NaN or infinite where a density underflows.

    Args:
        kl_grid: sum over draws of the divergence from their mean.
        kl_grid_normalised: the same with normalised densities.
        kl_pairs: sum over consecutive draws of their divergence.
        kl_difference: what ``kl_pairs`` is more than the divergence from the mean.
        bald_entropy: T times the entropy of the mean, less the entropies of the draws.
        pool_entropy: entropies of the draws but the last, less that of their geometric mean.
    """

    kl_grid: npt.NDArray[np.float64]
    kl_grid_normalised: npt.NDArray[np.float64]
    kl_pairs: npt.NDArray[np.float64]
    kl_difference: npt.NDArray[np.float64]
    bald_entropy: npt.NDArray[np.float64]
    pool_entropy: npt.NDArray[np.float64]


@compiled
def _gaussian_log_density(
    mean: float, deviation: float, nodes: npt.NDArray[np.float64], log_density: npt.NDArray[np.float64]
) -> None:
    """Write the ``log_density`` `[G]` of a Gaussian at ``nodes`` `[G]`."""
    constant = math.log(deviation) + _LOG_NORMAL_CONSTANT
    inverse = 1.0 / deviation
    for node in range(nodes.shape[0]):
        standardised = (nodes[node] - mean) * inverse
        log_density[node] = -0.5 * standardised * standardised - constant


@compiled
def _underflow(density: npt.NDArray[np.float64], log_density: npt.NDArray[np.float64]) -> None:
    """Round small numbers of ``density`` `[G]` as single precision does, and ``log_density`` `[G]` with them.

    In double precision, so that a processor that flushes subnormal numbers ranks alike.
    """
    for node in range(density.shape[0]):
        if density[node] < _SMALLEST_NORMAL:
            density[node] = np.rint(density[node] / _SUBNORMAL_STEP) * _SUBNORMAL_STEP
            log_density[node] = math.log(density[node]) if density[node] > 0.0 else -math.inf


@compiled
def _exponentiate(log_scale: float, log_density: npt.NDArray[np.float64], density: npt.NDArray[np.float64]) -> None:
    """Write ``density`` `[G]` per unit of the target, and ``log_density`` `[G]` likewise."""
    for node in range(density.shape[0]):
        value = log_density[node] - log_scale
        density[node] = math.exp(value)
        log_density[node] = value
    _underflow(density, log_density)


@compiled
def _compare(
    log_density: npt.NDArray[np.float64],
    density: npt.NDArray[np.float64],
    mean: npt.NDArray[np.float64],
    log_mean: npt.NDArray[np.float64],
    pool: npt.NDArray[np.float64],
    step: float,
    scores: npt.NDArray[np.float64],
) -> None:
    """Write the scores of one candidate.

    Args:
        log_density: `[T, G]`, minus infinity where the density is zero.
        density: `[T, G]`.
        mean: `[G]`, working memory.
        log_mean: `[G]`, working memory.
        pool: `[G]`, working memory.
        step: the width of a step.
        scores: `[6]`, written.
    """
    draws, count = density.shape
    mean[:] = 0.0
    pool[:] = 0.0
    for draw in range(draws):
        for node in range(count):
            mean[node] += density[draw, node]
    for draw in range(draws - 1):
        for node in range(count):
            pool[node] += log_density[draw, node]
    for node in range(count):
        mean[node] /= draws
        log_mean[node] = math.log(max(mean[node], _SMALLEST_NORMAL))
        pool[node] /= max(draws - 1, 1)
    _underflow(mean, log_mean)

    from_mean = 0.0
    pairs = 0.0
    difference = 0.0
    entropies = 0.0
    entropies_but_last = 0.0
    for draw in range(draws):
        entropy = 0.0
        for node in range(count):
            value = density[draw, node]
            log_value = log_density[draw, node]
            ratio = log_value - log_mean[node]
            if ratio < _LOWEST_LOG_RATIO:
                ratio = -math.inf  # so that a density of zero gives NaN, as there
            from_mean += value * ratio
            entropy -= value * log_value
        entropy += 0.5 * (
            density[draw, 0] * log_density[draw, 0] + density[draw, count - 1] * log_density[draw, count - 1]
        )
        entropies += entropy
        if draw + 1 < draws:
            entropies_but_last += entropy
            for node in range(count):
                value = density[draw, node]
                ratio = log_density[draw, node] - log_density[draw + 1, node]
                bounded = ratio
                if ratio > _LARGEST_LOG_RATIO:
                    bounded = math.inf
                if ratio < _LOWEST_LOG_RATIO:
                    bounded = -math.inf
                pairs += value * bounded
                if value > 0.0:
                    difference += value * (log_mean[node] - log_density[draw + 1, node])
    mean_entropy = 0.0
    volume = 0.0
    pool_entropy = 0.0
    for node in range(count):
        weight = 0.5 if node == 0 or node == count - 1 else 1.0
        volume += weight * mean[node]
        mean_entropy -= weight * mean[node] * log_mean[node]
        pool_entropy -= weight * math.exp(pool[node]) * pool[node] if pool[node] >= _LOWEST_LOG_RATIO else math.nan
    # H[p / v] = H[p] / v + log v, with H and v on the grid.
    entropy_of_mean = mean_entropy / volume + math.log(volume * step)
    scores[_KL_GRID] = from_mean
    scores[_KL_PAIRS] = pairs
    scores[_KL_DIFFERENCE] = difference
    scores[_BALD_ENTROPY] = draws * entropy_of_mean - step * entropies
    scores[_POOL_ENTROPY] = step * (entropies_but_last - (draws - 1) * pool_entropy)

    mean[:] = 0.0
    own = 0.0
    for draw in range(draws):
        volume = -0.5 * (density[draw, 0] + density[draw, count - 1])
        for node in range(count):
            volume += density[draw, node]
        inverse = 1.0 / (volume * step)
        shift = math.log(volume * step)
        for node in range(count):
            value = density[draw, node] * inverse
            mean[node] += value
            own += value * (log_density[draw, node] - shift)
    cross = 0.0
    for node in range(count):
        cross += mean[node] * math.log(mean[node] / draws)
    scores[_KL_GRID_NORMALISED] = own - cross


@compiled
def _score_splines(
    knots: npt.NDArray[np.float32],
    nodes: npt.NDArray[np.float64],
    log_scale: float,
    step: float,
    scores: npt.NDArray[np.float64],
) -> None:
    """Write the scores `[M, 6]` of all candidates with ``knots`` `[T, M, 2, 3, K + 1]`."""
    draws, count = knots.shape[0], nodes.shape[0]
    images, mean, log_mean, pool = np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    log_density, density = np.empty((draws, count)), np.empty((draws, count))
    for candidate in range(knots.shape[1]):
        for draw in range(draws):
            spline_log_density(knots[draw, candidate], nodes, log_density[draw], images)
            _exponentiate(log_scale, log_density[draw], density[draw])
        _compare(log_density, density, mean, log_mean, pool, step, scores[candidate])


@compiled
def _score_gaussians(
    means: npt.NDArray[np.float64],
    deviations: npt.NDArray[np.float64],
    nodes: npt.NDArray[np.float64],
    log_scale: float,
    step: float,
    scores: npt.NDArray[np.float64],
) -> None:
    """Write the scores `[M, 6]` of all candidates with ``means`` and ``deviations`` `[T, M]`."""
    draws, count = means.shape[0], nodes.shape[0]
    mean, log_mean, pool = np.empty(count), np.empty(count), np.empty(count)
    log_density, density = np.empty((draws, count)), np.empty((draws, count))
    for candidate in range(means.shape[1]):
        for draw in range(draws):
            _gaussian_log_density(means[draw, candidate], deviations[draw, candidate], nodes, log_density[draw])
            _exponentiate(log_scale, log_density[draw], density[draw])
        _compare(log_density, density, mean, log_mean, pool, step, scores[candidate])


@compiled
def _spline_entropies(
    knots: npt.NDArray[np.float32],
    nodes: npt.NDArray[np.float64],
    log_scale: float,
    step: float,
    entropies: npt.NDArray[np.float64],
) -> None:
    """Write ``entropies`` `[T, M]` of the densities with ``knots`` `[T, M, 2, 3, K + 1]`."""
    count = nodes.shape[0]
    images, log_density, density = np.empty(count), np.empty(count), np.empty(count)
    for draw in range(knots.shape[0]):
        for candidate in range(knots.shape[1]):
            spline_log_density(knots[draw, candidate], nodes, log_density, images)
            _exponentiate(log_scale, log_density, density)
            entropy = 0.5 * (density[0] * log_density[0] + density[count - 1] * log_density[count - 1])
            for node in range(count):
                entropy -= density[node] * log_density[node]
            entropies[draw, candidate] = step * entropy


def _grid(grid_nodes: int, location: float, scale: float) -> tuple[npt.NDArray[np.float64], float]:
    """Return the nodes `[G]` in the network's units and the reference's width of a step.

    Raises:
        ConfigurationError: for fewer than 8 nodes.
    """
    if grid_nodes < 8:
        raise ConfigurationError("too few nodes for a density grid", given=grid_nodes, allowed="at least 8")
    nodes = np.linspace(_LOWER, _UPPER, grid_nodes, dtype=np.float32).astype(np.float64)
    return (nodes - location) / scale, (_UPPER - _LOWER) / grid_nodes


def reference_grid_scores(
    draws: PredictiveDraws, *, location: float, scale: float, grid_nodes: int = 200
) -> ReferenceGridScores:
    """Return the reference's grid scores of every candidate.

    Memory is O(T grid_nodes) beyond the draws and the scores; time is O(M T grid_nodes) on one thread.

    Args:
        draws: T draws at M candidates, of ``(target - location) / scale`` with the target scaled to [0, 1].
        location: of the network's targets.
        scale: of the network's targets.
        grid_nodes: G; 200 in the reference.

    Raises:
        ConfigurationError: for fewer than 8 nodes.
    """
    nodes, step = _grid(grid_nodes, location, scale)
    scores = np.empty((draws.inputs, 6), dtype=np.float64)
    log_scale = math.log(scale)
    match draws:
        case SplineDraws():
            _score_splines(np.ascontiguousarray(draws.knots), nodes, log_scale, step, scores)
            finite = np.isfinite(draws.knots).all(axis=(0, 2, 3, 4))
        case GaussianDraws():
            means = np.ascontiguousarray(draws.mean, dtype=np.float64)
            deviations = np.ascontiguousarray(draws.standard_deviation, dtype=np.float64)
            _score_gaussians(means, deviations, nodes, log_scale, step, scores)
            finite = (np.isfinite(means) & np.isfinite(deviations)).all(axis=0)
    scores[~finite] = np.nan
    return ReferenceGridScores(*np.ascontiguousarray(scores.T))


def reference_entropies(
    draws: SplineDraws, *, location: float, scale: float, grid_nodes: int = 500
) -> npt.NDArray[np.float64]:
    """Return ``H[p_h]`` on the grid, `[T, M]`: a density outside [0.1, 0.9] has next to none, however wide it is.

    Args:
        draws: T draws at M inputs, as for :func:`reference_grid_scores`.
        location: of the network's targets.
        scale: of the network's targets.
        grid_nodes: 500 in the reference.

    Raises:
        ConfigurationError: for fewer than 8 nodes.
    """
    nodes, step = _grid(grid_nodes, location, scale)
    entropies = np.empty((draws.draws, draws.inputs), dtype=np.float64)
    knots = np.ascontiguousarray(draws.knots)
    _spline_entropies(knots, nodes, math.log(scale), step, entropies)
    entropies[~np.isfinite(draws.knots).all(axis=(2, 3, 4))] = np.nan
    return entropies
