"""BALSA KL-pairs: how far the draws are from each other, in Kullback-Leibler divergence.

Scores: ``sum_{h<T} KL(p_h || p_{h+1})`` over consecutive draws (``balsa_kl_pairs``), and the mean over all ordered
pairs (``balsa_kl_all_pairs``), which has the same expectation per pair and less variance at the same cost. ``faithful``
has no sum over all pairs, but one under a dropout that leaves the training alone (``balsa_kl_pairs_dual``).
Paper: Werner and Schmidt-Thieme (2025), BALSA, arXiv 2501.01248; all pairs are an extension.
Assumes: dropout masks are posterior draws, each one function of all candidates. The divergence is not bounded and is
led by the tails, where one draw puts next to no density.
The reference: sums unnormalised densities over targets in [0.1, 0.9] of a scale to [0, 1], draws new masks for every
candidate, and ranks NaN first. Here normalised on the draws' own support; Gaussian draws in closed form. ``faithful``:
the reference's sums, which may be negative, and NaN first.
"""

from collections.abc import Callable

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.reference_scores import reference_grid_scores
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build_consecutive(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: (
            density_disagreement(
                draws, grid_nodes=posterior.grid_nodes, tail_probability=posterior.tail_probability
            ).kl_consecutive
        )
    )


def _build_all_pairs(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: (
            density_disagreement(
                draws, grid_nodes=posterior.grid_nodes, tail_probability=posterior.tail_probability
            ).kl_all_pairs
        )
    )


def _build_faithful(posterior: PosteriorSpec) -> Agent:
    return faithful_score_agent(
        lambda query: (
            reference_grid_scores(
                query.draws(), location=query.location, scale=query.scale, grid_nodes=posterior.grid_nodes
            ).kl_pairs
        )
    )


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "balsa_kl_all_pairs": _build_all_pairs,
    "balsa_kl_pairs": _build_consecutive,
}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "balsa_kl_pairs": _build_faithful,
    "balsa_kl_pairs_dual": _build_faithful,
}
