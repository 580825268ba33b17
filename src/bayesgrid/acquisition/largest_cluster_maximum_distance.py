"""LCMD: the farthest candidate of the cluster with the most spread, one after another.

Every candidate belongs to the nearest centre, a labelled or an already chosen example, with squared distance D_i.
Each step takes ``c* = argmax_c sum_{i in c} D_i``, then ``i* = argmax_{i in c*} D_i``, and makes i* a centre. Unlike
k-centre, which follows the single farthest candidate, a region must hold many candidates to be visited first.

Source: Holzmueller, Zaverkin, Kaestner, Steinwart (2023), A Framework and Benchmark for Deep Batch Active Learning for
Regression, arXiv 2203.09410 (LCMD-TP: centres are the training set and the batch).
"""

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.acquisition.feature_space import feature_space
from bayesgrid.acquisition.selection import Choice

__all__ = ["largest_cluster_maximum_distance"]


@compiled
def _join_nearer_centre(
    points: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    number: int,
    distances: npt.NDArray[np.float64],
    clusters: npt.NDArray[np.int64],
) -> None:
    """Move the ``points`` `[n, h]` nearer to ``centre`` `[h]` than to their own to cluster ``number``.

    Args:
        points: of the candidates.
        centre: of the new cluster.
        number: of the new cluster.
        distances: `[n]`, squared, to the own centre; changed in place.
        clusters: `[n]`, numbers of the own clusters; changed in place.
    """
    for point in range(points.shape[0]):
        distance = 0.0
        for feature in range(points.shape[1]):
            difference = points[point, feature] - centre[feature]
            distance += difference * difference
        if distance < distances[point]:
            distances[point] = distance
            clusters[point] = number


def largest_cluster_maximum_distance(
    candidates: npt.NDArray[np.floating], labelled: npt.NDArray[np.floating], query_size: int
) -> Choice:
    """Choose candidates one after another, each the farthest within the cluster of the largest summed squared distance.

    Of equal clusters and equally far candidates the first is taken. O(n) memory beyond the features, O(n h (l + q))
    time.

    Args:
        candidates: `[n, h]`. Rows that are not finite are chosen last.
        labelled: `[l, h]`, at least one finite row; others are left out.
        query_size: q.

    Raises:
        DataError: if q is not within 1 .. n, the numbers of features differ, or no labelled row is finite.
    """
    space = feature_space(candidates, labelled, query_size, needs_labelled=True)
    points = space.candidates
    distances = np.full(len(points), np.inf)
    clusters = np.zeros(len(points), dtype=np.int64)
    for number, centre in enumerate(space.labelled):
        _join_nearer_centre(points, centre, number, distances, clusters)
    free = np.ones(len(points), dtype=np.bool_)
    chosen: list[int] = []
    for number in range(len(space.labelled), len(space.labelled) + min(query_size, len(points))):
        heaviest = np.argmax(np.bincount(clusters, weights=distances, minlength=number))
        eligible = free & (clusters == heaviest)
        if not eligible.any():  # only repetitions of centres are left
            eligible = free
        farthest = int(np.argmax(np.where(eligible, distances, -1.0)))
        chosen.append(farthest)
        free[farthest] = False
        _join_nearer_centre(points, points[farthest], number, distances, clusters)
    return space.choice(chosen, query_size)
