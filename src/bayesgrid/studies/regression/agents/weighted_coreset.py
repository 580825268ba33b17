"""Weighted coreset: candidates whose draws disagree and that are far from all labelled and chosen ones.

Score: that of ``balsa_kl_pairs`` times the distance, in the network's encoding, to the nearest centre.
Paper: none; the k-centre choice of Sener and Savarese (2018), arXiv 1708.00489, weighted by the score of BALSA (arXiv
2501.01248), so that a batch is not q neighbours of the candidate with the highest score.
Assumes: what both assume. The product needs no weight between its factors, because scales do not matter.
The reference: has no such agent.
"""

from collections.abc import Callable

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.weighted_k_centre import weighted_k_centre
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _build(posterior: PosteriorSpec) -> Agent:
    def choose(query: Query) -> Selection:
        scores = density_disagreement(
            query.draws(), grid_nodes=posterior.grid_nodes, tail_probability=posterior.tail_probability
        ).kl_consecutive
        choice = weighted_k_centre(scores, *query.embeddings(), query.query_size)
        return Selection(chosen=choice.positions, scores=scores, nonfinite=choice.nonfinite)

    return choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"weighted_coreset": _build}
