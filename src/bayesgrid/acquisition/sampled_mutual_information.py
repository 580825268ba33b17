"""The mutual information between target and parameters, estimated from samples of each draw.

``MI = (1/T) sum_h E_{y ~ p_h}[log p_h(y) - log p(y)]``, ``p = (1/T) sum_h p_h``, each expectation by S samples of its
own draw and each sample under all T draws. The estimate has no bias, is zero if the draws agree and never above log T;
its error falls with one over the root of S. ``density_disagreement`` has the same number without sampling.

Source: Berry and Meger (2023), Normalizing Flow Ensembles for Rich Aleatoric and Epistemic Uncertainty Modeling, arXiv
2302.01312.
"""

import math

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density, spline_quantiles
from bayesgrid.errors import ConfigurationError

__all__ = ["sampled_mutual_information"]

_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)


@compiled
def _surprise(own: int, log_density: npt.NDArray[np.float64]) -> float:
    """Return ``sum_s (log p_own(y_s) - log p(y_s))`` from ``log_density`` `[T, S]` at samples of the draw ``own``."""
    draws, samples = log_density.shape
    total = 0.0
    for sample in range(samples):
        largest = log_density[0, sample]
        for draw in range(1, draws):
            largest = max(largest, log_density[draw, sample])
        mixture = 0.0
        for draw in range(draws):
            mixture += math.exp(log_density[draw, sample] - largest)
        total += log_density[own, sample] - largest - math.log(mixture / draws)
    return total


@compiled
def _score_splines(
    knots: npt.NDArray[np.float32], base: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]
) -> None:
    """Write ``scores`` `[M]` with ``knots`` `[T, M, 2, 3, K + 1]` and ascending ``base`` `[T, S]`."""
    draws, samples = base.shape
    targets, images = np.empty(samples), np.empty(samples)
    log_density = np.empty((draws, samples))
    for candidate in range(knots.shape[1]):
        total = 0.0
        for own in range(draws):
            spline_quantiles(knots[own, candidate], base[own], targets)
            for draw in range(draws):
                spline_log_density(knots[draw, candidate], targets, log_density[draw], images)
            total += _surprise(own, log_density)
        scores[candidate] = total / (draws * samples)


@compiled
def _score_gaussians(
    means: npt.NDArray[np.float64],
    deviations: npt.NDArray[np.float64],
    base: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
) -> None:
    """Write ``scores`` `[M]` with ``means`` and ``deviations`` `[T, M]` and ``base`` `[T, S]`."""
    draws, samples = base.shape
    log_density = np.empty((draws, samples))
    for candidate in range(means.shape[1]):
        total = 0.0
        for own in range(draws):
            for draw in range(draws):
                shift = (means[own, candidate] - means[draw, candidate]) / deviations[draw, candidate]
                ratio = deviations[own, candidate] / deviations[draw, candidate]
                offset = math.log(deviations[draw, candidate]) + _LOG_NORMAL_CONSTANT
                for sample in range(samples):
                    standardised = shift + ratio * base[own, sample]
                    log_density[draw, sample] = -0.5 * standardised * standardised - offset
            total += _surprise(own, log_density)
        scores[candidate] = total / (draws * samples)


def sampled_mutual_information(
    draws: PredictiveDraws, rng: np.random.Generator, *, samples: int = 32
) -> npt.NDArray[np.float64]:
    """Return an estimate of the mutual information of every candidate, `[M]` in nats.

    All candidates share the random numbers, which makes their differences less noisy than their values. An estimate may
    be slightly negative. O(T S) memory beyond the draws, O(M T^2 S) time.

    Args:
        draws: T draws at M candidates. NaN or infinite draws give NaN for the candidates they concern.
        rng: the stream of the samples; T x S numbers.
        samples: S, per draw.

    Raises:
        ConfigurationError: for less than one sample.
    """
    if samples < 1:
        raise ConfigurationError("too few samples of a density", given=samples, allowed="at least 1")
    base = np.sort(rng.standard_normal((draws.draws, samples)), axis=1)
    scores = np.empty(draws.inputs, dtype=np.float64)
    match draws:
        case SplineDraws():
            _score_splines(np.ascontiguousarray(draws.knots), base, scores)
            finite = np.isfinite(draws.knots).all(axis=(0, 2, 3, 4))
        case GaussianDraws():
            means = np.ascontiguousarray(draws.mean, dtype=np.float64)
            deviations = np.ascontiguousarray(draws.standard_deviation, dtype=np.float64)
            _score_gaussians(means, deviations, base, scores)
            finite = (np.isfinite(means) & np.isfinite(deviations)).all(axis=0)
    scores[~finite] = np.nan
    return scores
