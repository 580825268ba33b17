import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from bayesgrid.acquisition.typicality import most_typical_per_cluster, typiclust


def _brute_force(candidates, labelled, clusters, query_size):
    """Choose one by one, looking again at every cluster and every candidate each time."""
    points = np.concatenate([candidates, labelled])
    n, chosen, turns = len(candidates), [], dict.fromkeys(np.unique(clusters).tolist(), 0)

    def typicality(i):
        distances = np.sort(cdist(points[[i]], points[clusters == clusters[i]])[0])[1:]
        count = min(20, (len(distances) + 1) // 2)
        return 1.0 / distances[:count].mean() if count else 0.0

    while len(chosen) < query_size:
        free = [i for i in range(n) if i not in chosen]
        open_clusters = {int(clusters[i]) for i in free}
        large = {c for c in open_clusters if np.sum(clusters == c) > 5}
        eligible = large or open_clusters
        cluster = min(
            eligible,
            key=lambda c: (turns[c], np.sum(clusters[n:] == c), -np.sum(clusters == c), c),
        )
        turns[cluster] += 1
        chosen.append(max((i for i in free if clusters[i] == cluster), key=typicality))
    return chosen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [3, 12])
def test_choices_are_those_of_brute_force(seed, count):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(90, 3))
    clusters = rng.choice(count, 90, p=(w := rng.uniform(0.05, 1, count)) / w.sum())
    chosen = most_typical_per_cluster(points[:80], points[80:], clusters, 60)
    assert chosen.tolist() == _brute_force(points[:80], points[80:], clusters, 60)


def test_the_largest_clusters_without_labels_come_first_each_with_its_centre():
    rng = np.random.default_rng(8)
    sizes, centres = [40, 30, 60, 25], np.array([[0, 0], [50, 0], [0, 50], [50, 50.0]])
    candidates = np.concatenate([c + rng.normal(size=(n, 2)) for c, n in zip(centres, sizes, strict=True)])
    origin = np.repeat(np.arange(4), sizes)
    labelled = centres[[2]] + 0.1
    # One labelled example and a query of three: four clusters.
    chosen = typiclust(candidates, labelled, 3, np.random.default_rng(0)).positions
    assert origin[chosen].tolist() == [0, 1, 3]
    assert np.linalg.norm(candidates[chosen] - centres[[0, 1, 3]], axis=1).max() < 1.0


def test_an_outlier_is_never_typical():
    rng = np.random.default_rng(9)
    candidates = np.concatenate([rng.normal(size=(30, 2)), [[9.0, 9.0]]])
    clusters = np.zeros(31, dtype=np.int64)
    assert most_typical_per_cluster(candidates, candidates[:0], clusters, 31)[-1] == 30


def test_a_query_and_the_labels_have_a_cluster_each():
    rng = np.random.default_rng(10)
    centres = rng.uniform(-50, 50, (8, 2))
    points = np.concatenate([centre + rng.normal(0, 0.05, (12, 2)) for centre in centres])
    # Three labelled examples, two of them in one of the eight regions, and a query of five: eight clusters.
    labelled, candidates = points[[0, 1, 12]], np.delete(points, [0, 1, 12], axis=0)
    origin = np.delete(np.repeat(np.arange(8), 12), [0, 1, 12])
    clusters = KMeans(8, n_init=10, random_state=0).fit_predict(points)
    assert all(len(set(clusters[12 * c : 12 * c + 12])) == 1 for c in range(8))
    chosen = typiclust(candidates, labelled, 5, np.random.default_rng(0)).positions
    assert set(origin[chosen].tolist()) <= set(range(2, 8))
    assert len(set(origin[chosen].tolist())) == 5


def test_more_than_fifty_clusters_come_from_mini_batches():
    rng = np.random.default_rng(11)
    centres = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2) * 100
    candidates = np.repeat(centres, 8, axis=0) + rng.normal(size=(512, 2))
    choice = typiclust(candidates, centres[:4], 60, np.random.default_rng(0))
    origin = np.repeat(np.arange(64), 8)[choice.positions]
    assert len(set(choice.positions.tolist())) == 60
    assert len(set(origin.tolist())) > 45
