import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bayesgrid.acquisition.largest_cluster_maximum_distance import largest_cluster_maximum_distance
from bayesgrid.acquisition.selection import k_centre_greedy


def _brute_force(candidates, labelled, query_size):
    centres, chosen = list(labelled), []
    for _ in range(query_size):
        squared = cdist(candidates, np.array(centres)) ** 2
        owner, distance = squared.argmin(axis=1), squared.min(axis=1)
        heaviest = max(range(len(centres)), key=lambda c: distance[owner == c].sum())
        members = np.flatnonzero(owner == heaviest)
        chosen.append(int(members[distance[members].argmax()]))
        centres.append(candidates[chosen[-1]])
    return chosen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("labelled", [1, 9])
def test_choices_are_those_of_brute_force(seed, labelled):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(70 + labelled, 4)).astype(np.float32)
    choice = largest_cluster_maximum_distance(points[:70], points[70:], 30)
    assert choice.positions.tolist() == _brute_force(points[:70].astype(float), points[70:].astype(float), 30)


def test_many_candidates_outweigh_a_farther_outlier():
    # 5 x 3^2 = 45 around the first centre, 4^2 = 16 around the second.
    candidates = np.array([[104.0], [3.0], [-3.0], [3.0], [-3.0], [2.999]])
    labelled = np.array([[0.0], [100.0]])
    assert largest_cluster_maximum_distance(candidates, labelled, 1).positions.tolist() == [1]
    assert k_centre_greedy(candidates, labelled, 1).positions.tolist() == [0]


def test_scale_shift_and_rotation_of_the_features_change_nothing():
    rng = np.random.default_rng(7)
    points = rng.normal(size=(40, 3))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    moved = 17.0 * points @ rotation + 5.0
    plain, other = (largest_cluster_maximum_distance(x[:36], x[36:], 12).positions.tolist() for x in (points, moved))
    assert plain == other
