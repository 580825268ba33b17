"""CoreGCN: k-centre among the features of a graph network that tells labelled from unlabelled examples.

Paper: Caramalau, Bhattarai, Kim (2021), Sequential Graph Convolutional Network for Active Learning, arXiv 2006.10219.
Assumes: the cosine of two encodings says how alike two examples are. Ignores the predictive density.
The reference: a graph of all pairs, in memory quadratic in the number of candidates. Here the nearest neighbours of
each, with the same network, loss and number of steps. ``faithful``: all pairs, similarities below zero among them.
"""

from collections.abc import Callable

from bayesgrid.acquisition.graph_coreset import GraphNetworkSettings, core_gcn
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _choose(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = core_gcn(candidates, labelled, query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


def _choose_by_all_pairs(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = core_gcn(candidates, labelled, query.query_size, query.rng, settings=GraphNetworkSettings(neighbours=None))
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build_faithful(_: PosteriorSpec) -> Agent:
    return _choose_by_all_pairs


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"coregcn": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"coregcn": _build_faithful}
