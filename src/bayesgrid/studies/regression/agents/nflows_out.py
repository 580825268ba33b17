"""NFlows Out: the mutual information between target and network, from samples of each draw.

Score: ``(1/T) sum_h E_{y ~ p_h}[log p_h(y) - log p(y)]``, p the mean of the draws, each expectation by 32 samples.
Paper: Berry and Meger (2023), Normalizing Flow Ensembles for Rich Aleatoric and Epistemic Uncertainty Modeling, arXiv
2302.01312; a baseline of BALSA (arXiv 2501.01248).
Assumes: dropout masks are posterior draws, each one function of all candidates. With more samples the same number as
``bald_dist_entropy`` over T, which has it without sampling.
The reference: subtracts a mean of means from the same mean of means; its scores are zero but for rounding.
``faithful``: the same two means in single precision, so that rounding ranks the candidates. Rounding is larger where
log-densities are, so that the most confident predictions are bought, and not a random batch.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.reference_samples import density_samples, mean_of_means_difference
from bayesgrid.acquisition.sampled_mutual_information import sampled_mutual_information
from bayesgrid.acquisition.selection import top_q
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _choose(query: Query) -> Selection:
    scores = sampled_mutual_information(query.draws(), query.rng)
    choice = top_q(scores, query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=scores, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


def _reference_score(query: Query) -> npt.NDArray[np.float64]:
    parts = density_samples(query.draws(), query.rng, location=query.location, scale=query.scale)
    return np.concatenate([mean_of_means_difference(part) for part in parts])


def _build_faithful(_: PosteriorSpec) -> Agent:
    return faithful_score_agent(_reference_score)


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"nflows_out": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"nflows_out": _build_faithful}
