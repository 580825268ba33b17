import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from bayesgrid.errors import DataError
from bayesgrid.metrics.discrimination import area_under_precision_recall, area_under_roc, false_positive_rate

examples = st.integers(2, 20).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.int64, n, elements=st.integers(-3, 3)), hnp.arrays(np.int64, n, elements=st.integers(0, 1))
    )
)


@given(examples)
def test_area_equals_scikit_learn_and_the_share_of_ordered_pairs(example):
    score, positive = example
    assume(0 < positive.sum() < positive.size)
    area = area_under_roc(score, positive)
    gaps = score[positive == 1][:, None] - score[positive == 0]
    assert area == pytest.approx(np.mean((gaps > 0) + (gaps == 0) / 2))
    assert area == pytest.approx(roc_auc_score(positive, score))
    assert area + area_under_roc(-score, positive) == pytest.approx(1)


def test_infinite_scores_are_ordered():
    assert area_under_roc([-np.inf, 0.0, 1.0, np.inf], [False, False, True, True]) == 1


@pytest.mark.parametrize(
    ("score", "positive"),
    [([1.0, 2.0], [1, 1]), ([1.0, 2.0], [0, 0]), ([1.0, np.nan], [0, 1]), ([1.0], [0, 1]), ([1.0, 2.0], [0, 2])],
)
def test_malformed_input_is_a_data_error(score, positive):
    with pytest.raises(DataError):
        area_under_roc(score, positive)


@given(examples)
def test_average_precision_equals_scikit_learn(example):
    score, positive = example
    assume(0 < positive.sum() < positive.size)
    assert area_under_precision_recall(score, positive) == pytest.approx(average_precision_score(positive, score))


@given(examples, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_false_positive_rate_is_the_first_of_scikit_learns_curve_with_enough_recall(example, recall):
    score, positive = example
    assume(0 < positive.sum() < positive.size)
    alarms, found, _ = roc_curve(positive, score, drop_intermediate=False)
    expected = alarms[np.argmax(found >= recall - 1e-12)]
    assert false_positive_rate(score, positive, recall=recall) == pytest.approx(expected)


@pytest.mark.parametrize("recall", [0.0, 1.2])
def test_a_recall_that_is_no_share_is_a_data_error(recall):
    with pytest.raises(DataError):
        false_positive_rate([0.0, 1.0], [0, 1], recall=recall)


@pytest.mark.parametrize("metric", [area_under_precision_recall, false_positive_rate])
def test_examples_of_one_kind_have_no_detection(metric):
    with pytest.raises(DataError, match="one kind only"):
        metric([0.0, 1.0], [1, 1])
