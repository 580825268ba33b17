"""Nflows Out: the mutual information between target and network, from samples of each draw.

Score: ``(1/T) sum_h E_{y ~ p_h}[log p_h(y) - log p(y)]``, p the mean of the draws, each expectation by 32 samples.
Paper: Berry and Meger (2023), Normalizing Flow Ensembles for Rich Aleatoric and Epistemic Uncertainty Modeling, arXiv
2302.01312; a baseline of BALSA (arXiv 2501.01248).
Assumes: dropout masks are posterior draws, each one function of all candidates. With more samples the same number as
``bald_dist_entropy`` over T, which has it without sampling.
The reference: subtracts a mean of means from the same mean of means; its scores are zero but for rounding.
"""

from collections.abc import Callable

from bayesgrid.acquisition.sampled_mutual_information import sampled_mutual_information
from bayesgrid.acquisition.selection import top_q
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _choose(query: Query) -> Selection:
    scores = sampled_mutual_information(query.draws(), query.rng)
    choice = top_q(scores, query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=scores, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"nflows_out": _build}
