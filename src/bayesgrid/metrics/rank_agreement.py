"""Whether two settings put the same methods in the same order."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import checked_array, same_shape

__all__ = ["kendall_agreement"]


def kendall_agreement(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    replicates: int = 2000,
) -> Interval:
    """Return Kendall's tau-b between the methods' means over seeds in two settings, with a percentile interval.

    A replicate draws seeds, the same ones for both settings and all methods. Where all methods have one and the same
    mean, tau does not exist and counts as 0. Means of noisy seeds swap places, so the interval may lie below the
    estimate; with few methods tau has few values (-1 and 1 for two).

    Args:
        first: ``[M, S]``, one value per method and seed.
        second: ``[M, S]``, the same methods and seeds in the same order.
        generator: source of the resamples.
        level: coverage.
        replicates: bootstrap resamples.

    Raises:
        DataError: for fewer than 2 methods or seeds, NaN, infinity, shapes that differ, a level outside (0, 1) or fewer
            than 2 replicates.
    """
    left = checked_array(first, name="first", dimensions=2)
    right = checked_array(second, name="second", dimensions=2)
    same_shape(first=left, second=right)
    methods, seeds = left.shape
    if methods < 2 or seeds < 2:
        raise DataError(
            "an interval of an order needs several methods and seeds",
            given=f"{methods} methods, {seeds} seeds",
            allowed="at least 2 of each",
        )
    if not 0 < level < 1:
        raise DataError("not a confidence level", where="level", given=level, allowed="between 0 and 1")
    if replicates < 2:
        raise DataError("too few bootstrap replicates", where="replicates", given=replicates, allowed="at least 2")
    drawn = generator.integers(0, seeds, size=(replicates, seeds))
    replicated = [_tau(left[:, rows].mean(axis=1), right[:, rows].mean(axis=1)) for rows in drawn]
    lower, upper = np.quantile(replicated, [(1 - level) / 2, (1 + level) / 2])
    return Interval(_tau(left.mean(axis=1), right.mean(axis=1)), float(lower), float(upper))


def _tau(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    tau = float(stats.kendalltau(first, second).statistic)
    return tau if np.isfinite(tau) else 0.0
