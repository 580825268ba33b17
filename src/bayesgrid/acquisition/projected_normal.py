"""Moments of a Gaussian vector projected to the unit sphere: ``v = x / |x|``, ``x ~ N(m, diag V)``.

From ``1/|x|^2 = int exp(-t |x|^2) dt`` and ``1/|x| = pi^(-1/2) int t^(-1/2) exp(-t |x|^2) dt`` over t from 0, with
``D = 1 + 2 t V`` and ``phi(t) = prod_k D_k^(-1/2) exp(-t m_k^2 / D_k)``,

- ``E v = pi^(-1/2) int t^(-1/2) phi (m / D) dt``,
- ``E v v^T = int phi [diag(V / D) + (m / D)(m / D)^T] dt``, whose trace is 1.

The integrals are our own.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.errors import ConfigurationError, DataError

__all__ = ["ResponseMoments", "projected_normal_moments"]

_Array = npt.NDArray[np.float64]

# With |m|^2 + tr V scaled to 1, the integrands rise no slower than exp(x / 2) and fall no slower than exp(-x) in
# x = log t, so that nothing above rounding lies beyond 76. Evenly spaced y in x = 2 sinh y puts the nodes where the
# integrands vary and still reaches that far: 120 of them are exact to rounding.
_STRETCH = 2.0
_REACH = math.asinh(76.0 / _STRETCH)
_FEWEST_NODES = 32

# Below this tr V / |m|^2 the covariance is taken from its first order in V: what that leaves out is then smaller than
# what rounding takes from the integrals.
_NARROW = 1e-8


@dataclass(frozen=True)
class ResponseMoments:
    """First and second moments of n embeddings on the unit sphere.

    Args:
        mean: `[n, d]`, ``E v``.
        second_moment: `[n, d, d]`, ``E v v^T``.
    """

    mean: _Array
    second_moment: _Array


def projected_normal_moments(
    mean: npt.NDArray[np.floating], variance: npt.NDArray[np.floating], nodes: int = 160
) -> ResponseMoments:
    """Return the moments of ``x / |x|``, ``x ~ N(mean, diag(variance))``, to 1e-14; O(n nodes d^2) time.

    A row that is not finite has moments that are NaN.

    Args:
        mean: `[n, d]`, of any length above 0 unless there is variance.
        variance: `[n, d]`, 0 or greater.
        nodes: of the quadrature; 120 and more are exact to rounding, 100 to 1e-12, 80 to 1e-9.

    Raises:
        DataError: if the shapes differ, a variance is negative, or a response has neither mean nor variance.
        ConfigurationError: if there are fewer than 32 nodes.
    """
    if nodes < _FEWEST_NODES:
        raise ConfigurationError("too few nodes to integrate moments", given=nodes, allowed=f"at least {_FEWEST_NODES}")
    if mean.ndim != 2 or mean.shape != variance.shape:
        raise DataError(
            "means and variances do not belong together", given=f"{mean.shape} and {variance.shape}", allowed="[n, d]"
        )
    means = np.ascontiguousarray(mean, dtype=np.float64)
    variances = np.ascontiguousarray(variance, dtype=np.float64)
    if bool(np.any(variances < 0)):
        raise DataError("a variance is negative", given=float(np.nanmin(variances)), allowed="0 or greater")
    empty = np.flatnonzero(~(means.any(axis=1) | variances.any(axis=1)))
    if empty.size:
        raise DataError(
            "an embedding of zeros without variance has no direction", where=f"response {int(empty[0])}", given=0.0
        )
    places = np.linspace(-_REACH, _REACH, nodes)
    logarithms = _STRETCH * np.sinh(places)
    weights = (places[1] - places[0]) * _STRETCH * np.cosh(places)
    moments = ResponseMoments(np.zeros(means.shape), np.zeros((*means.shape, means.shape[1])))
    _integrate(means, variances, np.exp(logarithms), weights, moments.mean, moments.second_moment)
    return moments


@compiled
def _integrate(
    means: _Array, variances: _Array, times: _Array, weights: _Array, first_moment: _Array, second_moment: _Array
) -> None:
    """Add the moments of each row to ``first_moment`` `[n, d]` and ``second_moment`` `[n, d, d]`, which are zero."""
    size = means.shape[1]
    mean, variance, tilted, spread = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    for response in range(means.shape[0]):
        length, trace = 0.0, 0.0
        for k in range(size):
            length += means[response, k] * means[response, k]
            trace += variances[response, k]
        if trace < _NARROW * length:
            _narrow(means[response], variances[response], length, first_moment[response], second_moment[response])
            continue
        scale = length + trace
        for k in range(size):
            mean[k] = means[response, k] / math.sqrt(scale)
            variance[k] = variances[response, k] / scale
        for node in range(times.shape[0]):
            time = times[node]
            determinant, exponent = 1.0, 0.0
            for k in range(size):
                factor = 1.0 + 2.0 * time * variance[k]
                determinant *= factor
                tilted[k] = mean[k] / factor
                spread[k] = variance[k] / factor
                exponent += mean[k] * tilted[k]
            square = weights[node] * time * math.exp(-time * exponent) / math.sqrt(determinant)
            if square == 0.0:
                continue
            linear = square / math.sqrt(math.pi * time)
            for k in range(size):
                first_moment[response, k] += linear * tilted[k]
                second_moment[response, k, k] += square * spread[k]
                weighted = square * tilted[k]
                for m in range(k + 1):
                    second_moment[response, k, m] += weighted * tilted[m]
        for k in range(size):
            for m in range(k):
                second_moment[response, m, k] = second_moment[response, k, m]


@compiled
def _narrow(mean: _Array, variance: _Array, length: float, first_moment: _Array, second_moment: _Array) -> None:
    """Write the moments of one embedding to the first order of its variances; ``length`` is the squared one."""
    size = mean.shape[0]
    trace, along = 0.0, 0.0
    for k in range(size):
        trace += variance[k] / length
        along += variance[k] * mean[k] * mean[k] / (length * length)
    norm = math.sqrt(length)
    for k in range(size):
        unit = mean[k] / norm
        first_moment[k] = unit * (1.0 - 0.5 * trace + 1.5 * along - variance[k] / length)
    for k in range(size):
        for m in range(size):
            product = mean[k] * mean[m] / length
            covariance = product * (along - (variance[k] + variance[m]) / length)
            if k == m:
                covariance += variance[k] / length
            second_moment[k, m] = first_moment[k] * first_moment[m] + covariance
