"""Std, entropy, least confident: the candidates whose target the network says it knows least.

Scores: the mean over draws of the standard deviation (``std``), of the differential entropy (``entropy``), and of the
highest density, negative (``least_confident``). In ``mode: faithful`` also the spread of the log-density
(``log_density_std``), which is the same for a wide and a narrow density of one shape.
Paper: the baselines of BALSA (arXiv 2501.01248); uncertainty sampling, Lewis and Gale (1994).
Assumes: a wide density is one that a label nearby would narrow. Noise of the target counts as much as ignorance. The
paper computes these scores on the prediction without dropout; the mean over the draws, each by itself, is that of the
network the disagreement scores see. For one Gaussian all three are functions of its standard deviation and rank alike;
averages over draws of ``s``, ``log s`` and ``-1/s`` need not.
The reference: standard deviation and highest density of 64 samples, which are noisy and too small, and an entropy
over targets in [0.1, 0.9] of a scale to [0, 1]. Here by quadrature, and the highest density by a search for the mode.
``faithful``: as there, on the prediction without dropout; for a Gaussian s, ``log s`` and ``log s`` but for constants.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.epistemic_spread import predictive_moments
from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws
from bayesgrid.acquisition.predictive_uncertainty import largest_log_densities, predictive_entropies
from bayesgrid.acquisition.reference_samples import DensitySamples, density_samples, sample_deviations, sampled_peaks
from bayesgrid.acquisition.reference_scores import reference_entropies
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build_std(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: predictive_moments(draws)[1].mean(axis=0))


def _build_entropy(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: predictive_entropies(draws).mean(axis=0))


def _build_least_confident(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: -np.exp(largest_log_densities(draws)).mean(axis=0))


def _of_samples(
    score: Callable[[DensitySamples], npt.NDArray[np.float64]], prediction: PredictiveDraws, query: Query
) -> npt.NDArray[np.float64]:
    parts = density_samples(prediction, query.rng, location=query.location, scale=query.scale)
    return np.concatenate([score(part)[:, 0] for part in parts])


def _log_density_deviations(samples: DensitySamples) -> npt.NDArray[np.float64]:
    return np.asarray(samples.log_density.astype(np.float64).std(axis=2, ddof=1))


def _reference_std(query: Query) -> npt.NDArray[np.float64]:
    match query.prediction():
        case GaussianDraws(standard_deviation=deviations):
            return np.asarray(query.scale * deviations[0].astype(np.float64))
        case prediction:
            return _of_samples(sample_deviations, prediction, query)


def _reference_entropy(query: Query) -> npt.NDArray[np.float64]:
    match query.prediction():
        case GaussianDraws() as prediction:
            return np.asarray(predictive_entropies(prediction)[0] + np.log(query.scale))
        case prediction:
            return np.asarray(reference_entropies(prediction, location=query.location, scale=query.scale)[0])


def _reference_least_confident(query: Query) -> npt.NDArray[np.float64]:
    match query.prediction():
        case GaussianDraws() as prediction:
            return np.asarray(1.0 - largest_log_densities(prediction)[0] + np.log(query.scale))
        case prediction:
            return np.asarray(-np.exp(_of_samples(sampled_peaks, prediction, query)))


def _reference_log_density_std(query: Query) -> npt.NDArray[np.float64]:
    return _of_samples(_log_density_deviations, query.prediction(), query)


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "entropy": _build_entropy,
    "least_confident": _build_least_confident,
    "std": _build_std,
}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "entropy": lambda _: faithful_score_agent(_reference_entropy),
    "least_confident": lambda _: faithful_score_agent(_reference_least_confident),
    "log_density_std": lambda _: faithful_score_agent(_reference_log_density_std),
    "std": lambda _: faithful_score_agent(_reference_std),
}
