import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from bayesgrid.errors import DataError
from bayesgrid.metrics.point_errors import mean_absolute_error, root_mean_squared_error

columns = hnp.arrays(np.float64, 9, elements=st.floats(-1e6, 1e6))


@given(columns, columns)
def test_errors_equal_scikit_learn(predicted, observed):
    assert mean_absolute_error(predicted, observed) == pytest.approx(metrics.mean_absolute_error(observed, predicted))
    expected = metrics.root_mean_squared_error(observed, predicted)
    assert root_mean_squared_error(predicted, observed) == pytest.approx(expected, rel=1e-12, abs=1e-150)


def test_squares_of_large_residuals_do_not_overflow():
    assert root_mean_squared_error([3e200, 0.0], [0.0, 4e200]) == pytest.approx(5e200 / np.sqrt(2))


@pytest.mark.parametrize("error", [mean_absolute_error, root_mean_squared_error])
@pytest.mark.parametrize("arrays", [([], []), ([1.0], [np.nan]), ([1.0, 2.0], [1.0]), ([np.inf], [1.0])])
def test_malformed_input_is_a_data_error(error, arrays):
    with pytest.raises(DataError):
        error(*arrays)
