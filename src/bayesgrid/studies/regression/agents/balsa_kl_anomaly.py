"""BALSA KL-anomaly: the candidates whose target the mean of all draws says it knows least.

Score: ``-(1/T) sum_h E_{y ~ p_h}[log p(y)] = H[p]``, p the mean of the draws p_1 .. p_T: minus the expected log-density
under the mixture, which is its entropy, mutual information and mean entropy of the draws together.
Paper: none; an option of the reference code of BALSA (arXiv 2501.01248).
Assumes: dropout masks are posterior draws, each one function of all candidates. Noise of the target counts as much as
ignorance, unlike in the scores of disagreement.
The reference: ``-sum_h sum_s log(p_h(y_hs) / p(s))`` with p(s) the mean over h of p_h(y_hs), each at 64 samples of its
own, which is the density of nothing. Here the entropy on a grid. ``faithful``: the reference's sum.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.reference_samples import density_samples, mixture_anomaly
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: (
            density_disagreement(
                draws, grid_nodes=posterior.grid_nodes, tail_probability=posterior.tail_probability
            ).entropy_total
        )
    )


def _reference_score(query: Query) -> npt.NDArray[np.float64]:
    parts = density_samples(query.draws(), query.rng, location=query.location, scale=query.scale)
    return np.concatenate([mixture_anomaly(part) for part in parts])


def _build_faithful(_: PosteriorSpec) -> Agent:
    return faithful_score_agent(_reference_score)


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"balsa_kl_anomaly": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"balsa_kl_anomaly": _build_faithful}
