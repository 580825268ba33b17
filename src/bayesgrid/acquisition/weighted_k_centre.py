"""Weighted k-centre: candidates with a high score that are far from all centres.

Source: the greedy k-centre choice of Sener and Savarese (2018), arXiv 1708.00489, algorithm 1, with the distance of
each candidate multiplied by its score: the weighted k-centre problem (Dyer and Frieze 1985).
"""

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.feature_space import feature_space
from bayesgrid.acquisition.selection import Choice, lower_squared_distances
from bayesgrid.errors import DataError

__all__ = ["weighted_k_centre"]


def weighted_k_centre(
    scores: npt.NDArray[np.floating],
    candidates: npt.NDArray[np.floating],
    labelled: npt.NDArray[np.floating],
    query_size: int,
) -> Choice:
    """Choose candidates one after another, each with the largest ``score_i min_c |x_i - c|`` over the centres c.

    Centres are the labelled and the already chosen examples. Of equal products the first is taken. Multiplying all
    scores, or all features, by a positive number changes nothing. O(n) memory beyond the features, O(n h (l + q)) time.

    Args:
        scores: `[n]`, not negative.
        candidates: `[n, h]`. Those whose score or features are not finite are chosen last.
        labelled: `[l, h]`, at least one finite row; others are left out.
        query_size: q.

    Raises:
        DataError: if q is not within 1 .. n, the shapes do not match, a score is negative, or no labelled row is
            finite.
    """
    if scores.shape != candidates.shape[:1]:
        raise DataError("scores and candidates differ in number", given=f"{scores.shape} and {candidates.shape}")
    if bool(np.any(scores < 0)):
        raise DataError("a score that weights distances is negative", given=float(np.nanmin(scores)))
    space = feature_space(candidates, labelled, query_size, usable=np.isfinite(scores), needs_labelled=True)
    points, weights = space.candidates, scores[space.positions].astype(np.float64)
    distances = np.full(len(points), np.inf)
    for centre in space.labelled:
        lower_squared_distances(points, centre, distances)
    free = np.ones(len(points), dtype=np.bool_)
    chosen: list[int] = []
    for _ in range(min(query_size, len(points))):
        best = int(np.argmax(np.where(free, weights * np.sqrt(distances), -1.0)))
        chosen.append(best)
        free[best] = False
        lower_squared_distances(points, points[best], distances)
    return space.choice(chosen, query_size)
