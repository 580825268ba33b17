"""BALSA KL-pairs with a stochastic batch: candidates drawn in proportion to their score.

Score: that of ``balsa_kl_pairs``; the batch is drawn without replacement with ``P(i) ~ score_i``.
Paper: Werner and Schmidt-Thieme (2025), BALSA, arXiv 2501.01248, for the score; Kirsch et al. (2023), Stochastic Batch
Acquisition, arXiv 2106.12059, for the batch, with the exponent 1 recommended there.
Assumes: what ``balsa_kl_pairs`` assumes, and that scores are uncertain by a factor.
The reference: has no such agent.
"""

from collections.abc import Callable

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.power_selection import power_selection
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _build(posterior: PosteriorSpec) -> Agent:
    def choose(query: Query) -> Selection:
        scores = density_disagreement(
            query.draws(), grid_nodes=posterior.grid_nodes, tail_probability=posterior.tail_probability
        ).kl_consecutive
        choice = power_selection(scores, query.query_size, query.rng)
        return Selection(chosen=choice.positions, scores=scores, nonfinite=choice.nonfinite)

    return choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"balsa_kl_pairs_power": _build}
