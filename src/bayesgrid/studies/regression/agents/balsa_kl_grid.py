"""BALSA KL-grid: how far the draws are from their mean, in Kullback-Leibler divergence.

Score: ``sum_h KL(p_h || p)``, p the mean of the draws p_1 .. p_T. In ``mode: faithful`` also with normalised densities
(``balsa_kl_grid_norm``) and under a dropout that leaves the training alone (``balsa_kl_grid_dual``).
Paper: Werner and Schmidt-Thieme (2025), BALSA, arXiv 2501.01248.
Assumes: dropout masks are posterior draws, each one function of all candidates.
The reference: sums unnormalised densities over targets in [0.1, 0.9] of a scale to [0, 1] without the width of a step,
and scores NaN, ranked first, where a Gaussian density underflows. Here as in ``bald_dist_entropy``, to which it is
identical: ``sum_h KL(p_h || p) = T H[p] - sum_h H[p_h]``. ``faithful``: the reference's sums, and NaN first.
"""

from collections.abc import Callable

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.reference_scores import reference_grid_scores
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: (
            density_disagreement(
                draws, grid_nodes=posterior.grid_nodes, tail_probability=posterior.tail_probability
            ).kl_grid
        )
    )


def _build_faithful(posterior: PosteriorSpec) -> Agent:
    return faithful_score_agent(
        lambda query: (
            reference_grid_scores(
                query.draws(), location=query.location, scale=query.scale, grid_nodes=posterior.grid_nodes
            ).kl_grid
        )
    )


def _build_faithful_normalised(posterior: PosteriorSpec) -> Agent:
    return faithful_score_agent(
        lambda query: (
            reference_grid_scores(
                query.draws(), location=query.location, scale=query.scale, grid_nodes=posterior.grid_nodes
            ).kl_grid_normalised
        )
    )


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"balsa_kl_grid": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "balsa_kl_grid": _build_faithful,
    "balsa_kl_grid_dual": _build_faithful,
    "balsa_kl_grid_norm": _build_faithful_normalised,
}
