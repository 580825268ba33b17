"""What an agent is given and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.predictive_draws import PredictiveDraws

__all__ = ["Agent", "Query", "Selection"]


@dataclass(frozen=True)
class Query:
    """One request for labels: n candidates, l labelled examples, d features, h units of the encoding.

    The callables cost a pass of the network each and are only called by agents that read their result. Densities are of
    ``(target - location) / scale``, with the target scaled to [0, 1].

    Args:
        features_candidates: `[n, d]`.
        candidate_ids: `[n]`, identities of the candidates within the data set.
        features_labelled: `[l, d]`.
        query_size: number of candidates to choose.
        rng: the agent's own stream for this seed and round.
        draws: returns the predictive densities of the n candidates under the posterior draws.
        prediction: returns those of the network without dropout, as a single draw, T = 1.
        embeddings: returns the encodings of candidates `[n, h]` and labelled examples `[l, h]`.
        location: of the network's targets; 0 if it is fitted to targets scaled to [0, 1] themselves.
        scale: of the network's targets; 1 likewise.
    """

    features_candidates: npt.NDArray[np.float32]
    candidate_ids: npt.NDArray[np.int64]
    features_labelled: npt.NDArray[np.float32]
    query_size: int
    rng: np.random.Generator
    draws: Callable[[], PredictiveDraws]
    prediction: Callable[[], PredictiveDraws]
    embeddings: Callable[[], tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]]
    location: float
    scale: float


@dataclass(frozen=True)
class Selection:
    """An agent's answer.

    Args:
        chosen: `[q]`, distinct positions into the candidates, best first, or in the order of purchase if nothing ranks
            them.
        scores: `[n]`, the score of every candidate, or None for an agent without one.
        nonfinite: how many scores are not finite numbers; such candidates are chosen last, or first where
            ``mode: faithful`` scores them NaN.
    """

    chosen: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64] | None
    nonfinite: int


class Agent(Protocol):
    """A rule that chooses which candidates to label."""

    def __call__(self, query: Query) -> Selection:
        """Return ``query.query_size`` distinct candidates.

        Raises:
            DataError: if there are fewer candidates than that.
        """
        ...
