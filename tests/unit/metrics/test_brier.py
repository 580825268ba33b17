import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from bayesgrid.errors import DataError
from bayesgrid.metrics.brier import brier_score, brier_scores


def test_score_is_the_squared_distance_to_the_one_hot_label():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([0.3, 1, 2, 0.1], size=40)
    labels = generator.integers(0, 4, size=40)
    one_hot = np.eye(4)[labels]
    np.testing.assert_allclose(brier_scores(probabilities, labels), ((probabilities - one_hot) ** 2).sum(axis=1))
    expected = brier_score_loss(labels, probabilities, labels=[0, 1, 2, 3], scale_by_half=False)
    assert brier_score(probabilities, labels) == pytest.approx(expected)


def test_two_classes_give_twice_the_binary_score():
    positive = np.array([0.1, 0.8, 0.4])
    expected = 2 * brier_score_loss([0, 1, 1], positive)
    assert brier_score(np.stack([1 - positive, positive], axis=1), [0, 1, 1]) == pytest.approx(expected)


def test_extremes():
    assert brier_score([[1.0, 0, 0]], [0]) == 0
    assert brier_score([[1.0, 0, 0]], [2]) == 2
    assert brier_score(np.full((1, 5), 0.2), [3]) == pytest.approx(0.8)


def test_the_truth_has_the_smallest_expected_score():
    truth = np.array([0.2, 0.5, 0.3])
    others = np.random.default_rng(1).dirichlet([1, 1, 1], size=200)
    expected = [truth @ brier_scores(np.tile(p, (3, 1)), [0, 1, 2]) for p in [truth, *others]]
    assert np.argmin(expected) == 0


def test_labels_that_are_no_class_are_a_data_error():
    with pytest.raises(DataError):
        brier_score([[0.5, 0.5]], [2])
