"""Agents that label the candidates with the highest score."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.predictive_draws import PredictiveDraws
from bayesgrid.acquisition.reference_selection import nan_first
from bayesgrid.acquisition.selection import top_q
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection

__all__ = ["faithful_score_agent", "highest_score_agent"]


def highest_score_agent(score: Callable[[PredictiveDraws], npt.NDArray[np.float64]]) -> Agent:
    """Return the agent that chooses the candidates with the highest ``score`` of the draws, ties in random order."""

    def choose(query: Query) -> Selection:
        scores = score(query.draws())
        choice = top_q(scores, query.query_size, query.rng)
        return Selection(chosen=choice.positions, scores=scores, nonfinite=choice.nonfinite)

    return choose


def faithful_score_agent(score: Callable[[Query], npt.NDArray[np.float64]]) -> Agent:
    """Return the agent that chooses as the reference does: NaN first, then the highest ``score`` `[n]` of the query."""

    def choose(query: Query) -> Selection:
        scores = score(query)
        choice = nan_first(scores, query.query_size)
        return Selection(chosen=choice.positions, scores=scores, nonfinite=choice.nonfinite)

    return choose
