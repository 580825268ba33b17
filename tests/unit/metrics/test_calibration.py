import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.calibration import (
    central_coverage,
    interval_coverage,
    mean_interval_width,
    pit_distance,
    pit_histogram,
)

pits = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


@given(pits)
def test_pit_distance_is_the_kolmogorov_smirnov_statistic(pit):
    assert pit_distance(pit) == pytest.approx(stats.kstest(pit, "uniform").statistic, abs=1e-12)


@given(pits, st.integers(1, 30))
def test_pit_histogram_holds_every_value_once(pit, bins):
    histogram = pit_histogram(pit, bins=bins)
    assert histogram.shape == (bins,)
    np.testing.assert_allclose(np.rint(histogram * pit.size), histogram * pit.size, atol=1e-9)
    assert histogram.sum() == pytest.approx(1)


def test_pit_histogram_of_too_narrow_predictions_is_u_shaped():
    observed = np.random.default_rng(0).normal(size=4000)
    narrow = pit_histogram(stats.norm.cdf(observed, scale=0.5), bins=5)
    assert narrow[0] > 0.25
    assert narrow[-1] > 0.25
    assert narrow[2] < 0.2


@given(pits, st.floats(0.01, 0.99))
def test_central_coverage_agrees_with_the_interval_of_quantiles(pit, level):
    # With the uniform as predictive distribution, quantiles are the levels themselves.
    lower, upper = np.full(pit.size, (1 - level) / 2), np.full(pit.size, (1 + level) / 2)
    assert central_coverage(pit, level=level) == interval_coverage(lower, upper, pit)


def test_coverage_of_true_quantiles_is_the_level():
    observed = np.random.default_rng(1).gamma(2.0, size=20_000)
    distribution = stats.gamma(2.0)
    error = np.sqrt(0.9 * 0.1 / observed.size)
    assert central_coverage(distribution.cdf(observed)) == pytest.approx(0.9, abs=4 * error)


def test_mean_interval_width():
    assert mean_interval_width([0.0, 1.0], [1.0, 4.0]) == 2.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: pit_distance([0.5, 1.1]),
        lambda: pit_distance([]),
        lambda: pit_distance([np.nan]),
        lambda: pit_histogram([0.5], bins=0),
        lambda: central_coverage([0.5], level=1.0),
        lambda: interval_coverage([1.0], [0.0], [0.5]),
        lambda: interval_coverage([0.0], [1.0], [0.5, 0.6]),
        lambda: mean_interval_width([0.0], [np.nan]),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
