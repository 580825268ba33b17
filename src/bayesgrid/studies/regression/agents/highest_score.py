"""Agents that label the candidates with the highest score of the predictive draws."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.predictive_draws import PredictiveDraws
from bayesgrid.acquisition.selection import top_q
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection

__all__ = ["highest_score_agent"]


def highest_score_agent(score: Callable[[PredictiveDraws], npt.NDArray[np.float64]]) -> Agent:
    """Return the agent that chooses the candidates with the highest ``score``, ties in random order."""

    def choose(query: Query) -> Selection:
        scores = score(query.draws())
        choice = top_q(scores, query.query_size, query.rng)
        return Selection(chosen=choice.positions, scores=scores, nonfinite=choice.nonfinite)

    return choose
