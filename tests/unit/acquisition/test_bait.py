import itertools

import numpy as np
import pytest

from bayesgrid.acquisition.bait import bait
from bayesgrid.errors import ConfigurationError

RIDGE = 1e-3


def _objective(candidates, labelled, batch):
    """Return tr(M^-1 F) for the candidates in ``batch``, from the definition."""
    everything = np.concatenate([candidates, labelled])
    taken = np.concatenate([labelled, candidates[list(batch)]])
    matrix = taken.T @ taken + RIDGE * np.mean(everything**2) * np.eye(candidates.shape[1])
    return np.trace(np.linalg.inv(matrix) @ (everything.T @ everything))


def _brute_force(candidates, labelled, query_size, over_selection):
    batch = []
    for _ in range(min(over_selection * query_size, len(candidates))):
        rest = [i for i in range(len(candidates)) if i not in batch]
        batch.append(min(rest, key=lambda i: _objective(candidates, labelled, [*batch, i])))
    while len(batch) > query_size:
        batch.remove(min(batch, key=lambda i: _objective(candidates, labelled, [j for j in batch if j != i])))
    return batch


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("labelled", [0, 2, 12])
@pytest.mark.parametrize("over_selection", [1, 2])
def test_choices_are_those_of_the_definition(seed, labelled, over_selection):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(30 + labelled, 5)) * np.geomspace(3, 0.1, 5)
    choice = bait(points[:30], points[30:], 8, ridge=RIDGE, over_selection=over_selection)
    assert choice.positions.tolist() == _brute_force(points[:30], points[30:], 8, over_selection)


def test_long_updates_do_not_drift():
    rng = np.random.default_rng(5)
    points = rng.normal(size=(64, 12)) * np.geomspace(10, 1e-2, 12)
    for over_selection in (1, 2):
        choice = bait(points[:60], points[60:], 25, ridge=RIDGE, over_selection=over_selection)
        assert choice.positions.tolist() == _brute_force(points[:60], points[60:], 25, over_selection)


def test_the_batch_comes_near_the_best_of_all_batches():
    rng = np.random.default_rng(1)
    gaps = []
    for _ in range(5):
        points = rng.normal(size=(12, 3))
        objectives = [_objective(points[:10], points[10:], batch) for batch in itertools.combinations(range(10), 3)]
        best, typical = min(objectives), np.mean(objectives)
        found = _objective(points[:10], points[10:], bait(points[:10], points[10:], 3, ridge=RIDGE).positions)
        gaps.append((found - best) / (typical - best))
    assert max(gaps) < 0.25


def test_in_one_dimension_the_largest_features_are_best():
    candidates = np.array([[1.0], [-4.0], [0.5], [3.0], [2.0]])
    assert bait(candidates, np.array([[1.0]]), 3, over_selection=1).positions.tolist() == [1, 3, 4]
    assert sorted(bait(candidates, np.array([[1.0]]), 3).positions.tolist()) == [1, 3, 4]


def test_a_direction_known_from_the_labels_is_not_bought_again():
    candidates = np.array([[5.0, 0.0], [0.0, 1.0]])
    assert bait(candidates, np.array([[50.0, 0.0]]), 1).positions.tolist() == [1]
    assert bait(candidates, np.array([[0.0, 50.0]]), 1).positions.tolist() == [0]


def test_the_scale_of_the_features_does_not_matter():
    points = np.random.default_rng(3).normal(size=(40, 6))
    plain, other = (bait(scale * points[:36], scale * points[36:], 9).positions.tolist() for scale in (1.0, 1e-4))
    assert plain == other


@pytest.mark.parametrize("arguments", [{"ridge": 0.0}, {"ridge": float("nan")}, {"over_selection": 0}])
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(ConfigurationError):
        bait(np.ones((3, 2)), np.ones((1, 2)), 1, **arguments)
