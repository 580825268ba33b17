import numpy as np
import pytest

from bayesgrid.acquisition.reference_typicality import single_cluster, typical_of_first_cluster
from bayesgrid.acquisition.typicality import typiclust


def _brute_force(candidates, clusters, query_size):
    """Choose one by one, looking again at what is left of the first cluster that is not used up."""
    count, chosen = len(candidates), []
    names = [c for c in np.unique(clusters) if (clusters[:count] == c).any()]
    size = {c: np.sum(clusters == c) for c in names}
    names.sort(key=lambda c: (size[c] <= 5, np.sum(clusters[count:] == c), -size[c], c))
    for cluster in names:
        left = [i for i in range(count) if clusters[i] == cluster]
        while left and len(chosen) < query_size:
            neighbours = min(20, len(left) // 2)
            typicality = []
            for i in left:
                distances = sorted(np.linalg.norm(candidates[i] - candidates[j]) for j in left if j != i)
                mean = sum(distances[:neighbours]) / neighbours if neighbours else 0.0
                typicality.append(1 / (mean + 1e-5))
            best = left[int(np.argmax(typicality))]
            chosen.append(best)
            left.remove(best)
    return chosen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [3, 12])
def test_choices_are_those_of_brute_force(seed, count):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(90, 3))
    clusters = rng.choice(count, 100, p=(w := rng.uniform(0.05, 1, count)) / w.sum())
    assert typical_of_first_cluster(points, clusters, 40).tolist() == _brute_force(points, clusters, 40)


def _groups(rng):
    sizes, centres = [40, 30, 60, 25], np.array([[0, 0], [50, 0], [0, 50], [50, 50.0]])
    candidates = np.concatenate([c + rng.normal(size=(n, 2)) for c, n in zip(centres, sizes, strict=True)])
    return candidates, np.repeat(np.arange(4), sizes), centres


def test_a_batch_comes_from_one_cluster_and_the_corrected_one_from_several():
    candidates, origin, centres = _groups(np.random.default_rng(8))
    labelled = centres[[2, 1, 3]] + 0.1  # four clusters, of which the first group has no label
    batch = single_cluster(candidates, labelled, 12, np.random.default_rng(0)).positions
    assert origin[batch].tolist() == [0] * 12
    assert len(set(origin[typiclust(candidates, labelled, 12, np.random.default_rng(0)).positions])) > 1


def test_the_number_of_clusters_does_not_grow_with_the_batch():
    candidates, origin, _ = _groups(np.random.default_rng(9))
    # Without a label there is one cluster, in which the largest group is densest.
    batch = single_cluster(candidates, candidates[:0], 8, np.random.default_rng(0)).positions
    assert len(set(batch.tolist())) == 8
    assert set(origin[batch]) <= {0, 1, 2}


@pytest.mark.parametrize("labelled", [10, 80])
def test_either_way_of_clustering_repeats_with_its_stream(labelled):
    rng = np.random.default_rng(10)
    candidates, known = rng.normal(size=(300, 4)), rng.normal(size=(labelled, 4))
    once, again = (single_cluster(candidates, known, 30, np.random.default_rng(1)).positions for _ in range(2))
    assert once.tolist() == again.tolist()
    assert len(set(once.tolist())) == 30


def test_candidates_that_are_not_finite_come_last_and_the_whole_pool_can_be_taken():
    rng = np.random.default_rng(11)
    candidates = rng.normal(size=(20, 3))
    candidates[7, 1] = np.nan
    choice = single_cluster(candidates, rng.normal(size=(4, 3)), 20, rng)
    assert sorted(choice.positions.tolist()) == list(range(20))
    assert choice.positions[-1] == 7
    assert choice.nonfinite == 1
    only = single_cluster(np.full((2, 3), np.nan), rng.normal(size=(4, 3)), 2, rng)
    assert sorted(only.positions.tolist()) == [0, 1]
