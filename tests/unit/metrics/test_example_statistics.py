"""A statistic on counts is the metric on the examples repeated as often: each is compared with that."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bayesgrid.errors import DataError
from bayesgrid.metrics.calibration_error import (
    adaptive_calibration_error,
    expected_calibration_error,
    expected_calibration_error_under_calibration,
)
from bayesgrid.metrics.example_statistics import (
    adaptive_calibration_statistic,
    calibration_statistic,
    debiased_calibration_statistic,
    mean_statistic,
    risk_coverage_statistic,
    roc_statistic,
    selective_risk_statistic,
)
from bayesgrid.metrics.selective_prediction import area_under_risk_coverage, risk_coverage_curve

N = 24


@pytest.fixture(params=["distinct", "tied"])
def predictions(request):
    generator = np.random.default_rng(3)
    confidence = generator.random(N) if request.param == "distinct" else generator.choice([0.3, 0.5, 0.9, 1.0], size=N)
    return confidence, (generator.random(N) < confidence).astype(float)


@pytest.fixture
def counts():
    return np.random.default_rng(4).multinomial(N, np.full(N, 1 / N), size=15).astype(float)


def repeated(counts, *arrays):
    """Yield the arrays with every example as often as a resample has it."""
    for row in counts.astype(int):
        yield tuple(np.repeat(values, row) for values in arrays)


def test_mean_and_calibration_error_are_those_of_the_repeated_examples(predictions, counts):
    confidence, correct = predictions
    expected = [[own.mean(), expected_calibration_error(c, own)] for c, own in repeated(counts, confidence, correct)]
    found = np.stack([mean_statistic(correct)(counts), calibration_statistic(confidence, correct)(counts)], axis=1)
    assert found == pytest.approx(np.array(expected))


def test_debiased_error_is_the_error_less_what_calibration_would_show(predictions, counts):
    confidence, correct = predictions
    gap = calibration_statistic(confidence, correct)(counts) - debiased_calibration_statistic(confidence, correct)(
        counts
    )
    assert gap == pytest.approx(expected_calibration_error_under_calibration(confidence))


def test_adaptive_error_at_counts_of_one_is_the_plain_one(predictions):
    confidence, correct = predictions
    found = adaptive_calibration_statistic(confidence, correct, bins=6)(np.ones((1, N)))
    assert found == pytest.approx(adaptive_calibration_error(confidence, correct, bins=6))


def test_area_under_risk_coverage_at_counts_of_one_is_the_plain_one(predictions):
    confidence, correct = predictions
    found = risk_coverage_statistic(confidence, 1 - correct)(np.ones((1, N)))
    assert found == pytest.approx(area_under_risk_coverage(confidence, 1 - correct))


@pytest.mark.parametrize("kept", [1, 7, N])
def test_selective_risk_at_counts_of_one_is_a_point_of_the_curve(predictions, kept):
    confidence, correct = predictions
    found = selective_risk_statistic(confidence, 1 - correct, coverage=kept / N)(np.ones((1, N)))
    assert found == pytest.approx(risk_coverage_curve(confidence, 1 - correct).risk[kept - 1])


def test_selective_risk_of_distinct_confidences_is_that_of_the_repeated_examples(counts):
    generator = np.random.default_rng(5)
    confidence, loss = generator.random(N), generator.random(N)
    found = selective_risk_statistic(confidence, loss, coverage=0.5)(counts)
    expected = []
    for own, losses in repeated(counts, confidence, loss):
        order = np.argsort(-own, kind="stable")
        expected.append(losses[order][: N // 2].mean())
    assert found == pytest.approx(np.array(expected))


def test_area_under_roc_is_that_of_scikit_learn_on_the_repeated_examples(predictions, counts):
    confidence, correct = predictions
    found = roc_statistic(confidence, correct)(counts)
    expected = [
        roc_auc_score(own, c) if 0 < own.mean() < 1 else np.nan for c, own in repeated(counts, confidence, correct)
    ]
    assert found == pytest.approx(np.array(expected), nan_ok=True)


@pytest.mark.parametrize("coverage", [0.0, 1.1])
def test_a_coverage_beyond_the_examples_is_a_data_error(coverage):
    with pytest.raises(DataError):
        selective_risk_statistic([0.5], [0.0], coverage=coverage)
