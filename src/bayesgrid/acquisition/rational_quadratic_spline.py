"""Density and quantiles of one flow of two rational-quadratic splines, at many ascending points.

The bin of the next point is the bin of the last one or a later one, so a pointer that only moves forward replaces the
search, and the knots stay in the first-level cache. Everything is float64, whatever the knots' type.

Source: Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv 1906.04032, equations 4 to 8.
"""

import math

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled

__all__ = ["spline_log_density", "spline_quantiles"]

_SMALLEST_SLOPE = 1e-300
_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)


@compiled
def _advance(
    knots: npt.NDArray[np.float32],
    points: npt.NDArray[np.float64],
    slopes: npt.NDArray[np.float64],
) -> None:
    """Replace the ascending ``points`` `[G]` by their images, and multiply ``slopes`` `[G]` by the derivative there.

    Args:
        knots: `[3, K + 1]`, one spline.
        points: changed in place.
        slopes: changed in place.
    """
    bins = knots.shape[1] - 1
    first = np.float64(knots[0, 0])
    last = np.float64(knots[0, bins])
    current = -1
    left = width_inverse = bottom = height = ratio = slope_left = slope_right = 0.0
    right = first
    for node in range(points.shape[0]):
        point = points[node]
        if point < first or point >= last:
            continue
        if point >= right:
            # Bins without width, from rounding of the knots, are stepped over; the bound holds if knots are NaN.
            while point >= right and current < bins - 1:
                current += 1
                right = np.float64(knots[0, current + 1])
            left = np.float64(knots[0, current])
            width_inverse = 1.0 / (right - left)
            bottom = np.float64(knots[1, current])
            height = np.float64(knots[1, current + 1]) - bottom
            ratio = height * width_inverse
            slope_left = np.float64(knots[2, current])
            slope_right = np.float64(knots[2, current + 1])
        position = (point - left) * width_inverse
        rest = 1.0 - position
        product = position * rest
        denominator = 1.0 / (ratio + (slope_right + slope_left - 2.0 * ratio) * product)
        scaled = ratio * denominator
        points[node] = bottom + height * (ratio * position * position + slope_left * product) * denominator
        slopes[node] *= (
            scaled * scaled * (slope_right * position * position + 2.0 * ratio * product + slope_left * rest * rest)
        )


@compiled
def _retreat(knots: npt.NDArray[np.float32], points: npt.NDArray[np.float64]) -> None:
    """Replace the ascending ``points`` `[U]` by their preimages under one spline with ``knots`` `[3, K + 1]`."""
    bins = knots.shape[1] - 1
    first = np.float64(knots[1, 0])
    last = np.float64(knots[1, bins])
    current = -1
    left = width = bottom = height = ratio = slope_left = curvature = 0.0
    top = first
    for node in range(points.shape[0]):
        point = points[node]
        if point < first or point >= last:
            continue
        if point >= top:
            while point >= top and current < bins - 1:
                current += 1
                top = np.float64(knots[1, current + 1])
            left = np.float64(knots[0, current])
            width = np.float64(knots[0, current + 1]) - left
            bottom = np.float64(knots[1, current])
            height = top - bottom
            ratio = height / width if width > 0.0 else math.inf
            slope_left = np.float64(knots[2, current])
            curvature = np.float64(knots[2, current + 1]) + slope_left - 2.0 * ratio
        if ratio == math.inf:  # a step of the spline: all its images have one preimage
            points[node] = left
            continue
        rise = point - bottom
        quadratic = height * (ratio - slope_left) + rise * curvature
        linear = height * slope_left - rise * curvature
        discriminant = linear * linear + 4.0 * quadratic * ratio * rise
        # The form of the root that does not cancel (Durkan et al., equation 8).
        points[node] = left + width * (2.0 * ratio * rise / (linear + math.sqrt(max(discriminant, 0.0))))


@compiled
def spline_log_density(
    knots: npt.NDArray[np.float32],
    nodes: npt.NDArray[np.float64],
    log_density: npt.NDArray[np.float64],
    images: npt.NDArray[np.float64],
) -> None:
    """Write ``log N(r2(r1(y)); 0, 1) + log r1'(y) + log r2'(r1(y))`` at every node y.

    Args:
        knots: `[2, 3, K + 1]`, one draw at one input.
        nodes: `[G]`, ascending.
        log_density: `[G]`, written; the log-densities in nats.
        images: `[G]`, written; the values ``r2(r1(y))``.
    """
    for node in range(nodes.shape[0]):
        images[node] = nodes[node]
        log_density[node] = 1.0
    _advance(knots[0], images, log_density)
    _advance(knots[1], images, log_density)
    for node in range(nodes.shape[0]):
        # Zero slopes, from rounding of the knots' heights, are a density of zero; its logarithm must stay finite.
        slope = max(log_density[node], _SMALLEST_SLOPE)
        log_density[node] = math.log(slope) - 0.5 * images[node] * images[node] - _LOG_NORMAL_CONSTANT


@compiled
def spline_quantiles(
    knots: npt.NDArray[np.float32], base: npt.NDArray[np.float64], quantiles: npt.NDArray[np.float64]
) -> None:
    """Write ``Q(Phi(z)) = r1^-1(r2^-1(z))`` at every base value z.

    Args:
        knots: `[2, 3, K + 1]`, one draw at one input.
        base: `[U]`, standard-normal quantiles, ascending.
        quantiles: `[U]`, written; ascending.
    """
    quantiles[:] = base
    _retreat(knots[1], quantiles)
    _retreat(knots[0], quantiles)
