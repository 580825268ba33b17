import numpy as np
import pytest

from bayesgrid.errors import DataError
from bayesgrid.metrics.class_probabilities import checked_class_probabilities, checked_confidence, top_label


def test_top_label_of_a_table_with_a_tie():
    result = top_label([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.4, 0.4, 0.2]], [1, 0, 1])
    np.testing.assert_array_equal(result.confidence, [0.5, 0.4, 0.4])
    np.testing.assert_array_equal(result.correct, [1, 1, 0])


def test_rounding_of_single_precision_is_accepted():
    logits = np.random.default_rng(0).normal(scale=5, size=(50, 30)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(checked_class_probabilities(probabilities), probabilities.astype(np.float64))
    assert top_label([[1.00001, 0.0]], [0]).confidence == [1.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda: checked_class_probabilities([[0.5, 0.4]]),
        lambda: checked_class_probabilities([[1.2, -0.2]]),
        lambda: checked_class_probabilities([[1.0]]),
        lambda: checked_class_probabilities([0.5, 0.5]),
        lambda: top_label([[0.5, 0.5]], [2]),
        lambda: top_label([[0.5, 0.5]], [-1]),
        lambda: top_label([[0.5, 0.5]], [0.5]),
        lambda: top_label([[0.5, 0.5]], [0, 1]),
        lambda: checked_confidence([1.1], [1]),
        lambda: checked_confidence([0.5], [2]),
        lambda: checked_confidence([0.5, 0.5], [1]),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
