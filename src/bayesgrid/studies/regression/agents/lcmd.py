"""LCMD: the farthest candidate of the cluster with the most spread, one after another.

Paper: Holzmueller, Zaverkin, Kaestner, Steinwart (2023), A Framework and Benchmark for Deep Batch Active Learning for
Regression, arXiv 2203.09410; the best rule for batches there.
Assumes: Euclidean distance between encodings says how different two examples are; the paper's best kernel is on
gradients of all layers. Ignores the predictive density.
The reference: has no such agent.
"""

from collections.abc import Callable

from bayesgrid.acquisition.largest_cluster_maximum_distance import largest_cluster_maximum_distance
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _choose(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = largest_cluster_maximum_distance(candidates, labelled, query.query_size)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"lcmd": _build}
