"""TypiClust: the most typical candidate of each part of the encoding that has no label yet.

Paper: Hacohen, Dekel, Weinshall (2022), Active Learning on a Budget, arXiv 2202.02794.
Assumes: Euclidean distance between encodings says how different two examples are, and typical examples teach more than
rare ones, which holds while labels are few. Ignores the predictive density.
The reference: takes the first cluster of its list for every label of a batch, so that a batch comes from one cluster;
it looks for ``min(l + 1, 500)`` clusters, whatever the batch. Here ``min(l + q, 500)`` clusters, which take turns.
``faithful``: as there, and on to the next cluster where the reference fails because the first is used up.
"""

from collections.abc import Callable

from bayesgrid.acquisition.reference_typicality import single_cluster
from bayesgrid.acquisition.typicality import typiclust
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _choose(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = typiclust(candidates, labelled, query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


def _choose_faithfully(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = single_cluster(candidates, labelled, query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build_faithful(_: PosteriorSpec) -> Agent:
    return _choose_faithfully


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"typiclust": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"typiclust": _build_faithful}
