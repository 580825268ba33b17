"""Proper scoring rules of predictive densities: negative log density and CRPS; lower is better.

- Gneiting & Raftery (2007), Strictly proper scoring rules, prediction, and estimation.
- Ferro (2014), Fair scores for ensemble forecasts: the unbiased ensemble CRPS.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["crps_from_cdf", "crps_from_quantiles", "ensemble_crps", "gaussian_crps", "mean_negative_log_density"]


def mean_negative_log_density(log_density: npt.ArrayLike) -> float:
    """Return the mean of ``-log p(y)`` in nats; a density of 0 at an observation gives infinity.

    Args:
        log_density: natural logarithm of the predictive density at each observation, any shape.

    Raises:
        DataError: for no observation, NaN, or a density of infinity.
    """
    values = checked_array(log_density, name="log density", finite=False)
    if np.isposinf(values).any():
        raise DataError("the density is infinite at an observation", where="log density", allowed="a finite density")
    return float(-values.mean())


def ensemble_crps(
    draws: npt.ArrayLike, observed: npt.ArrayLike, *, estimator: Literal["fair", "plain"] = "fair"
) -> FloatArray:
    r"""Return the CRPS of each observation under draws from its predictive distribution.

    ``mean_i |x_i - y| - 1/2 mean_ij |x_i - x_j|``, the second mean over all M^2 pairs (``plain``: the CRPS of the
    empirical distribution, biased upwards by the CRPS' spread term over M) or over the M (M - 1) pairs of different
    draws (``fair``: unbiased for the distribution drawn from; Ferro 2014). Pairs are summed by sorting, O(M log M).

    Args:
        draws: ``[..., M]``.
        observed: ``[...]``, in the unit of the draws, which is the unit of the result.
        estimator: see above.

    Raises:
        DataError: for NaN, infinity, shapes that do not fit, or fewer than 2 draws with ``fair``.
    """
    sample = np.sort(checked_array(draws, name="draws"), axis=-1)
    target = _observations(observed, sample.shape[:-1])
    count = sample.shape[-1]
    if estimator == "fair" and count < 2:
        raise DataError(
            "the fair ensemble CRPS needs pairs of draws", given=f"{count} draw", allowed="at least 2 draws"
        )
    distance = np.abs(sample - target[..., None]).mean(axis=-1)
    # In sorted order x_(k) is the larger of a pair k - 1 times and the smaller M - k times.
    rank_weight = 2.0 * np.arange(1, count + 1) - count - 1.0
    pairs = count * (count - 1) if estimator == "fair" else count**2
    result: FloatArray = distance - (sample * rank_weight).sum(axis=-1) / pairs
    return result


def gaussian_crps(mean: npt.ArrayLike, standard_deviation: npt.ArrayLike, observed: npt.ArrayLike) -> FloatArray:
    """Return ``s (z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi))`` with ``z = (y - mean) / s``, elementwise.

    Raises:
        DataError: for NaN, infinity, shapes that differ, or a standard deviation that is not positive.

    Source: Gneiting & Raftery (2007), equation 21.
    """
    centre = checked_array(mean, name="mean")
    scale = checked_array(standard_deviation, name="standard deviation")
    target = checked_array(observed, name="observed")
    same_shape(mean=centre, standard_deviation=scale, observed=target)
    if (scale <= 0).any():
        raise DataError("a standard deviation is not positive", given=float(scale.min()), allowed="greater than 0")
    z = (target - centre) / scale
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    result: FloatArray = scale * (z * (2 * special.ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return result


def crps_from_cdf(
    cdf: Callable[[FloatArray], FloatArray],
    observed: npt.ArrayLike,
    *,
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    nodes: int = 128,
) -> FloatArray:
    """Return the CRPS of each observation from its predictive distribution function.

    ``int_{t < y} F(t)^2 dt + int_{t > y} (1 - F(t))^2 dt``, each side by Gauss-Legendre quadrature, so that the jump of
    the integrand at y costs no accuracy.

    Args:
        cdf: maps points ``[N, J]``, row n for observation n, to probabilities ``[N, J]``.
        observed: ``[N]``.
        lower: ``[N]``, where F is negligible, such as its 1e-4 quantile; moved down to y when above it.
        upper: ``[N]``, where 1 - F is negligible; moved up to y when below it.
        nodes: nodes in all, half on each side of y.

    Raises:
        DataError: for NaN, infinity, shapes that differ, fewer than 2 nodes, or probabilities outside [0, 1].
    """
    target = checked_array(observed, name="observed", dimensions=1)
    low = checked_array(lower, name="lower", dimensions=1)
    high = checked_array(upper, name="upper", dimensions=1)
    same_shape(observed=target, lower=low, upper=high)
    if nodes < 2:
        raise DataError("quadrature needs a node on each side", given=nodes, allowed="at least 2 nodes")
    position, weight = np.polynomial.legendre.leggauss(nodes // 2)
    share = 0.5 * (position + 1)
    below = target - np.minimum(low, target)
    above = np.maximum(high, target) - target
    left = _probabilities(cdf(target[:, None] - below[:, None] * share))
    right = _probabilities(cdf(target[:, None] + above[:, None] * share))
    result: FloatArray = 0.5 * (below * (left**2 @ weight) + above * ((1 - right) ** 2 @ weight))
    return result


def crps_from_quantiles(
    quantiles: npt.ArrayLike, levels: npt.ArrayLike, weights: npt.ArrayLike, observed: npt.ArrayLike
) -> FloatArray:
    """Return the CRPS of each observation from quantiles: ``2 int_0^1 (1[y < Q(u)] - u) (Q(u) - y) du``.

    Args:
        quantiles: ``[N, U]``, Q at the levels.
        levels: ``[U]``, nodes of a quadrature rule in (0, 1).
        weights: ``[U]``, its weights, which sum to 1.
        observed: ``[N]``.

    Raises:
        DataError: for NaN, infinity, shapes that do not fit, levels outside (0, 1) or weights that do not sum to 1.

    Source: Laio & Tamea (2007), equation 10: the CRPS as an integral of quantile scores.
    """
    values = checked_array(quantiles, name="quantiles", dimensions=2)
    level = checked_array(levels, name="levels", dimensions=1)
    weight = checked_array(weights, name="weights", dimensions=1)
    same_shape(levels=level, weights=weight, quantiles_of_one_observation=values[0])
    target = _observations(observed, values.shape[:1])
    if (level <= 0).any() or (level >= 1).any():
        raise DataError("a level is outside (0, 1)", where="levels", given=f"{level.min()} to {level.max()}")
    if abs(weight.sum() - 1) > 1e-8:
        raise DataError("the weights do not sum to 1", where="weights", given=float(weight.sum()), allowed=1)
    excess = values - target[:, None]
    result: FloatArray = 2 * ((excess > 0) - level) * excess @ weight
    return result


def _observations(observed: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    target = np.asarray(observed, dtype=np.float64)
    if target.shape != shape:
        raise DataError("observations do not match the predictions", given=f"shape {target.shape}", allowed=f"{shape}")
    if not np.isfinite(target).all():
        raise DataError("an observation is not finite", where="observed")
    return target


def _probabilities(values: FloatArray) -> FloatArray:
    probability = checked_array(values, name="cdf")
    if (probability < -1e-9).any() or (probability > 1 + 1e-9).any():
        raise DataError(
            "the distribution function leaves [0, 1]", where="cdf", given=f"{probability.min()} to {probability.max()}"
        )
    return probability
