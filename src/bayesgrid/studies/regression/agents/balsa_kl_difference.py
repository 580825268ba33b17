"""BALSA KL-difference: how much farther consecutive draws are from each other than from the mean of all.

Score: ``sum_{h<T} KL(p_h || p_{h+1}) - sum_h KL(p_h || p)``, p the mean of the draws p_1 .. p_T.
Paper: none; an option of the reference code of BALSA (arXiv 2501.01248).
Assumes: dropout masks are posterior draws, each one function of all candidates. Both terms grow with disagreement; what
is left is led by the tails, where one draw puts next to no density and the mean of the draws does. It depends on the
order of the draws, and is negative for draws that happen to move in small steps.
The reference: unnormalised densities on targets in [0.1, 0.9] of a scale to [0, 1], and the last draw left out of the
second sum. Here the difference of ``balsa_kl_pairs`` and ``balsa_kl_grid``. ``faithful``: the reference's sums.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.predictive_draws import PredictiveDraws
from bayesgrid.acquisition.reference_scores import reference_grid_scores
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build(posterior: PosteriorSpec) -> Agent:
    def score(draws: PredictiveDraws) -> npt.NDArray[np.float64]:
        scores = density_disagreement(
            draws, grid_nodes=posterior.grid_nodes, tail_probability=posterior.tail_probability
        )
        return scores.kl_consecutive - scores.kl_grid

    return highest_score_agent(score)


def _build_faithful(posterior: PosteriorSpec) -> Agent:
    return faithful_score_agent(
        lambda query: (
            reference_grid_scores(
                query.draws(), location=query.location, scale=query.scale, grid_nodes=posterior.grid_nodes
            ).kl_difference
        )
    )


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"balsa_kl_difference": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"balsa_kl_difference": _build_faithful}
