"""BADGE for regression: uncertain candidates whose labels would move the read-out in different directions.

K-means++ on the encodings, each multiplied by the predictive standard deviation, that of the mean density:
``s^2 = mean_h s_h^2 + Var_h m_h``, with m_h and s_h the mean and standard deviation under draw h.
Paper: Ash, Zhang, Krishnamurthy, Langford, Agarwal (2020), BADGE, arXiv 1906.03671, for classes.
Assumes: the gradient of the squared loss of a linear read-out is error times encoding, and the expected size of the
error is s. The reference: has code for classes only, which no experiment of it uses.
"""

from collections.abc import Callable

import numpy as np

from bayesgrid.acquisition.badge import badge
from bayesgrid.acquisition.epistemic_spread import predictive_moments
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _choose(query: Query) -> Selection:
    candidates, _ = query.embeddings()
    means, deviations = predictive_moments(query.draws())
    total = np.sqrt(np.mean(deviations**2, axis=0) + means.var(axis=0))
    choice = badge(candidates, total, query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=total, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"badge": _build}
