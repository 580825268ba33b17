"""BALSA EMD: how far the draws are from each other, in the earth mover's distance.

Scores: ``sum_{h<T} W1(p_h, p_{h+1})`` over consecutive draws (``balsa_emd``), and the mean over all pairs
(``balsa_emd_all_pairs``). In ``mode: faithful`` also under a dropout that leaves the training alone
(``balsa_emd_dual``).
Paper: Werner and Schmidt-Thieme (2025), BALSA, arXiv 2501.01248.
Assumes: dropout masks are posterior draws, each one function of all candidates. In units of the target, so that wide
densities can disagree more than narrow ones.
The reference: distances between two independent samples of 64, whose expectation is above zero even if the densities
agree; that floor, which grows with the predictive width, is more than half of its scores. Here the quantile functions
are compared at shared nodes, without a floor. ``faithful``: the samples, and the sum over all pairs.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.reference_samples import (
    DensitySamples,
    density_samples,
    earth_mover_all_pairs,
    earth_mover_consecutive,
)
from bayesgrid.acquisition.wasserstein import wasserstein_disagreement
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build_consecutive(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: wasserstein_disagreement(draws, quantile_nodes=posterior.quantile_nodes).consecutive
    )


def _build_all_pairs(posterior: PosteriorSpec) -> Agent:
    return highest_score_agent(
        lambda draws: wasserstein_disagreement(draws, quantile_nodes=posterior.quantile_nodes).all_pairs
    )


def _faithful_builder(
    score: Callable[[DensitySamples], npt.NDArray[np.float64]],
) -> Callable[[PosteriorSpec], Agent]:
    def reference_score(query: Query) -> npt.NDArray[np.float64]:
        parts = density_samples(query.draws(), query.rng, location=query.location, scale=query.scale)
        return np.concatenate([score(part) for part in parts])

    return lambda _: faithful_score_agent(reference_score)


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "balsa_emd": _build_consecutive,
    "balsa_emd_all_pairs": _build_all_pairs,
}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {
    "balsa_emd": _faithful_builder(earth_mover_consecutive),
    "balsa_emd_all_pairs": _faithful_builder(earth_mover_all_pairs),
    "balsa_emd_dual": _faithful_builder(earth_mover_consecutive),
}
