import numpy as np
import pytest

from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.errors import DataError


@pytest.mark.parametrize("shape", [(4, 5, 2, 3), (4, 5, 3, 3, 9), (4, 5, 2, 2, 9), (4, 5, 2, 3, 1), (0, 5, 2, 3, 9)])
def test_spline_draws_refuse_other_shapes(shape):
    with pytest.raises(DataError, match="wrong shape"):
        SplineDraws(np.zeros(shape, dtype=np.float32))


def test_spline_draws_refuse_other_types():
    with pytest.raises(DataError, match="float64"):
        SplineDraws(np.zeros((4, 5, 2, 3, 9)))


def test_sizes_are_read_from_the_arrays():
    splines = SplineDraws(np.zeros((4, 5, 2, 3, 9), dtype=np.float32))
    gaussians = GaussianDraws(np.zeros((3, 7)), np.ones((3, 7)))
    assert (splines.draws, splines.inputs) == (4, 5)
    assert (gaussians.draws, gaussians.inputs) == (3, 7)


@pytest.mark.parametrize("shape", [(3, 6), (7, 3), (3,)])
def test_gaussian_draws_refuse_unequal_shapes(shape):
    with pytest.raises(DataError, match="wrong shape"):
        GaussianDraws(np.zeros((3, 7)), np.ones(shape))


def test_gaussian_draws_refuse_zero_width_but_let_nan_through():
    width = np.array([[1.0, np.nan]])
    assert np.isnan(GaussianDraws(np.zeros((1, 2)), width).standard_deviation[0, 1])
    with pytest.raises(DataError, match="greater than 0"):
        GaussianDraws(np.zeros((1, 2)), np.array([[1.0, 0.0]]))
