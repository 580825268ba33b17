"""BALD on highest densities: how much the confidence of the network varies between draws.

Score: ``sd_h(max_y log p_h(y))``.
Paper: ``BALD^LC`` of BALSA (arXiv 2501.01248), equation 8.
Assumes: dropout masks are posterior draws, each one function of all candidates. Draws that differ in place alone agree.
The reference: has no code for it. The equation itself sums differences of consecutive draws, which telescopes to that
of the first and the last draw, whatever lies between. Here the spread over all draws. ``faithful``: the last less the
first, each the highest log-density of 64 samples.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.predictive_uncertainty import largest_log_densities
from bayesgrid.acquisition.reference_samples import density_samples, last_less_first, sampled_peaks
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: largest_log_densities(draws).std(axis=0))


def _reference_score(query: Query) -> npt.NDArray[np.float64]:
    parts = density_samples(query.draws(), query.rng, location=query.location, scale=query.scale)
    return np.concatenate([last_less_first(sampled_peaks(part)) for part in parts])


def _build_faithful(_: PosteriorSpec) -> Agent:
    return faithful_score_agent(_reference_score)


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_dist_least_confident": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_dist_least_confident": _build_faithful}
