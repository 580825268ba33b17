"""BALD on standard deviations: how much the width of the predictive density varies between draws.

Score: ``sd_h(s_h)``, s_h the standard deviation of the density under draw h.
Paper: ``BALD^sigma`` of BALSA (arXiv 2501.01248), equation 7.
Assumes: dropout masks are posterior draws, each one function of all candidates.
The reference, and the equation itself, sum ``s_h - s_{h+1}`` over consecutive draws, which telescopes to the difference
of the first and the last draw, whatever lies between; s_h is taken from 64 samples, so the score is not zero even if
the draws agree. Here the spread over all draws, with s_h by quadrature. ``faithful``: the last less the first, of 64
samples each.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.epistemic_spread import epistemic_spread
from bayesgrid.acquisition.reference_samples import density_samples, last_less_first, sample_deviations
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent, highest_score_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _build(_: PosteriorSpec) -> Agent:
    return highest_score_agent(lambda draws: epistemic_spread(draws).spread_of_deviation)


def _reference_score(query: Query) -> npt.NDArray[np.float64]:
    parts = density_samples(query.draws(), query.rng, location=query.location, scale=query.scale)
    return np.concatenate([last_less_first(sample_deviations(part)) for part in parts])


def _build_faithful(_: PosteriorSpec) -> Agent:
    return faithful_score_agent(_reference_score)


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_dist_std": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bald_dist_std": _build_faithful}
