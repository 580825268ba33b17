"""Random: the baseline every agent has to beat.

Paper: the ``random`` baseline of BALSA (arXiv 2501.01248).
Assumes: nothing; needs neither densities nor embeddings.
The reference: draws indices with replacement and buys them in descending order, each out of the pool at once, so that a
repeated index buys the row that has moved into its place. The batch is full, but neighbours in the pool are bought
together more often than by chance. Here without replacement. ``faithful``: as there.
"""

from collections.abc import Callable

from bayesgrid.acquisition.reference_selection import uniform_with_replacement
from bayesgrid.acquisition.selection import uniform_without_replacement
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS", "FAITHFUL_AGENTS"]


def _choose(query: Query) -> Selection:
    choice = uniform_without_replacement(query.candidate_ids.shape[0], query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


def _choose_faithfully(query: Query) -> Selection:
    choice = uniform_with_replacement(query.candidate_ids.shape[0], query.query_size, query.rng)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build_faithful(_: PosteriorSpec) -> Agent:
    return _choose_faithfully


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"random": _build}
FAITHFUL_AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"random": _build_faithful}
