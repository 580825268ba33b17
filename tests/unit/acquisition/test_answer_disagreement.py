import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bayesgrid.acquisition.answer_disagreement import (
    checked_answers,
    expected_entropy,
    least_confidence,
    mutual_information,
    normalised_predictive_entropy,
    predictive_entropy,
    small_margin,
)
from bayesgrid.errors import DataError
from bayesgrid.metrics.drawn_probabilities import drawn_log_probabilities, uncertainty_split


def answers_of(logits, options=None):
    return drawn_log_probabilities(logits, np.full(logits.shape[1], logits.shape[2]) if options is None else options)


def test_scores_of_two_draws_equal_their_closed_forms():
    # Two draws that are sure of different answers; two that both know nothing; two equal ones.
    p = np.array([[[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]], [[0.0, 1.0], [0.5, 0.5], [0.9, 0.1]]])
    with np.errstate(divide="ignore"):
        answers = np.log(p)
    entropy = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    np.testing.assert_allclose(mutual_information(answers), [math.log(2), 0, 0], atol=1e-15)
    np.testing.assert_allclose(predictive_entropy(answers), [math.log(2), math.log(2), entropy], rtol=1e-14)
    np.testing.assert_allclose(expected_entropy(answers), [0, math.log(2), entropy], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(least_confidence(answers), [0.5, 0.5, 0.1], rtol=1e-14)
    np.testing.assert_allclose(small_margin(answers), [1.0, 1.0, 0.2], rtol=1e-14)


def test_scores_ignore_labels_that_a_question_does_not_offer():
    logits = np.random.default_rng(0).normal(size=(5, 7, 4)) * 3
    options = np.array([2, 3, 4, 2, 3, 4, 2])
    masked = answers_of(logits, options)
    for score in (mutual_information, predictive_entropy, least_confidence, small_margin, expected_entropy):
        together = score(masked)
        for question, offered in enumerate(options):
            alone = score(answers_of(logits[:, question : question + 1, :offered]))
            assert together[question] == pytest.approx(alone[0], abs=1e-12)


def test_entropies_equal_those_of_scipy_and_of_the_metrics():
    answers = answers_of(np.random.default_rng(1).normal(size=(6, 9, 5)) * 2)
    p = np.exp(answers)
    np.testing.assert_allclose(predictive_entropy(answers), stats.entropy(p.mean(0), axis=1), rtol=1e-12)
    np.testing.assert_allclose(expected_entropy(answers), stats.entropy(p, axis=2).mean(0), rtol=1e-12)
    np.testing.assert_allclose(mutual_information(answers), uncertainty_split(answers).epistemic, atol=1e-12)


def test_normalised_entropy_is_one_for_no_preference_whatever_the_number_of_options():
    answers = answers_of(np.zeros((1, 4, 5)), np.array([1, 2, 3, 5]))
    np.testing.assert_allclose(normalised_predictive_entropy(answers), [0, 1, 1, 1], atol=1e-15)


@given(arrays(np.float64, (4, 6, 3), elements=st.floats(-30, 30)))
def test_mutual_information_lies_between_zero_and_its_bounds(logits):
    information = mutual_information(answers_of(logits))
    assert (information >= 0).all()
    assert (information <= min(math.log(4), math.log(3)) + 1e-12).all()


@given(arrays(np.float64, (1, 6, 3), elements=st.floats(-30, 30)), st.integers(1, 12))
def test_identical_draws_have_no_mutual_information(logits, draws):
    assert (mutual_information(answers_of(np.repeat(logits, draws, axis=0))) == 0).all()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (np.zeros((2, 3)), "wrong shape"),
        (np.zeros((0, 3, 2)), "wrong shape"),
        (np.zeros((2, 3, 2)), "sum to 1"),
        (np.full((2, 3, 2), np.nan), "sum to 1"),
        (np.full((2, 3, 2), -np.inf), "sum to 1"),
    ],
)
def test_what_is_no_probability_is_refused(answers, words):
    with pytest.raises(DataError, match=words):
        checked_answers(answers)
