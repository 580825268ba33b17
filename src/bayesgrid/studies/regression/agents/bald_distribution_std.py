"""BALD on standard deviations: how much the width of the predictive density varies between draws.

Score: ``sd_h(s_h)``, s_h the standard deviation of the density under draw h.
Paper: ``BALD^sigma`` of BALSA (arXiv 2501.01248), equation 7.
Assumes: dropout masks are posterior draws, each one function of all candidates.
The reference, and the equation itself, sum ``s_h - s_{h+1}`` over consecutive draws, which telescopes to the difference
of the first and the last draw, whatever lies between; s_h is taken from 64 samples, so the score is not zero even if
the draws agree. Here the spread over all draws, with s_h by quadrature.
"""

from collections.abc import Callable

from bayesgrid.acquisition.epistemic_spread import epistemic_spread
from bayesgrid.studies.regression.agents.highest_score import highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _build(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: epistemic_spread(draws).spread_of_deviation)


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_dist_std": _build}
