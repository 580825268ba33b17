import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.drawn_probabilities import (
    averaged_log_probabilities,
    drawn_log_probabilities,
    uncertainty_split,
)

drawn = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=st.floats(-8, 8)),
        hnp.arrays(np.int64, shape[1], elements=st.integers(1, shape[2])),
    )
)


@given(drawn, st.floats(0.1, 5))
def test_probabilities_are_the_mean_of_each_draws_softmax_over_the_options_present(example, inverse):
    logits, options = example
    averaged = np.exp(averaged_log_probabilities(drawn_log_probabilities(logits, options, inverse_temperature=inverse)))
    for n, count in enumerate(options):
        weights = np.exp(inverse * logits[:, n, :count])
        expected = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        assert averaged[n, :count] == pytest.approx(expected)
        assert (averaged[n, count:] == 0).all()


@given(drawn)
def test_total_uncertainty_is_entropy_and_its_epistemic_part_the_mean_divergence_from_the_average(example):
    logits, options = example
    logs = drawn_log_probabilities(logits, options)
    split = uncertainty_split(logs)
    each, averaged = np.exp(logs), np.exp(averaged_log_probabilities(logs))
    assert split.total == pytest.approx(stats.entropy(averaged, axis=1), abs=1e-9)
    assert split.aleatoric == pytest.approx(stats.entropy(each, axis=2).mean(axis=0), abs=1e-9)
    divergence = np.array(
        [
            np.mean([stats.entropy(p[:count], q[:count]) for p in each[:, n]])
            for n, (q, count) in enumerate(zip(averaged, options, strict=True))
        ]
    )
    assert split.epistemic == pytest.approx(divergence, abs=1e-9)
    assert (split.epistemic >= 0).all()


def test_draws_that_agree_leave_nothing_epistemic():
    logits = np.repeat(np.random.default_rng(0).normal(size=(1, 50, 4)) * 5, 7, axis=0)
    split = uncertainty_split(drawn_log_probabilities(logits, np.full(50, 4)))
    assert (split.epistemic == 0).all()


def test_extreme_logits_neither_overflow_nor_lose_the_answer():
    logs = drawn_log_probabilities([[[1e4, 0.0, -1e4]]], [3])
    assert logs[0, 0] == pytest.approx([0.0, -1e4, -2e4])
    assert np.isfinite(uncertainty_split(logs).total).all()


@pytest.mark.parametrize(
    ("logits", "options", "inverse"),
    [
        (np.zeros((1, 2, 3)), [3], 1.0),
        (np.zeros((1, 2, 3)), [0, 3], 1.0),
        (np.zeros((1, 2, 3)), [4, 3], 1.0),
        (np.zeros((1, 2, 3)), [2.5, 3], 1.0),
        (np.full((1, 2, 3), np.nan), [3, 3], 1.0),
        (np.full((1, 2, 3), np.inf), [3, 3], 1.0),
        (np.zeros((2, 3)), [3, 3], 1.0),
        (np.zeros((1, 2, 3)), [3, 3], 0.0),
        (np.zeros((1, 2, 3)), [3, 3], np.nan),
    ],
)
def test_malformed_input_is_a_data_error(logits, options, inverse):
    with pytest.raises(DataError):
        drawn_log_probabilities(logits, options, inverse_temperature=inverse)
