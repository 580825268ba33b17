"""How uncertain a yes or no is when its logit is: ``y ~ Bernoulli(sigma(z))``, ``z ~ N(m, v)``.

Everything is in nats and follows from expectations over z. Two rules compute them, each where it is exact to 1e-12:

- ``v < 1``: Gauss-Hermite quadrature. Its error grows as ``exp(-2 pi sqrt(nodes / v))``, because sigma has poles at
  ``z = +- i pi``; with 32 nodes it is 4e-3 at v = 30 and 0.09 at v = 1000.
- ``v >= 1``: sigma is a step, whose expectation is the normal distribution function, and a rest that falls as
  ``exp(-|z|)``; so does the entropy of ``sigma(z)``. Gauss-Legendre quadrature of the rest over ``0 <= |z| <= 40``
  against a density that is never narrower than the rest.

All are even in m, or odd about 1/2 (the mean). A mean or variance that is not finite gives NaN.

Sources: Houlsby, Huszar, Ghahramani, Lengyel (2011), Bayesian Active Learning for Classification and Preference
Learning, arXiv 1112.5745 (BALD and its closed form, for a probit); MacKay (1992), The Evidence
Framework Applied to Classification Networks; Bryan et al. (2005), Active Learning for Identifying Function
Threshold Boundaries (straddle).
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.errors import ConfigurationError, DataError

__all__ = [
    "bald",
    "expected_entropy",
    "houlsby_bald",
    "mackay_probability",
    "mean_probability",
    "predictive_entropy",
    "probability_variance",
    "straddle",
]

_Array = npt.NDArray[np.float64]

_WIDE = 1.0
_END = 40.0
_FEWEST_NODES = 16
# Below this variance the difference of the two entropies is lost in rounding more than its first order in v is wrong.
_NARROW = 1e-7
# A probit of slope sqrt(pi / 8) is as steep at 0 as sigma, and so near to it that the closed forms below use it.
_PROBIT_SQUARED = math.pi / 8.0


def mean_probability(m: npt.ArrayLike, v: npt.ArrayLike, nodes: int = 32) -> _Array:
    """Return ``E sigma(z)``.

    Args:
        m: means of the logits.
        v: their variances, 0 or greater; both broadcast to the shape of the result.
        nodes: of the Gauss-Hermite rule, and half of those of the other one.

    Raises:
        DataError: if a variance is negative; so do all functions of this module.
        ConfigurationError: if there are fewer than 16 nodes; so do all that take them.
    """
    means, variances = _logits(m, v)
    unlikely = _expectations(means, variances, nodes)[0]
    return np.where(means < 0, unlikely, 1.0 - unlikely)


def predictive_entropy(m: npt.ArrayLike, v: npt.ArrayLike, nodes: int = 32) -> _Array:
    """Return ``H(E sigma(z))``, at most log 2: how undecided the answer is, for whatever reason."""
    return _entropy(_expectations(*_logits(m, v), nodes)[0])


def expected_entropy(m: npt.ArrayLike, v: npt.ArrayLike, nodes: int = 32) -> _Array:
    """Return ``E H(sigma(z))``: the part of the predictive entropy that knowing z would leave."""
    return _expectations(*_logits(m, v), nodes)[1]


def bald(m: npt.ArrayLike, v: npt.ArrayLike, nodes: int = 32) -> _Array:
    """Return ``H(E sigma(z)) - E H(sigma(z))``: what the answer tells about z, 0 (v = 0) to log 2.

    Small variances have ``v p (1 - p) / 2``, its first order, so that the ranking does not end in rounding.
    """
    means, variances = _logits(m, v)
    unlikely, expected, _ = _expectations(means, variances, nodes)
    difference = np.maximum(_entropy(unlikely) - expected, 0.0)
    return np.where(variances < _NARROW, 0.5 * variances * unlikely * (1.0 - unlikely), difference)


def probability_variance(m: npt.ArrayLike, v: npt.ArrayLike, nodes: int = 32) -> _Array:
    """Return ``Var sigma(z)``, at most 1/4."""
    return _expectations(*_logits(m, v), nodes)[2]


def straddle(m: npt.ArrayLike, v: npt.ArrayLike, kappa: float = 1.0) -> _Array:
    """Return ``kappa sqrt(v) - |m|``: by how much kappa standard deviations reach across the undecided logit 0."""
    means, variances = _logits(m, v)
    return kappa * np.sqrt(variances) - np.abs(means)


def houlsby_bald(m: npt.ArrayLike, v: npt.ArrayLike) -> _Array:
    """Return Houlsby's closed form of BALD, an approximation: up to 0.03 off, and slightly below 0 for some.

    ``H(Phi(m' / sqrt(1 + v'))) - log 2 C / sqrt(v' + C^2) exp(-m'^2 / (2 (v' + C^2)))`` with ``m' = m sqrt(pi / 8)``,
    ``v' = v pi / 8`` and ``C^2 = pi log 2 / 2``.
    """
    means, variances = _logits(m, v)
    squares, spreads = _PROBIT_SQUARED * means**2, _PROBIT_SQUARED * variances
    constant = math.pi * math.log(2.0) / 2.0
    unlikely = special.ndtr(-np.sqrt(squares / (1.0 + spreads)))
    wide = spreads + constant
    expected = math.log(2.0) * np.sqrt(constant / wide) * np.exp(-0.5 * squares / wide)
    return _entropy(unlikely) - expected


def mackay_probability(m: npt.ArrayLike, v: npt.ArrayLike) -> _Array:
    """Return MacKay's closed form of ``E sigma(z)``, ``sigma(m / sqrt(1 + pi v / 8))``: up to 0.016 off."""
    means, variances = _logits(m, v)
    probability: _Array = special.expit(means / np.sqrt(1.0 + _PROBIT_SQUARED * variances))
    return probability


def _logits(m: npt.ArrayLike, v: npt.ArrayLike) -> tuple[_Array, _Array]:
    means, variances = np.broadcast_arrays(np.asarray(m, dtype=np.float64), np.asarray(v, dtype=np.float64))
    if bool(np.any(variances < 0)):
        raise DataError(
            "the variance of a logit is negative", given=float(np.nanmin(variances)), allowed="0 or greater"
        )
    finite = np.isfinite(means) & np.isfinite(variances)
    return np.where(finite, means, np.nan), np.where(finite, variances, np.nan)


def _entropy(probability: _Array) -> _Array:
    """Return ``H(p)`` for p up to 1/2, to full relative precision."""
    entropy: _Array = special.entr(probability) - (1.0 - probability) * np.log1p(-probability)
    return entropy


def _expectations(means: _Array, variances: _Array, nodes: int) -> tuple[_Array, _Array, _Array]:
    """Return the mean probability of the less likely answer, the expected entropy and the variance of sigma."""
    if nodes < _FEWEST_NODES:
        raise ConfigurationError(
            "too few nodes to integrate over a logit", given=nodes, allowed=f"at least {_FEWEST_NODES}"
        )
    places, weights = special.roots_hermitenorm(nodes)
    halves, half_weights = np.polynomial.legendre.leggauss(2 * nodes)
    found = np.empty((3, means.size))
    _integrate(
        np.abs(means).ravel(),
        variances.ravel(),
        places,
        weights / math.sqrt(2.0 * math.pi),
        0.5 * _END * (halves + 1.0),
        0.5 * _END * half_weights,
        found,
    )
    unlikely, expected, spread = found.reshape(3, *means.shape)
    return unlikely, expected, spread


@compiled
def _integrate(
    means: _Array,
    variances: _Array,
    places: _Array,
    weights: _Array,
    halves: _Array,
    half_weights: _Array,
    found: _Array,
) -> None:
    """Write ``E sigma(-z)``, ``E H(sigma(z))`` and ``Var sigma(z)`` for means of at least 0 into ``found`` `[3, N]`."""
    doubts, entropies = np.empty(halves.shape[0]), np.empty(halves.shape[0])
    for node in range(halves.shape[0]):
        small = math.exp(-halves[node])
        doubts[node] = small / (1.0 + small)
        entropies[node] = math.log1p(small) + halves[node] * doubts[node]
    drawn = np.empty(places.shape[0])
    for logit in range(means.shape[0]):
        mean, deviation = means[logit], math.sqrt(variances[logit])
        unlikely, entropy, spread = 0.0, 0.0, 0.0
        if variances[logit] >= _WIDE:
            product = 0.0
            for node in range(halves.shape[0]):
                above = (halves[node] - mean) / deviation
                below = (halves[node] + mean) / deviation
                density = half_weights[node] * math.exp(-0.5 * above * above)
                mirrored = half_weights[node] * math.exp(-0.5 * below * below)
                unlikely += doubts[node] * (density - mirrored)
                entropy += entropies[node] * (density + mirrored)
                product += doubts[node] * (1.0 - doubts[node]) * (density + mirrored)
            constant = 1.0 / (deviation * math.sqrt(2.0 * math.pi))
            unlikely = 0.5 * math.erfc(mean / (deviation * math.sqrt(2.0))) + constant * unlikely
            entropy *= constant
            # Var p = E p (1 - E p) - E p (1 - p).
            spread = max(unlikely * (1.0 - unlikely) - constant * product, 0.0)
        else:
            for node in range(places.shape[0]):
                value = mean + deviation * places[node]
                small = math.exp(-abs(value))
                doubt = small / (1.0 + small)
                drawn[node] = doubt if value >= 0.0 else 1.0 - doubt
                unlikely += weights[node] * drawn[node]
                entropy += weights[node] * (math.log1p(small) + abs(value) * doubt)
            for node in range(places.shape[0]):
                spread += weights[node] * (drawn[node] - unlikely) ** 2
        found[0, logit], found[1, logit], found[2, logit] = unlikely, entropy, spread
