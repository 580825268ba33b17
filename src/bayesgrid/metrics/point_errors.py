"""Errors of point predictions, in the unit of the target; lower is better."""

import numpy as np
import numpy.typing as npt

from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["mean_absolute_error", "root_mean_squared_error"]


def mean_absolute_error(predicted: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Return ``mean |prediction - y|``; the median is the prediction that minimises it.

    Raises:
        DataError: for no observation, NaN, infinity or shapes that differ.
    """
    return float(np.abs(_residuals(predicted, observed)).mean())


def root_mean_squared_error(predicted: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Return ``sqrt(mean (prediction - y)^2)``; the mean is the prediction that minimises it.

    Raises:
        DataError: for no observation, NaN, infinity or shapes that differ.
    """
    residuals = _residuals(predicted, observed)
    # Scaled by the largest residual, so that the squares of large targets do not overflow.
    largest = float(np.abs(residuals).max())
    return largest * float(np.sqrt(np.mean((residuals / largest) ** 2))) if largest > 0 else 0.0


def _residuals(predicted: npt.ArrayLike, observed: npt.ArrayLike) -> FloatArray:
    prediction = checked_array(predicted, name="predicted")
    target = checked_array(observed, name="observed")
    same_shape(predicted=prediction, observed=target)
    return prediction - target
