"""TypiClust: the most typical candidate of each cluster that has no label yet.

Candidates and labelled examples together are clustered by k-means into ``k = min(l + q, 500)`` clusters. Clusters
without a label come first, larger ones first, then those with few labels; each gives one candidate in turn, the one of
highest typicality, one over the mean distance to its nearest neighbours within the cluster.

Source: Hacohen, Dekel, Weinshall (2022), Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets,
arXiv 2202.02794: at most 500 clusters, 20 neighbours (half the cluster in small ones),
clusters of five or fewer left aside, mini-batches beyond 50 clusters.
"""

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans, MiniBatchKMeans

from bayesgrid.acquisition.feature_space import feature_space
from bayesgrid.acquisition.selection import Choice

__all__ = ["most_typical_per_cluster", "typiclust"]

_NEIGHBOURS = 20
_SMALL_CLUSTER = 5
_FULL_BATCH_CLUSTERS = 50
_BATCH = 5000
_ROWS_AT_ONCE = 512


def _mean_neighbour_distance(members: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `[c]`, the mean distance of each of the ``members`` `[c, h]` to its nearest ones, 0 for a single one."""
    count = min(_NEIGHBOURS, len(members) // 2)
    if count == 0:
        return np.zeros(len(members))
    means = np.empty(len(members))
    for start in range(0, len(members), _ROWS_AT_ONCE):
        distances = cdist(members[start : start + _ROWS_AT_ONCE], members)
        # The smallest is the distance to itself, which is zero.
        means[start : start + _ROWS_AT_ONCE] = np.partition(distances, count, axis=1)[:, : count + 1].sum(axis=1)
    return means / count


def most_typical_per_cluster(
    candidates: npt.NDArray[np.float64],
    labelled: npt.NDArray[np.float64],
    clusters: npt.NDArray[np.int64],
    query_size: int,
) -> npt.NDArray[np.int64]:
    """Return ``query_size`` rows of ``candidates``, by turns the most typical ones that are left in each cluster.

    Neighbours are looked for among all members of the cluster, labelled ones too, once: a choice does not change the
    typicality of the others. Clusters of five members or fewer are turned to when all others are used up.

    Args:
        candidates: `[n, h]`, finite.
        labelled: `[l, h]`, finite.
        clusters: `[n + l]`, the cluster of each candidate, then of each labelled example.
        query_size: q, at most n.
    """
    points = np.concatenate([candidates, labelled])
    queues: list[tuple[tuple[bool, int, int, int], list[int]]] = []
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        distances = _mean_neighbour_distance(points[members])
        queue = [int(member) for member in members[np.argsort(distances, kind="stable")] if member < len(candidates)]
        covered = int(np.count_nonzero(members >= len(candidates)))
        queues.append(((len(members) <= _SMALL_CLUSTER, covered, -len(members), int(cluster)), queue))
    queues.sort(key=lambda entry: entry[0])
    chosen: list[int] = []
    for small in (False, True):
        turn = [queue for rank, queue in queues if rank[0] == small]
        depth = max((len(queue) for queue in turn), default=0)
        chosen += [queue[place] for place in range(depth) for queue in turn if place < len(queue)]
    return np.array(chosen[:query_size], dtype=np.int64)


def typiclust(
    candidates: npt.NDArray[np.floating],
    labelled: npt.NDArray[np.floating],
    query_size: int,
    rng: np.random.Generator,
    *,
    most_clusters: int = 500,
) -> Choice:
    """Choose the most typical candidates of the clusters with the fewest labels, one of each in turn.

    Args:
        candidates: `[n, h]`. Rows that are not finite are chosen last.
        labelled: `[l, h]`, possibly none; rows that are not finite are left out.
        query_size: q.
        rng: the stream of the clustering.
        most_clusters: bound of the number of clusters.

    Raises:
        DataError: if q is not within 1 .. n, or the numbers of features differ.
    """
    space = feature_space(candidates, labelled, query_size)
    size = min(query_size, len(space.candidates))
    if size == 0:
        return space.choice([], query_size)
    points = np.concatenate([space.candidates, space.labelled])
    count = min(len(space.labelled) + query_size, most_clusters, len(np.unique(points, axis=0)))
    state = int(rng.integers(2**31))
    if count <= _FULL_BATCH_CLUSTERS:
        clustering = KMeans(count, n_init=10, random_state=state)
    else:
        clustering = MiniBatchKMeans(count, batch_size=_BATCH, n_init=1, random_state=state)
    clusters = clustering.fit_predict(points).astype(np.int64)
    return space.choice(most_typical_per_cluster(space.candidates, space.labelled, clusters, size), query_size)
