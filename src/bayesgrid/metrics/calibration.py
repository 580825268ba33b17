"""Whether predictive distributions mean what they say: probability integral transform, coverage and sharpness.

- Gneiting, Balabdaoui & Raftery (2007), Probabilistic forecasts, calibration and sharpness.
"""

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["central_coverage", "interval_coverage", "mean_interval_width", "pit_distance", "pit_histogram"]


def pit_distance(pit: npt.ArrayLike) -> float:
    """Return the Kolmogorov-Smirnov distance ``sup_u |F_n(u) - u|`` of PIT values ``F(y)`` from the uniform.

    0 is perfect calibration; N calibrated observations give about ``0.87 / sqrt(N)``.

    Args:
        pit: ``[N]``, the predictive distribution function at each observation.

    Raises:
        DataError: for no value, NaN, or values outside [0, 1].
    """
    values = np.sort(_pit_values(pit))
    count = values.size
    rank = np.arange(1, count + 1)
    return float(max((rank / count - values).max(), (values - (rank - 1) / count).max()))


def pit_histogram(pit: npt.ArrayLike, *, bins: int = 20) -> FloatArray:
    """Return the share of PIT values in each of ``bins`` equal bins of [0, 1], ``[bins]``; calibrated: 1/bins each.

    A U shape says that predictions are too narrow, a hump that they are too wide, a slope that they are biased.

    Raises:
        DataError: for no value, NaN, values outside [0, 1] or fewer than 1 bin.
    """
    values = _pit_values(pit)
    if bins < 1:
        raise DataError("a histogram needs a bin", where="bins", given=bins, allowed="at least 1")
    counts, _ = np.histogram(values, bins=bins, range=(0.0, 1.0))
    return np.asarray(counts / values.size, dtype=np.float64)


def central_coverage(pit: npt.ArrayLike, *, level: float = 0.9) -> float:
    """Return the share of observations inside their central interval: PIT in ``[(1 - level)/2, (1 + level)/2]``.

    Raises:
        DataError: for no value, NaN, values outside [0, 1] or a level outside (0, 1).
    """
    values = _pit_values(pit)
    if not 0 < level < 1:
        raise DataError("not a coverage level", where="level", given=level, allowed="between 0 and 1")
    return float(np.mean((values >= (1 - level) / 2) & (values <= (1 + level) / 2)))


def interval_coverage(lower: npt.ArrayLike, upper: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    """Return the share of observations with ``lower <= y <= upper``.

    Raises:
        DataError: for no observation, NaN, shapes that differ, or an interval with its ends exchanged.
    """
    low, high = _interval(lower, upper)
    target = checked_array(observed, name="observed")
    same_shape(lower=low, upper=high, observed=target)
    return float(np.mean((target >= low) & (target <= high)))


def mean_interval_width(lower: npt.ArrayLike, upper: npt.ArrayLike) -> float:
    """Return ``mean (upper - lower)``, the sharpness, in the unit of the target.

    Raises:
        DataError: for no interval, NaN, shapes that differ, or an interval with its ends exchanged.
    """
    low, high = _interval(lower, upper)
    return float((high - low).mean())


def _pit_values(pit: npt.ArrayLike) -> FloatArray:
    values = checked_array(pit, name="PIT", dimensions=1)
    if (values < 0).any() or (values > 1).any():
        raise DataError(
            "a PIT value is not a probability", given=f"{values.min()} to {values.max()}", allowed="between 0 and 1"
        )
    return values


def _interval(lower: npt.ArrayLike, upper: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    low = checked_array(lower, name="lower")
    high = checked_array(upper, name="upper")
    same_shape(lower=low, upper=high)
    if (low > high).any():
        raise DataError(
            "an interval's lower end lies above its upper end", given=f"{int((low > high).sum())} intervals"
        )
    return low, high
