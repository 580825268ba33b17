"""BALD on points: how much the point prediction varies between draws.

Score: ``sd_h(m_h)``, m_h the median of the density under draw h.
Paper: the naive BALD of BALSA (arXiv 2501.01248); Gal, Islam, Ghahramani (2017), arXiv 1703.02910, for dropout.
Assumes: dropout masks are posterior draws, each one function of all candidates. Draws that differ in anything but their
median agree.
The reference: the point is the most probable of 64 samples, so that the score is not zero even if the draws agree. Here
the median, which is exact. ``faithful``: the sample, and the spread over T - 1.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.predictive_uncertainty import predictive_medians
from bayesgrid.acquisition.reference_samples import density_samples, noisy_modes
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: predictive_medians(draws).std(axis=0))


def _reference_score(query: Query) -> npt.NDArray[np.float64]:
    parts = density_samples(query.draws(), query.rng, location=query.location, scale=query.scale)
    return np.concatenate([noisy_modes(part).std(axis=1, ddof=1) for part in parts])


def _build_faithful(_: PosteriorSpec) -> Agent:
    return faithful_score_agent(_reference_score)


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_point": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_point": _build_faithful}
