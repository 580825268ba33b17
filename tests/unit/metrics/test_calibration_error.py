import itertools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.calibration import calibration_curve

from bayesgrid.errors import DataError
from bayesgrid.metrics import calibration_error
from bayesgrid.metrics.calibration_error import (
    adaptive_calibration_error,
    calibration_test,
    debiased_squared_calibration_error,
    expected_calibration_error,
    expected_calibration_error_under_calibration,
)
from bayesgrid.metrics.example_statistics import calibration_statistic, debiased_calibration_statistic
from bayesgrid.random_streams import random_stream

predictions = st.integers(4, 40).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, n, elements=st.sampled_from([0, 0.1, 0.25, 0.33, 0.5, 0.7, 0.9, 0.99, 1.0])),
        hnp.arrays(np.int64, n, elements=st.integers(0, 1)),
    )
)


def stream(index: int = 0) -> np.random.Generator:
    return random_stream(2, "outcomes", index)


@given(predictions, st.integers(1, 20))
def test_equal_width_error_is_that_of_a_loop_over_half_open_bins(prediction, bins):
    confidence, correct = prediction
    edges = [*np.linspace(0, 1, bins + 1), np.inf]
    expected = 0.0
    for lower, upper in pairwise(edges):
        inside = (confidence >= lower) & (confidence < upper)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(confidence, correct, bins=bins) == pytest.approx(expected)


def test_equal_width_error_is_that_of_the_reliability_diagram_of_scikit_learn():
    generator = np.random.default_rng(3)
    confidence = generator.beta(4, 1.5, size=300)
    correct = generator.random(300) < confidence**2
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10, strategy="uniform")
    counts = np.histogram(confidence, np.linspace(0, 1, 11))[0]
    expected = np.abs(accuracy - mean) @ counts[counts > 0] / 300
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx(expected)


def test_equal_mass_bins_of_distinct_confidences_are_chunks_of_the_sorted_ones():
    generator = np.random.default_rng(4)
    confidence, correct = generator.random(60), generator.integers(0, 2, size=60)
    order = np.argsort(confidence)
    gaps = [abs((correct[chunk] - confidence[chunk]).sum()) for chunk in np.split(order, 12)]
    assert adaptive_calibration_error(confidence, correct, bins=12) == pytest.approx(sum(gaps) / 60)


def test_certain_predictions_have_a_bin_of_their_own():
    # In one bin with 0.95 the two gaps of +0.05 and -0.05 would cancel.
    confidence, correct = [1.0] * 20 + [0.95] * 20, [1] * 19 + [0] + [1] * 20
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx(0.05)


def test_bins_hide_errors_that_cancel_and_one_bin_is_the_difference_of_means():
    confidence, correct = np.array([0.1, 0.9, 0.6, 0.7]), np.array([1, 1, 0, 0])
    for error in (expected_calibration_error, adaptive_calibration_error):
        assert error(confidence[:2], correct[:2], bins=2) == pytest.approx(0.5)
    assert adaptive_calibration_error(confidence, correct, bins=1) == pytest.approx(0.075)


@settings(deadline=None)
@given(predictions, st.integers(1, 4), st.randoms(use_true_random=False))
def test_equal_mass_errors_do_not_depend_on_the_order_of_examples(prediction, bins, shuffler):
    confidence, correct = prediction
    bins = min(bins, confidence.size // 2)
    order = list(range(confidence.size))
    shuffler.shuffle(order)
    for error in (adaptive_calibration_error, debiased_squared_calibration_error):
        assert error(confidence, correct, bins=bins) == pytest.approx(
            error(confidence[order], correct[order], bins=bins)
        )


@pytest.mark.parametrize("shift", [0.0, 0.15])
def test_debiased_squared_error_is_unbiased_and_the_plain_one_is_not(shift):
    # 3 confidences, 5 examples each: the exact mean over all outcomes, weighed by their probability.
    levels = np.array([0.3, 0.5, 0.8])
    confidence = np.repeat(levels, 5)
    counts = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    weight = np.prod(stats.binom.pmf(counts, 5, levels - shift), axis=1)
    debiased = plain = 0.0
    for probability, right in zip(weight, counts, strict=True):
        correct = np.concatenate([np.arange(5) < number for number in right])
        debiased += probability * debiased_squared_calibration_error(confidence, correct, bins=3)
        plain += probability * np.mean((levels - right / 5) ** 2)
    assert debiased == pytest.approx(shift**2, abs=1e-12)
    assert plain > shift**2 + 0.03


@pytest.mark.parametrize(("low", "high"), [(0.25, 0.6), (0.9, 1.0)])
def test_debiased_expected_error_of_a_calibrated_model_is_nothing_on_average_and_the_plain_one_is_not(low, high):
    generator = np.random.default_rng(17)
    plain, debiased = [], []
    for _ in range(400):
        confidence = generator.uniform(low, high, size=100)
        correct = (generator.random(100) < confidence).astype(float)
        once = np.ones((1, 100))
        plain.append(calibration_statistic(confidence, correct, bins=15)(once)[0])
        debiased.append(debiased_calibration_statistic(confidence, correct, bins=15)(once)[0])
    error = np.std(debiased, ddof=1) / 20
    assert abs(np.mean(debiased)) < 3 * error
    assert np.mean(plain) > 10 * error


def test_a_bin_that_ties_leave_with_one_prediction_joins_its_neighbour():
    confidence = np.array([0.1, 0.2, 0.5, 0.6, 0.6, 0.6])
    correct = np.array([0, 1, 1, 0, 1, 1])
    # Cut at 0.5 and 0.6, the second bin would hold 0.5 alone.
    low, high = slice(0, 3), slice(3, 6)
    expected = np.mean(
        [(correct[part].mean() - confidence[part].mean()) ** 2 - correct[part].var(ddof=1) / 3 for part in (low, high)]
    )
    assert debiased_squared_calibration_error(confidence, correct, bins=3) == pytest.approx(expected)


def test_null_distribution_of_one_bin_is_binomial():
    confidence = np.full(12, 0.75)
    result = calibration_test(confidence, np.ones(12), generator=stream(), replicates=20_000)
    gaps = np.abs(np.arange(13) / 12 - 0.75)
    mass = stats.binom.pmf(np.arange(13), 12, 0.75)
    assert result.observed == pytest.approx(0.25)
    assert result.null.mean() == pytest.approx(gaps @ mass, abs=0.003)
    assert result.p_value == pytest.approx(mass[gaps >= 0.25 - 1e-9].sum(), abs=0.01)
    assert result.excess == pytest.approx(0.25 - gaps @ mass, abs=0.003)


@pytest.mark.parametrize("estimator", [expected_calibration_error, debiased_squared_calibration_error])
def test_p_values_of_calibrated_models_are_uniform_and_those_of_overconfident_ones_small(estimator):
    generator = np.random.default_rng(8)
    calibrated, overconfident = [], []
    for trial in range(200):
        confidence = generator.uniform(0.5, 1, size=100)
        for power, p_values in ((1, calibrated), (3, overconfident)):
            correct = generator.random(100) < confidence**power
            test = calibration_test(confidence, correct, generator=stream(trial), estimator=estimator, replicates=60)
            p_values.append(test.p_value)
    assert stats.kstest(calibrated, "uniform").pvalue > 1e-3
    assert np.mean(np.array(overconfident) < 0.05) > 0.8


@pytest.mark.parametrize(
    "call",
    [
        lambda: expected_calibration_error([], []),
        lambda: expected_calibration_error([0.5], [0.5]),
        lambda: expected_calibration_error([1.5], [1]),
        lambda: expected_calibration_error([0.5], [1], bins=0),
        lambda: adaptive_calibration_error([0.5], [1], bins=2),
        lambda: debiased_squared_calibration_error([0.5, 0.6, 0.7], [1, 0, 1], bins=2),
        lambda: calibration_test([0.5], [1], generator=stream(), replicates=0),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()


@pytest.mark.parametrize("confidence", [[0.7], [0.62, 0.64, 0.66], [0.1, 0.9, 0.95, 0.97, 0.3, 0.31], [1.0, 1.0, 0.5]])
def test_error_under_calibration_is_the_mean_over_all_outcomes_by_their_probabilities(confidence):
    values = np.array(confidence)
    expected = 0.0
    for outcomes in itertools.product([0, 1], repeat=values.size):
        chance = np.where(np.array(outcomes) == 1, values, 1 - values).prod()
        expected += chance * expected_calibration_error(values, outcomes)
    assert expected_calibration_error_under_calibration(values) == pytest.approx(expected)


def test_error_under_calibration_of_many_predictions_is_that_of_the_simulation_exact_and_approximate(monkeypatch):
    confidence = np.random.default_rng(6).beta(5, 1.5, size=400)
    exact = expected_calibration_error_under_calibration(confidence)
    null = calibration_test(confidence, np.ones(400), generator=stream(), replicates=1500).null
    assert exact == pytest.approx(null.mean(), abs=4 * null.std() / np.sqrt(1500))
    monkeypatch.setattr(calibration_error, "EXACT_BIN", 0)
    assert expected_calibration_error_under_calibration(confidence) == pytest.approx(exact, rel=0.05)


def test_debiased_error_of_calibrated_predictions_is_nothing_on_average():
    generator = np.random.default_rng(7)
    confidence = generator.beta(5, 1.5, size=500)
    chance = expected_calibration_error_under_calibration(confidence)
    errors = [expected_calibration_error(confidence, generator.random(500) < confidence) - chance for _ in range(300)]
    assert abs(np.mean(errors)) < 0.003
    assert chance > 0.02, "which the plain error shows as miscalibration"
