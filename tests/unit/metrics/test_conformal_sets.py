import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgrid.errors import DataError
from bayesgrid.metrics.conformal_sets import (
    adaptive_scores,
    conformal_threshold,
    least_ambiguous_scores,
    mean_set_size,
    set_coverage,
    split_conformal_sets,
)
from bayesgrid.random_streams import random_stream


def stream(index: int = 0) -> np.random.Generator:
    return random_stream(19, "conformal", index)


def example_points(seed, points, classes=4):
    """Predictions and labels that do not follow them: the promise needs no calibrated model."""
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(classes), size=points), generator.integers(0, classes, size=points)


def test_adaptive_scores_of_a_worked_example():
    scores = adaptive_scores([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    np.testing.assert_allclose(scores, [[1.0, 0.5, 0.8], [0.4, 0.8, 1.0]])


def test_randomised_scores_fall_within_the_steps_of_the_deterministic_ones():
    probabilities, _ = example_points(1, 50)
    upper, random = adaptive_scores(probabilities), adaptive_scores(probabilities, generator=stream())
    shares = (upper - random) / probabilities
    np.testing.assert_allclose(shares, shares[:, :1] * np.ones((1, 4)), atol=1e-9)
    assert 0 <= shares.min() < shares.max() <= 1


def test_randomised_score_of_a_label_drawn_from_the_prediction_is_uniform():
    probabilities = np.tile([[0.6, 0.3, 0.1]], (20_000, 1))
    labels = np.random.default_rng(2).choice(3, p=[0.6, 0.3, 0.1], size=20_000)
    scores = adaptive_scores(probabilities, generator=stream())[np.arange(20_000), labels]
    np.testing.assert_allclose(np.quantile(scores, [0.1, 0.35, 0.6, 0.9]), [0.1, 0.35, 0.6, 0.9], atol=0.02)


def test_threshold_is_the_order_statistic_of_the_finite_sample():
    scores = np.arange(1.0, 20.0)
    assert conformal_threshold(scores[::-1], level=0.95) == 19
    assert conformal_threshold(scores, level=0.9) == 18
    assert conformal_threshold(scores[:18], level=0.95) == np.inf
    assert conformal_threshold(np.arange(99), level=0.07) == 6


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000), st.integers(2, 25), st.floats(0.05, 0.95), st.sampled_from(["least_ambiguous", "adaptive"])
)
def test_leaving_each_point_out_covers_exactly_the_promised_number(seed, points, level, score):
    # Exchangeability in finite form: of n + 1 points, each in turn the new one, ceil((n + 1) level) are covered when no
    # two scores tie. (Deterministic APS ties at 1, the least probable class, and may cover more.)
    probabilities, labels = example_points(seed, points)
    covered = 0.0
    for left_out in range(points):
        rest = np.arange(points) != left_out
        sets = split_conformal_sets(
            probabilities[rest], labels[rest], probabilities[[left_out]], level=level, score=score
        )
        covered += set_coverage(sets, labels[[left_out]])
    promised = int(np.ceil(points * level - 1e-9))
    assert covered >= promised
    if score == "least_ambiguous":
        assert covered == promised


@pytest.mark.parametrize("score", ["least_ambiguous", "adaptive"])
def test_coverage_over_calibration_sets_is_at_the_level_and_not_far_above(score):
    trials, size, level = 3000, 24, 0.8
    hits = 0.0
    for trial in range(trials):
        probabilities, labels = example_points(trial, size + 1)
        sets = split_conformal_sets(
            probabilities[:-1], labels[:-1], probabilities[-1:], level=level, score=score, generator=stream(trial)
        )
        hits += set_coverage(sets, labels[-1:])
    exact = np.ceil((size + 1) * level) / (size + 1)
    assert abs(hits / trials - exact) < 4 * np.sqrt(exact * (1 - exact) / trials)


def test_sets_are_the_classes_below_the_threshold():
    calibration = np.array([[0.7, 0.2, 0.1]] * 9)
    labels = [0] * 7 + [1, 2]
    new = [[0.5, 0.3, 0.2], [0.15, 0.05, 0.8]]
    # Scores of labels: 0.3 seven times, 0.8, 0.9. The 8th smallest at level 0.8 is 0.8.
    sets = split_conformal_sets(calibration, labels, new, level=0.8, score="least_ambiguous")
    np.testing.assert_array_equal(sets, [[True, True, True], [False, False, True]])
    assert mean_set_size(sets) == 2
    assert set_coverage(sets, [0, 1]) == 0.5
    everything = split_conformal_sets(calibration, labels, new, level=0.95)
    assert everything.all()


def test_least_ambiguous_sets_are_smaller_at_equal_coverage_when_probabilities_are_true():
    generator = np.random.default_rng(5)
    probabilities = generator.dirichlet(np.full(6, 0.5), size=6000)
    labels = (probabilities.cumsum(axis=1) < generator.random((6000, 1))).sum(axis=1).clip(max=5)
    sizes = {}
    for score in ("least_ambiguous", "adaptive"):
        sets = split_conformal_sets(
            probabilities[:3000], labels[:3000], probabilities[3000:], score=score, generator=stream()
        )
        assert set_coverage(sets, labels[3000:]) == pytest.approx(0.9, abs=0.03)
        sizes[score] = mean_set_size(sets)
    assert sizes["least_ambiguous"] < sizes["adaptive"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: conformal_threshold([], level=0.9),
        lambda: conformal_threshold([0.5], level=1.0),
        lambda: least_ambiguous_scores([[0.5, 0.4]]),
        lambda: adaptive_scores([[1.5, -0.5]]),
        lambda: split_conformal_sets([[0.5, 0.5]], [2], [[0.5, 0.5]]),
        lambda: split_conformal_sets([[0.5, 0.5]], [0], [[0.5, 0.25, 0.25]]),
        lambda: set_coverage([[1, 0]], [0]),
        lambda: set_coverage(np.ones((2, 2), dtype=bool), [0]),
        lambda: mean_set_size(np.zeros((0, 2), dtype=bool)),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
