import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from bayesgrid.errors import DataError
from bayesgrid.metrics.calibration_error import adaptive_calibration_error
from bayesgrid.metrics.preference_scores import PREFERENCE_METRICS, preference_metrics, symmetric_calibration_error


def example(count=400, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.random(count)
    return probability, (rng.random(count) < probability).astype(float)


def test_metrics_agree_with_scikit_learn():
    probability, target = example()
    found = preference_metrics(probability, target)
    assert tuple(found) == PREFERENCE_METRICS
    assert found["accuracy"] == np.mean((probability > 0.5) == (target > 0.5))
    assert found["nll"] == pytest.approx(log_loss(target, probability))
    assert found["brier"] == pytest.approx(brier_score_loss(target, probability))
    wrong = (probability > 0.5) != (target > 0.5)
    assert found["error_auroc"] == pytest.approx(roc_auc_score(wrong, -np.abs(probability - 0.5)))


@given(arrays(float, 30, elements=st.floats(0.01, 0.99)), st.integers(0, 2**30 - 1))
def test_no_metric_depends_on_the_side_a_response_stands_on(probability, bits):
    target = np.array([bits >> place & 1 for place in range(30)], dtype=float)
    swapped = np.array([bits * 7919 >> place & 1 for place in range(30)], dtype=bool)
    seen = preference_metrics(probability, target)
    other = preference_metrics(np.where(swapped, 1 - probability, probability), np.where(swapped, 1 - target, target))
    for name in ("accuracy", "nll", "brier"):
        assert seen[name] == pytest.approx(other[name], abs=1e-9)


def test_undecided_predictions_and_labels_count_half():
    assert preference_metrics([0.5, 0.9], [1.0, 1.0])["accuracy"] == 0.75
    assert preference_metrics([0.9, 0.9], [0.5, 1.0])["accuracy"] == 0.75


def test_soft_labels_have_the_cross_entropy():
    found = preference_metrics([0.7, 0.2], [0.6, 0.1])["nll"]
    expected = -np.mean([0.6 * np.log(0.7) + 0.4 * np.log(0.3), 0.1 * np.log(0.2) + 0.9 * np.log(0.8)])
    assert found == pytest.approx(expected)


def test_labels_that_always_name_the_first_do_not_make_confidence_look_calibrated():
    # Always "first, with 0.99" against labels of which it is right in 60 %, all written chosen-first or not.
    rng = np.random.default_rng(0)
    right = rng.random(2000) < 0.6
    assert symmetric_calibration_error(np.where(right, 0.99, 0.01), np.ones(2000)) == pytest.approx(0.39, abs=0.03)


def test_calibrated_predictions_have_a_small_error():
    assert symmetric_calibration_error(*example(40_000)) < 0.01


def test_hard_labels_have_the_error_of_the_views_of_both_sides():
    probability, target = example(101)
    both = np.concatenate([probability, 1 - probability])
    expected = adaptive_calibration_error(both, np.concatenate([target, 1 - target]), bins=15)
    assert symmetric_calibration_error(probability, target) == pytest.approx(expected, abs=1e-12)


def test_soft_labels_are_compared_as_they_are():
    rng = np.random.default_rng(4)
    truth = rng.random(3000)
    assert symmetric_calibration_error(truth, truth) == pytest.approx(0, abs=1e-12)
    assert preference_metrics(truth, truth)["ece"] == pytest.approx(0, abs=1e-12)
    # Against its own side a probability is wrong by its distance from it, but in the bin around 1/2, where both cancel.
    assert symmetric_calibration_error(truth, truth > 0.5) == pytest.approx(1 / 4 - (1 / 2 - 1 / 60) / 15, abs=0.005)
    # Many drawn labels of each pair have the soft error of their share.
    shrunk = 0.5 + 0.5 * (truth - 0.5)
    drawn = (rng.random((400, truth.size)) < truth).mean(axis=0)
    soft = symmetric_calibration_error(shrunk, truth)
    assert soft == pytest.approx(0.125, abs=0.01)
    assert symmetric_calibration_error(shrunk, drawn) == pytest.approx(soft, abs=0.005)


def test_pairs_with_an_undecided_label_count_for_calibration():
    # Ties that are said with certainty are what a decided label alone would not see.
    found = preference_metrics([0.99, 0.99, 0.01], [0.5, 1.0, 0.0])
    assert found["ece"] > 0.15


@pytest.mark.parametrize(
    ("probability", "target"), [([1.2], [1.0]), ([0.5], [-0.1]), ([0.5, 0.5], [1.0]), ([0.5], [0.5])]
)
def test_what_is_no_probability_or_says_nothing_is_refused(probability, target):
    with pytest.raises(DataError):
        preference_metrics(probability, target)
