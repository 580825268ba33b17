r"""Point predictions, intervals and proper scores of one-dimensional predictive densities, without sampling.

A flow's density is the image of a standard normal Z under a monotone map Q, so everything is an integral over Z:
``median = Q(0)``, ``E[y] = E[Q(Z)]``, ``Var[y] = E[(Q(Z) - E[y])^2]`` and, with z* the preimage of the observed target,

``CRPS = 2 \int (1[z > z*] - Phi(z)) (Q(z) - y) phi(z) dz``

(the quantile form; Gneiting and Raftery 2007, Strictly Proper Scoring Rules, Prediction, and Estimation, section 4.2;
Laio and Tamea 2007, equation 6). Q is a rational function between the images of the knots and has jumps of curvature
there, where one quadrature rule over the whole line is wrong by up to a third for steep splines; Gauss-Legendre nodes
are therefore laid between consecutive images and z*. All quantities are in the units of y.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density, spline_quantiles
from bayesgrid.studies.regression.models.compilation import compiled

__all__ = ["ExactPrediction", "exact_prediction", "mode_of_samples"]

_Values = npt.NDArray[np.float64]

_INTERVAL_END = float(ndtri(0.95))
_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)
_FARTHEST = 8.5
"""Beyond this many standard deviations the normal density is below 1e-16."""
_FIXED_BREAKS = (-_FARTHEST, -3.5, -2.0, -0.7, 0.7, 2.0, 3.5, _FARTHEST)
"""Pieces end here too, so that none is long compared with the normal density."""
_NODES_PER_PIECE = 8


@dataclass(frozen=True)
class ExactPrediction:
    """What n predictive densities say about n observed targets; every array is `[n]`.

    Args:
        log_density: ``log p(y)``.
        probability_integral: ``F(y)``, uniform if the model is calibrated.
        crps: continuous ranked probability score.
        median: ``Q(0.5)``.
        mean: expectation.
        standard_deviation: of the predictive density.
        lower: 5 % quantile.
        upper: 95 % quantile.
    """

    log_density: _Values
    probability_integral: _Values
    crps: _Values
    median: _Values
    mean: _Values
    standard_deviation: _Values
    lower: _Values
    upper: _Values

    def rescaled(self, location: float, scale: float) -> "ExactPrediction":
        """Return the same for targets ``location + scale * y``; log-densities fall by ``log(scale)``."""
        return ExactPrediction(
            log_density=self.log_density - math.log(scale),
            probability_integral=self.probability_integral,
            crps=self.crps * scale,
            median=location + scale * self.median,
            mean=location + scale * self.mean,
            standard_deviation=self.standard_deviation * scale,
            lower=location + scale * self.lower,
            upper=location + scale * self.upper,
        )


def exact_prediction(densities: PredictiveDraws, targets: npt.NDArray[np.floating]) -> ExactPrediction:
    """Return the exact quantities of single-draw densities (T = 1) at targets `[n]`."""
    observed = np.ascontiguousarray(targets, dtype=np.float64)
    if isinstance(densities, GaussianDraws):
        return _gaussian_prediction(
            densities.mean[0].astype(np.float64), densities.standard_deviation[0].astype(np.float64), observed
        )
    nodes, weights = np.polynomial.legendre.leggauss(_NODES_PER_PIECE)
    columns = np.empty((8, len(observed)))
    _spline_prediction(densities.knots[0], observed, 0.5 * (nodes + 1.0), 0.5 * weights, columns)
    return ExactPrediction(*columns)


def _gaussian_prediction(mean: _Values, deviation: _Values, observed: _Values) -> ExactPrediction:
    standardised = (observed - mean) / deviation
    density = np.exp(-0.5 * standardised**2) / math.sqrt(2.0 * math.pi)
    probability = ndtr(standardised)
    return ExactPrediction(
        log_density=-0.5 * standardised**2 - np.log(deviation) - _LOG_NORMAL_CONSTANT,
        probability_integral=probability,
        crps=deviation * (standardised * (2.0 * probability - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi)),
        median=mean,
        mean=mean,
        standard_deviation=deviation,
        lower=mean - _INTERVAL_END * deviation,
        upper=mean + _INTERVAL_END * deviation,
    )


@compiled
def _normal_probability(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2.0))


@compiled
def _spline_prediction(
    knots: npt.NDArray[np.float32],
    targets: _Values,
    nodes: _Values,
    node_weights: _Values,
    columns: _Values,
) -> None:
    """Write the fields of ExactPrediction, in order, into ``columns`` `[8, n]`; ``nodes`` are those of [0, 1]."""
    count = knots.shape[3]
    per_piece = nodes.shape[0]
    fixed = np.array(_FIXED_BREAKS)
    # The images of r1's knots and of r2's inner ones (those of the outer knots coincide), fixed ones, and the target's.
    pieces = 2 * count - 2 + fixed.shape[0]
    breaks = np.empty(pieces + 1)
    middles = np.empty(count)
    base = np.empty(pieces * per_piece)
    weights = np.empty(base.shape[0])
    quantiles = np.empty(base.shape[0])
    interval = np.array([-_INTERVAL_END, 0.0, _INTERVAL_END])
    ends = np.empty(3)
    point = np.empty(1)
    log_density = np.empty(1)
    image = np.empty(1)
    ignored = np.empty(count)
    for row in range(targets.shape[0]):
        target = targets[row]
        point[0] = target
        spline_log_density(knots[row], point, log_density, image)
        columns[0, row] = log_density[0]
        columns[1, row] = _normal_probability(image[0])
        split = min(max(image[0], -_FARTHEST), _FARTHEST)

        middles[:] = knots[row, 0, 0]
        spline_log_density(knots[row], middles, ignored, breaks[:count])
        breaks[count : 2 * count - 2] = knots[row, 1, 1, 1 : count - 1]
        breaks[2 * count - 2 : pieces] = fixed
        breaks[pieces] = split
        breaks.sort()
        for piece in range(pieces):
            left = breaks[piece]
            width = breaks[piece + 1] - left
            for node in range(per_piece):
                value = left + width * nodes[node]
                base[piece * per_piece + node] = value
                weights[piece * per_piece + node] = width * node_weights[node] * math.exp(-0.5 * value * value)
        spline_quantiles(knots[row], base, quantiles)
        total = 0.0
        mean = 0.0
        score = 0.0
        for i in range(base.shape[0]):
            total += weights[i]
            mean += weights[i] * quantiles[i]
            share = _normal_probability(-base[i]) if base[i] > split else -_normal_probability(base[i])
            score += weights[i] * share * (quantiles[i] - target)
        mean /= total
        variance = 0.0
        for i in range(base.shape[0]):
            deviation = quantiles[i] - mean
            variance += weights[i] * deviation * deviation
        spline_quantiles(knots[row], interval, ends)
        columns[2, row] = 2.0 * score / math.sqrt(2.0 * math.pi)
        columns[3, row] = ends[1]
        columns[4, row] = mean
        columns[5, row] = math.sqrt(variance / total)
        columns[6, row] = ends[0]
        columns[7, row] = ends[2]


def mode_of_samples(densities: PredictiveDraws, normal: npt.NDArray[np.floating]) -> _Values:
    """Return for each input `[n]` the sample with the highest density: the reference's point prediction.

    Args:
        densities: of n inputs, a single draw.
        normal: `[n, samples]`, standard-normal numbers that are mapped to samples.
    """
    if isinstance(densities, GaussianDraws):
        closest = np.take_along_axis(normal, np.abs(normal).argmin(axis=1)[:, None], axis=1)[:, 0]
        return np.asarray(densities.mean[0] + densities.standard_deviation[0] * closest, dtype=np.float64)
    modes = np.empty(len(normal))
    _spline_modes(densities.knots[0], np.sort(normal, axis=1).astype(np.float64), modes)
    return modes


@compiled
def _spline_modes(knots: npt.NDArray[np.float32], normal: _Values, modes: _Values) -> None:
    samples = np.empty(normal.shape[1])
    log_density = np.empty(normal.shape[1])
    images = np.empty(normal.shape[1])
    for row in range(normal.shape[0]):
        spline_quantiles(knots[row], normal[row], samples)
        spline_log_density(knots[row], samples, log_density, images)
        modes[row] = samples[np.argmax(log_density)]
