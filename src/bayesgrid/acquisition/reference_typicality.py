"""The reference code's TypiClust, which takes a whole batch from one cluster; read by ``mode: faithful`` alone.

Candidates and labelled examples are clustered by k-means into ``k = min(l + 1, 500)`` clusters, however many labels are
asked for. The cluster with the fewest labels, of those the largest, gives every label of the batch: each time the
candidate of highest typicality ``1 / (mean distance to its nearest ones + 1e-5)`` among those still unlabelled there.

Source: the rules of the reference code of BALSA (arXiv 2501.01248) at commit d68a3380; the method that it departs from
is of Hacohen, Dekel, Weinshall (2022), arXiv 2202.02794.
"""

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans, MiniBatchKMeans

from bayesgrid.acquisition.feature_space import feature_space
from bayesgrid.acquisition.selection import Choice

__all__ = ["single_cluster", "typical_of_first_cluster"]

_MOST_CLUSTERS = 500
_NEIGHBOURS = 20
_SMALL_CLUSTER = 5
_FULL_BATCH_CLUSTERS = 50
_BATCH = 5000
_OFFSET = 1e-5


def _most_typical_in_turn(members: npt.NDArray[np.float64], wanted: int) -> list[int]:
    """Return up to ``wanted`` rows of ``members`` `[c, h]`, each the most typical of those not yet taken."""
    distances = cdist(members, members)
    left = np.arange(len(members))
    taken: list[int] = []
    while len(left) and len(taken) < wanted:
        neighbours = min(_NEIGHBOURS, len(left) // 2)
        nearest = np.partition(distances[np.ix_(left, left)], neighbours, axis=1)[:, : neighbours + 1]
        # The smallest is the distance to itself, which is zero.
        typicality = 1.0 / (nearest.sum(axis=1) / max(neighbours, 1) + _OFFSET)
        best = int(np.argmax(typicality))
        taken.append(int(left[best]))
        left = np.delete(left, best)
    return taken


def typical_of_first_cluster(
    candidates: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64], query_size: int
) -> npt.NDArray[np.int64]:
    """Return ``query_size`` rows of ``candidates``, all of the first cluster while it lasts.

    Clusters of five members or fewer are left aside. The reference fails once the first cluster is used up; here the
    next one follows, and those left aside come last.

    Args:
        candidates: `[n, h]`, finite.
        clusters: `[n + l]`, the cluster of each candidate, then of each labelled example.
        query_size: q, at most n.
    """
    count = len(candidates)
    members = np.bincount(clusters)
    labels = np.bincount(clusters[count:], minlength=len(members))
    order = np.lexsort((-members, labels, members <= _SMALL_CLUSTER))
    chosen: list[int] = []
    for cluster in order:
        if len(chosen) >= query_size:
            break
        rows = np.flatnonzero(clusters[:count] == cluster)
        taken = _most_typical_in_turn(candidates[rows], query_size - len(chosen))
        chosen += rows[taken].tolist()
    return np.array(chosen, dtype=np.int64)


def single_cluster(
    candidates: npt.NDArray[np.floating],
    labelled: npt.NDArray[np.floating],
    query_size: int,
    rng: np.random.Generator,
) -> Choice:
    """Choose the most typical candidates of the cluster with the fewest labels.

    Args:
        candidates: `[n, h]`. Rows that are not finite are chosen last.
        labelled: `[l, h]`, possibly none; rows that are not finite are left out.
        query_size: q.
        rng: the stream of the clustering.

    Raises:
        DataError: if q is not within 1 .. n, or the numbers of features differ.
    """
    space = feature_space(candidates, labelled, query_size)
    size = min(query_size, len(space.candidates))
    if size == 0:
        return space.choice([], query_size)
    points = np.concatenate([space.candidates, space.labelled])
    count = min(len(space.labelled) + 1, _MOST_CLUSTERS, len(points))
    state = int(rng.integers(2**31))
    if count <= _FULL_BATCH_CLUSTERS:
        clustering = KMeans(count, n_init=10, random_state=state)
    else:
        clustering = MiniBatchKMeans(count, batch_size=_BATCH, n_init=1, random_state=state)
    clusters = clustering.fit_predict(points.astype(np.float32)).astype(np.int64)
    return space.choice(typical_of_first_cluster(space.candidates, clusters, size), query_size)
