"""BALD on points: how much the point prediction varies between draws.

Score: ``sd_h(m_h)``, m_h the median of the density under draw h.
Paper: the naive BALD of BALSA (arXiv 2501.01248); Gal, Islam, Ghahramani (2017), arXiv 1703.02910, for dropout.
Assumes: dropout masks are posterior draws, each one function of all candidates. Draws that differ in anything but their
median agree.
The reference: the point is the most probable of 64 samples, so that the score is not zero even if the draws agree. Here
the median, which is exact.
"""

from collections.abc import Callable

from bayesgrid.acquisition.predictive_uncertainty import predictive_medians
from bayesgrid.studies.regression.agents.highest_score import highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _build(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: predictive_medians(draws).std(axis=0))


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_point": _build}
