"""BALSA EMD: how far the draws are from each other, in the earth mover's distance.

Scores: ``sum_{h<T} W1(p_h, p_{h+1})`` over consecutive draws (``balsa_emd``), and the mean over all pairs
(``balsa_emd_all_pairs``).
Paper: Werner and Schmidt-Thieme (2025), BALSA, arXiv 2501.01248.
Assumes: dropout masks are posterior draws, each one function of all candidates. In units of the target, so that wide
densities can disagree more than narrow ones.
The reference: distances between two independent samples of 64, whose expectation is above zero even if the densities
agree; that floor, which grows with the predictive width, is more than half of its scores. Here the quantile functions
are compared at shared nodes, without a floor.
"""

from collections.abc import Callable

from bayesgrid.acquisition.wasserstein import wasserstein_disagreement
from bayesgrid.studies.regression.agents.highest_score import highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _build_consecutive(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: wasserstein_disagreement(draws, quantile_nodes=posterior.quantile_nodes).consecutive
    )


def _build_all_pairs(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: wasserstein_disagreement(draws, quantile_nodes=posterior.quantile_nodes).all_pairs
    )


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "balsa_emd": _build_consecutive,
    "balsa_emd_all_pairs": _build_all_pairs,
}
