"""The reference code's scores from 64 samples of each predictive density, defects included.

Read by ``mode: faithful`` alone. Every draw of every candidate has its own samples, so that two equal densities differ
by the noise of 64 samples in all that follows.

Source: BALSA (arXiv 2501.01248), section 4, and the formulas of its reference code at commit d68a3380.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density, spline_quantiles

__all__ = [
    "DensitySamples",
    "density_samples",
    "earth_mover_all_pairs",
    "earth_mover_consecutive",
    "last_less_first",
    "mean_of_means_difference",
    "mixture_anomaly",
    "noisy_modes",
    "sample_deviations",
    "sampled_peaks",
]

_SAMPLES = 64
_CANDIDATES_AT_ONCE = 256
_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class DensitySamples:
    """S samples of each of T densities of m candidates, for targets scaled to [0, 1].

    Args:
        targets: float32 `[m, T, S]`, ascending.
        log_density: float32 `[m, T, S]`, of each sample under its own density, in nats.
    """

    targets: npt.NDArray[np.float32]
    log_density: npt.NDArray[np.float32]


@compiled
def _sample_splines(
    knots: npt.NDArray[np.float32],
    first: int,
    base: npt.NDArray[np.float64],
    targets: npt.NDArray[np.float64],
    log_density: npt.NDArray[np.float64],
) -> None:
    """Write samples and their log-densities `[m, T, S]` of the candidates from ``first`` on.

    Args:
        knots: `[T, M, 2, 3, K + 1]`.
        first: place of the first candidate.
        base: `[m, T, S]`, standard-normal numbers, ascending.
        targets: written, in the network's units.
        log_density: written, in the network's units.
    """
    images = np.empty(base.shape[2])
    for place in range(base.shape[0]):
        for draw in range(base.shape[1]):
            spline = knots[draw, first + place]
            spline_quantiles(spline, base[place, draw], targets[place, draw])
            spline_log_density(spline, targets[place, draw], log_density[place, draw], images)


def density_samples(
    draws: PredictiveDraws, rng: np.random.Generator, *, location: float, scale: float
) -> Iterator[DensitySamples]:
    """Yield 64 samples of every density, some candidates at a time and all of them in order.

    Args:
        draws: T draws at M candidates, of ``(target - location) / scale`` with the target scaled to [0, 1]. NaN or
            infinite draws have NaN samples.
        rng: the stream of the samples; M x T x 64 numbers, whatever the number of candidates at a time.
        location: of the network's targets.
        scale: of the network's targets.
    """
    for first in range(0, draws.inputs, _CANDIDATES_AT_ONCE):
        count = min(_CANDIDATES_AT_ONCE, draws.inputs - first)
        shape = (count, draws.draws, _SAMPLES)
        base = np.sort(rng.standard_normal(shape, dtype=np.float32), axis=2).astype(np.float64)
        match draws:
            case SplineDraws():
                targets, log_density = np.empty(shape), np.empty(shape)
                knots = np.ascontiguousarray(draws.knots)
                _sample_splines(knots, first, base, targets, log_density)
                finite = np.isfinite(knots[:, first : first + count]).all(axis=(2, 3, 4))
            case GaussianDraws():
                mean = draws.mean[:, first : first + count].astype(np.float64)
                deviation = draws.standard_deviation[:, first : first + count].astype(np.float64)
                targets = mean.T[:, :, np.newaxis] + deviation.T[:, :, np.newaxis] * base
                log_density = -0.5 * base * base - np.log(deviation.T)[:, :, np.newaxis] - _LOG_NORMAL_CONSTANT
                finite = np.isfinite(mean) & np.isfinite(deviation)
        targets[~finite.T] = np.nan
        log_density[~finite.T] = np.nan
        yield DensitySamples(
            targets=(location + scale * targets).astype(np.float32),
            log_density=(log_density - math.log(scale)).astype(np.float32),
        )


def sample_deviations(samples: DensitySamples) -> npt.NDArray[np.float64]:
    """Return the standard deviation of the samples, `[m, T]`, over S - 1: off by a tenth with 64 of them."""
    return np.asarray(samples.targets.astype(np.float64).std(axis=2, ddof=1))


def noisy_modes(samples: DensitySamples) -> npt.NDArray[np.float64]:
    """Return the sample of the highest density, `[m, T]`: it moves about the mode even if the density does not."""
    best = np.argmax(samples.log_density, axis=2)[:, :, np.newaxis]
    return np.take_along_axis(samples.targets, best, axis=2)[:, :, 0].astype(np.float64)


def sampled_peaks(samples: DensitySamples) -> npt.NDArray[np.float64]:
    """Return the highest log-density of the samples, `[m, T]`, which is too low by what they miss of the mode."""
    return np.asarray(samples.log_density.max(axis=2), dtype=np.float64)


def last_less_first(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ``sum_{h<T} (v_{h+1} - v_h) = v_T - v_1``, `[m]`, of ``values`` `[m, T]`: what lies between cancels."""
    return values[:, -1] - values[:, 0]


def earth_mover_consecutive(samples: DensitySamples) -> npt.NDArray[np.float64]:
    """Return ``sum_{h<T} W1(Y_h, Y_{h+1})``, `[m]`, of the samples: above zero even if the draws agree.

    Between two samples of one size, sorted, the distance is the mean of the differences rank by rank.
    """
    distances = np.abs(np.diff(samples.targets.astype(np.float64), axis=1)).mean(axis=2)
    return np.asarray(distances.sum(axis=1))


def earth_mover_all_pairs(samples: DensitySamples) -> npt.NDArray[np.float64]:
    """Return ``sum_{h<h'} W1(Y_h, Y_h')``, `[m]`, of the samples: above zero even if the draws agree.

    By a sort of the T draws at each rank, ``sum_{h<h'} |y_h - y_h'| = sum_k (2 k - T - 1) y_(k)``.
    """
    draws = samples.targets.shape[1]
    ordered = np.sort(samples.targets.transpose(0, 2, 1), axis=2).astype(np.float64)
    weights = 2.0 * np.arange(1, draws + 1) - draws - 1
    return np.asarray((ordered @ weights).mean(axis=1))


def mixture_anomaly(samples: DensitySamples) -> npt.NDArray[np.float64]:
    """Return ``-sum_h sum_s log(p_h(y_hs) / p(s))``, `[m]`, with ``p(s) = (1/T) sum_h p_h(y_hs)``.

    Every density is read at its own samples, so that p is the mean of densities at different targets and no density.
    """
    log_density = samples.log_density.astype(np.float64)
    largest = log_density.max(axis=1, keepdims=True)
    log_mean = largest + np.log(np.exp(log_density - largest).mean(axis=1, keepdims=True))
    return np.asarray((log_mean - log_density).sum(axis=(1, 2)))


def mean_of_means_difference(samples: DensitySamples) -> npt.NDArray[np.float64]:
    """Return ``mean_s mean_h log p_h(y_hs) - mean_h mean_s log p_h(y_hs)``, `[m]`: zero but for rounding.

    The two are one mean, added up in two orders in single precision. What is left knows nothing of disagreement, but it
    is larger where log-densities are: the highest scores are those of the narrowest densities.
    """
    # Element by element, so that the order of the sums, which is all there is, does not depend on the processor.
    by_sample = np.zeros_like(samples.log_density[:, 0, :])
    for draw in range(samples.log_density.shape[1]):
        by_sample += samples.log_density[:, draw, :]
    by_draw = np.zeros_like(samples.log_density[:, :, 0])
    for sample in range(samples.log_density.shape[2]):
        by_draw += samples.log_density[:, :, sample]
    by_sample /= np.float32(samples.log_density.shape[1])
    by_draw /= np.float32(samples.log_density.shape[2])
    return (_mean_in_order(by_sample) - _mean_in_order(by_draw)).astype(np.float64)


def _mean_in_order(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean over columns of ``values`` `[m, k]`, added from the first to the last."""
    total = np.zeros_like(values[:, 0])
    for column in range(values.shape[1]):
        total += values[:, column]
    return total / np.float32(values.shape[1])
