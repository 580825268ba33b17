"""Std, entropy, least confident: the candidates whose target the network says it knows least.

Scores: the mean over draws of the standard deviation (``std``), of the differential entropy (``entropy``), and of the
highest density, negative (``least_confident``).
Paper: the baselines of BALSA (arXiv 2501.01248); uncertainty sampling, Lewis and Gale (1994).
Assumes: a wide density is one that a label nearby would narrow. Noise of the target counts as much as ignorance. A
query holds posterior draws and no prediction without dropout, on which the paper computes these scores; the mean over
the draws, each by itself, stands in for it. For one Gaussian all three are functions of its standard deviation and rank
alike; averages over draws of ``s``, ``log s`` and ``-1/s`` need not.
The reference: standard deviation and highest density of 64 samples, which are noisy and too small, and an entropy
over targets in [0.1, 0.9] of a scale to [0, 1]. Here by quadrature, and the highest density by a search for the mode.
"""

from collections.abc import Callable

import numpy as np

from bayesgrid.acquisition.epistemic_spread import predictive_moments
from bayesgrid.acquisition.predictive_uncertainty import largest_log_densities, predictive_entropies
from bayesgrid.studies.regression.agents.highest_score import highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _build_std(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: predictive_moments(draws)[1].mean(axis=0))


def _build_entropy(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: predictive_entropies(draws).mean(axis=0))


def _build_least_confident(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: -np.exp(largest_log_densities(draws)).mean(axis=0))


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "entropy": _build_entropy,
    "least_confident": _build_least_confident,
    "std": _build_std,
}
