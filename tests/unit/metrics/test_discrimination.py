import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from bayesgrid.errors import DataError
from bayesgrid.metrics.discrimination import area_under_roc

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
