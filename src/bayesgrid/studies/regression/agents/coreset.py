"""Coreset: the candidates farthest, in the network's encoding, from all labelled ones and from each other.

Paper: Sener and Savarese (2018), Active Learning for Convolutional Neural Networks: A Core-Set Approach, arXiv
1708.00489, algorithm 1 (k-centre greedy).
Assumes: Euclidean distance between encodings says how different two examples are. Ignores the predictive density.
The reference: takes the q farthest from the labelled set at once, without moving the distances after each choice, so
that a batch may be q neighbours of one outlier. Here the distances follow every choice. ``faithful``: the q farthest at
once; for one label a query both are the same.
"""

from collections.abc import Callable

from bayesgrid.acquisition.reference_selection import distances_to_labelled
from bayesgrid.acquisition.selection import k_centre_greedy
from bayesgrid.studies.regression.agents.highest_score import faithful_score_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _choose(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = k_centre_greedy(candidates, labelled, query.query_size)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


def _build_faithful(_: PosteriorSpec) -> Agent:
    return faithful_score_agent(lambda query: distances_to_labelled(*query.embeddings()))


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"coreset": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"coreset": _build_faithful}
