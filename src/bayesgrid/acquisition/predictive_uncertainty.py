"""How uncertain each predictive density is by itself: its entropy and its highest density, and where its median lies.

Between the knots of its two splines the log-density of a flow is smooth. There the entropy,
``H = E_z[-log p(Q(Phi(z)))]`` with z standard normal, is integrated by Gauss-Legendre rules over z, and the highest
density is searched: at even steps, then three times more closely around the best point. The distance from the mode that
is left enters the error squared.
"""

import math

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density, spline_quantiles
from bayesgrid.errors import ConfigurationError

__all__ = ["largest_log_densities", "predictive_entropies", "predictive_medians"]

_REACH = 6.5  # standard deviations of the base; what lies beyond adds less than 1e-8 to an entropy
_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)
_STEPS = 6  # between two knots
_CLOSER = 8  # closer steps on each side of the best point


@compiled
def _write_breaks(
    spline: npt.NDArray[np.float32],
    outer: npt.NDArray[np.float64],
    inner: npt.NDArray[np.float64],
    breaks: npt.NDArray[np.float64],
) -> None:
    """Write the targets `[2 (K + 1)]`, ascending, between which the flow with knots `[2, 3, K + 1]` is smooth.

    Args:
        spline: knots of both splines.
        outer: `[K + 1]`, working memory.
        inner: `[K + 1]`, working memory.
        breaks: written.
    """
    bins = spline.shape[2] - 1
    outer[:] = spline[1, 1]
    spline_quantiles(spline, outer, inner)  # r1^-1(r2^-1(Y_k)) = r1^-1(X_k), the knots of r2 seen from y
    breaks[: bins + 1] = spline[0, 0]
    breaks[bins + 1 :] = inner
    breaks.sort()


@compiled
def _spline_entropies(
    knots: npt.NDArray[np.float32],
    reach: float,
    abscissas: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    entropies: npt.NDArray[np.float64],
) -> None:
    """Write ``entropies`` `[T, M]` of the densities with ``knots`` `[T, M, 2, 3, K + 1]`.

    Args:
        knots: of the flows.
        reach: bound of the base, in its standard deviations.
        abscissas: `[P]` in (-1, 1), of the rule for each piece.
        weights: `[P]`, of that rule.
        entropies: written.
    """
    bins = knots.shape[4] - 1
    inner, outer = np.empty(bins + 1), np.empty(bins + 1)
    breaks, edges, slopes = np.empty(2 * bins + 2), np.empty(2 * bins + 2), np.empty(2 * bins + 2)
    count = (2 * bins + 3) * abscissas.shape[0]
    base, masses = np.empty(count), np.empty(count)
    quantiles, images, log_density = np.empty(count), np.empty(count), np.empty(count)
    for draw in range(knots.shape[0]):
        for candidate in range(knots.shape[1]):
            spline = knots[draw, candidate]
            _write_breaks(spline, outer, inner, breaks)
            spline_log_density(spline, breaks, slopes, edges)
            left = -reach
            total = 0.0
            for piece in range(2 * bins + 3):
                right = min(max(edges[piece], left), reach) if piece < 2 * bins + 2 else reach
                half = 0.5 * (right - left)
                for place in range(abscissas.shape[0]):
                    node = piece * abscissas.shape[0] + place
                    base[node] = left + half * (1.0 + abscissas[place])
                    masses[node] = half * weights[place] * math.exp(-0.5 * base[node] * base[node])
                    total += masses[node]
                left = right
            spline_quantiles(spline, base, quantiles)
            spline_log_density(spline, quantiles, log_density, images)
            entropy = 0.0
            for node in range(count):
                entropy -= masses[node] * log_density[node]
            entropies[draw, candidate] = entropy / total


@compiled
def _spline_peaks(knots: npt.NDArray[np.float32], steps: int, closer: int, peaks: npt.NDArray[np.float64]) -> None:
    """Write ``peaks`` `[T, M]`, the largest log-densities with ``knots`` `[T, M, 2, 3, K + 1]`."""
    bins = knots.shape[4] - 1
    breaks = np.empty(2 * bins + 2)
    inner, outer = np.empty(bins + 1), np.empty(bins + 1)
    count = steps * (2 * bins + 1) + 1
    nodes, images, log_density = np.empty(count), np.empty(count), np.empty(count)
    near, near_images, near_density = np.empty(2 * closer + 1), np.empty(2 * closer + 1), np.empty(2 * closer + 1)
    for draw in range(knots.shape[0]):
        for candidate in range(knots.shape[1]):
            spline = knots[draw, candidate]
            _write_breaks(spline, outer, inner, breaks)
            for piece in range(2 * bins + 1):
                width = breaks[piece + 1] - breaks[piece]
                for step in range(steps):
                    nodes[piece * steps + step] = breaks[piece] + width * step / steps
            nodes[count - 1] = breaks[2 * bins + 1]
            # Beyond all knots the density is that of the base and falls, so that no mode lies there.
            spline_log_density(spline, nodes, log_density, images)
            best = int(np.argmax(log_density))
            peak = log_density[best]
            centre, left, right = nodes[best], nodes[max(best - 1, 0)], nodes[min(best + 1, count - 1)]
            for _ in range(3):
                for step in range(closer):
                    near[step] = left + (centre - left) * step / closer
                    near[closer + 1 + step] = centre + (right - centre) * (step + 1) / closer
                near[closer] = centre
                spline_log_density(spline, near, near_density, near_images)
                best = int(np.argmax(near_density))
                peak = max(peak, near_density[best])
                centre, left, right = near[best], near[max(best - 1, 0)], near[min(best + 1, 2 * closer)]
            peaks[draw, candidate] = peak


@compiled
def _spline_medians(knots: npt.NDArray[np.float32], medians: npt.NDArray[np.float64]) -> None:
    """Write ``medians`` `[T, M]` of the densities with ``knots`` `[T, M, 2, 3, K + 1]`."""
    centre, quantile = np.zeros(1), np.empty(1)
    for draw in range(knots.shape[0]):
        for candidate in range(knots.shape[1]):
            spline_quantiles(knots[draw, candidate], centre, quantile)
            medians[draw, candidate] = quantile[0]


def _without_nonfinite(draws: PredictiveDraws, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Set ``values`` `[T, M]` to NaN where the draw is not finite."""
    match draws:
        case SplineDraws():
            finite = np.isfinite(draws.knots).all(axis=(2, 3, 4))
        case GaussianDraws():
            finite = np.isfinite(draws.mean) & np.isfinite(draws.standard_deviation)
    values[~finite] = np.nan
    return values


def predictive_entropies(draws: PredictiveDraws, *, piece_nodes: int = 16) -> npt.NDArray[np.float64]:
    """Return the differential entropy of every predictive density, `[T, M]` in nats.

    Args:
        draws: T draws at M inputs. NaN or infinite draws have NaN entropies.
        piece_nodes: nodes between two neighbouring knots of a spline draw.

    Raises:
        ConfigurationError: for fewer than 2 nodes.
    """
    if piece_nodes < 2:
        raise ConfigurationError("too few nodes to integrate entropies", given=piece_nodes, allowed="at least 2")
    entropies: npt.NDArray[np.float64]
    match draws:
        case GaussianDraws():
            entropies = np.log(draws.standard_deviation.astype(np.float64)) + (0.5 + _LOG_NORMAL_CONSTANT)
        case SplineDraws():
            abscissas, weights = np.polynomial.legendre.leggauss(piece_nodes)
            entropies = np.empty((draws.draws, draws.inputs), dtype=np.float64)
            _spline_entropies(np.ascontiguousarray(draws.knots), _REACH, abscissas, weights, entropies)
    return _without_nonfinite(draws, entropies)


def largest_log_densities(draws: PredictiveDraws) -> npt.NDArray[np.float64]:
    """Return the logarithm of the highest density of every predictive density, `[T, M]` in nats.

    Args:
        draws: T draws at M inputs. NaN or infinite draws have NaN log-densities.
    """
    peaks: npt.NDArray[np.float64]
    match draws:
        case GaussianDraws():
            peaks = -np.log(draws.standard_deviation.astype(np.float64)) - _LOG_NORMAL_CONSTANT
        case SplineDraws():
            peaks = np.empty((draws.draws, draws.inputs), dtype=np.float64)
            _spline_peaks(np.ascontiguousarray(draws.knots), _STEPS, _CLOSER, peaks)
    return _without_nonfinite(draws, peaks)


def predictive_medians(draws: PredictiveDraws) -> npt.NDArray[np.float64]:
    """Return the median of every predictive density, `[T, M]` in units of the target.

    Args:
        draws: T draws at M inputs. NaN or infinite draws have NaN medians.
    """
    medians: npt.NDArray[np.float64]
    match draws:
        case GaussianDraws():
            medians = draws.mean.astype(np.float64)
        case SplineDraws():
            medians = np.empty((draws.draws, draws.inputs), dtype=np.float64)
            _spline_medians(np.ascontiguousarray(draws.knots), medians)
    return _without_nonfinite(draws, medians)
