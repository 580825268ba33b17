"""Random: the baseline every agent has to beat.

Paper: the ``random`` baseline of BALSA (arXiv 2501.01248).
Assumes: nothing; needs neither densities nor embeddings.
The reference: draws with replacement, so that a batch may hold one example twice and the labelled set grows by less
than the query size. Here without replacement.
"""

from collections.abc import Callable

from bayesgrid.acquisition.selection import uniform_without_replacement
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _choose(query: Query) -> Selection:
    choice = uniform_without_replacement(query.candidate_ids.shape[0], query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"random": _build}
