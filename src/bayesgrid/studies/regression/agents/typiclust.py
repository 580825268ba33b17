"""TypiClust: the most typical candidate of each part of the encoding that has no label yet.

Paper: Hacohen, Dekel, Weinshall (2022), Active Learning on a Budget, arXiv 2202.02794.
Assumes: Euclidean distance between encodings says how different two examples are, and typical examples teach more than
rare ones, which holds while labels are few. Ignores the predictive density.
The reference: takes the first cluster of its list for every label of a batch, so that a batch comes from one cluster.
Here the clusters take turns.
"""

from collections.abc import Callable

from bayesgrid.acquisition.typicality import typiclust
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _choose(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = typiclust(candidates, labelled, query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"typiclust": _build}
