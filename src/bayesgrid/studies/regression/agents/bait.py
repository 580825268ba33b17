"""BAIT: the batch after which a linear read-out of the encoding is known best over all candidates.

Paper: Ash, Goel, Krishnamurthy, Kakade (2021), Gone Fishing: Neural Active Learning with Fisher Embeddings, arXiv
2106.09675; for regression Holzmueller et al. (2023), arXiv 2203.09410.
Assumes: the prediction is linear in the encoding, with noise of one size everywhere. Ignores the predictive density.
The reference: has code for classes only, which no experiment of it uses.
"""

from collections.abc import Callable

from bayesgrid.acquisition.bait import bait
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.spec import PosteriorSpec

__all__ = ["AGENTS"]


def _choose(query: Query) -> Selection:
    candidates, labelled = query.embeddings()
    choice = bait(candidates, labelled, query.query_size)
    return Selection(chosen=choice.positions, scores=None, nonfinite=choice.nonfinite)


def _build(_: PosteriorSpec) -> Agent:
    return _choose


AGENTS: dict[str, Callable[[PosteriorSpec], Agent]] = {"bait": _build}
