"""K-means++: candidates drawn with probability by the squared distance of their encoding to all centres.

Paper: Arthur and Vassilvitskii (2007), k-means++; as an agent for regression, with the labelled examples as given
centres, Holzmueller et al. (2023), arXiv 2203.09410.
Assumes: Euclidean distance between encodings says how different two examples are. Ignores the predictive density. The
random twin of ``coreset``: outliers are likely, not certain, to be bought.
The reference: has no such agent.
"""

from collections.abc import Callable

from bayesgrid.acquisition.k_means_plus_plus import k_means_plus_plus
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _choose(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = k_means_plus_plus(candidates, labelled, query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"kmeans_pp": _build}
