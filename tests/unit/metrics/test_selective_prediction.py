from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bayesgrid.errors import DataError
from bayesgrid.metrics.selective_prediction import (
    area_under_risk_coverage,
    risk_coverage_curve,
)

examples = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.int64, n, elements=st.integers(0, 2)), hnp.arrays(np.int64, n, elements=st.integers(-1, 3))
    )
)


def risks(losses):
    return [np.mean(losses[: kept + 1]) for kept in range(len(losses))]


@settings(deadline=None, max_examples=60)
@given(examples)
def test_curve_is_the_mean_over_all_orders_that_confidence_allows(example):
    confidence, loss = example
    curves = [
        risks([loss[i] for i in order])
        for order in permutations(range(loss.size))
        if all(confidence[a] >= confidence[b] for a, b in pairwise(order))
    ]
    curve = risk_coverage_curve(confidence, loss)
    np.testing.assert_allclose(curve.risk, np.mean(curves, axis=0), atol=1e-12)
    np.testing.assert_allclose(curve.coverage, np.arange(1, loss.size + 1) / loss.size)


def test_constant_confidence_costs_the_mean_loss_at_every_coverage():
    np.testing.assert_allclose(risk_coverage_curve(np.zeros(6), [1, 0, 0, 1, 1, 0]).risk, 0.5)


def test_perfect_order_approaches_its_formula_for_many_examples():
    wrong = np.arange(100_000) >= 70_000
    area = area_under_risk_coverage(-np.arange(100_000), wrong)
    assert area == pytest.approx(0.3 + 0.7 * np.log(0.7), abs=1e-4)


@pytest.mark.parametrize(("confidence", "loss"), [([], []), ([1.0], [1.0, 0.0]), ([np.nan], [1.0])])
def test_malformed_input_is_a_data_error(confidence, loss):
    with pytest.raises(DataError):
        area_under_risk_coverage(confidence, loss)
