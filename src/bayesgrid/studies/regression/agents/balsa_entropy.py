"""BALSA entropy: how far the geometric mean of the draws is from each of them.

Score: ``sum_h KL(g || p_h) = -T log int exp((1/T) sum_h log p_h)``, g the normalised geometric mean of the draws.
Paper: none; an option of the reference code of BALSA (arXiv 2501.01248).
Assumes: dropout masks are posterior draws, each one function of all candidates. The reverse of ``balsa_kl_grid``: g is
high where all draws agree, so that the score looks at how little of that there is.
The reference: ``sum_h (H[p_h] - H[g])`` with g not normalised, on targets in [0.1, 0.9] of a scale to [0, 1], without
the last draw. Gaussian draws of one width at different places have one entropy, and so has g; the divergence here adds
the term that this leaves out. ``faithful``: the reference's difference of entropies.
"""

from collections.abc import Callable

from bayesgrid.acquisition.geometric_pool import geometric_pool_divergence
from bayesgrid.acquisition.reference_scores import reference_grid_scores
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: geometric_pool_divergence(
            draws, grid_nodes=posterior.grid_nodes, tail_probability=posterior.tail_probability
        )
    )


def _build_faithful(posterior: PosteriorSpec) -> Agent:
    return faithful_score_agent(
        lambda query: (
            reference_grid_scores(
                query.draws(), location=query.location, scale=query.scale, grid_nodes=posterior.grid_nodes
            ).pool_entropy
        )
    )


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"balsa_entropy": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"balsa_entropy": _build_faithful}
