"""BALD on densities: the mutual information between the target and the network's parameters.

Score: ``T (H[p] - mean_h H[p_h])``, p the mean of the draws p_1 .. p_T.
Paper: Houlsby, Huszar, Ghahramani, Lengyel (2011), arXiv 1112.5745; ``BALD^H`` of BALSA (arXiv 2501.01248), whose sum
over the T draws is kept as the unit.
Assumes: dropout masks are posterior draws, each one function of all candidates.
The reference: integrates over targets in [0.1, 0.9] of a scale to [0, 1], which misses half of some data sets, and
normalises the mean density but not the draws. Here on the draws' own support, normalised, in the log domain. The score
is then the same number as ``balsa_kl_grid``, an identity, and both agents choose the same candidates. ``faithful``:
the reference's grid and half normalisation, where the two are different agents.
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
            ).bald_entropy
        )
    )


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_dist_entropy": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_dist_entropy": _build_faithful}
