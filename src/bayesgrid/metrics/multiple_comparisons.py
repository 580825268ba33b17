"""Significance of paired differences when several are looked at together."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array

__all__ = ["holm_adjusted", "holm_adjusted_families", "paired_p_value"]


def paired_p_value(differences: npt.ArrayLike) -> float:
    """Return the two-sided p-value of Student's t-test that the mean of paired ``differences`` is 0.

    Differences that are all 0 give 1, differences that are all equal to another number give 0.

    Args:
        differences: ``[S]``, one a seed.

    Raises:
        DataError: for fewer than 2 differences, NaN or infinity.
    """
    values = checked_array(differences, name="paired differences", dimensions=1)
    if values.size < 2:
        raise DataError("a test over seeds needs several", given=f"{values.size} seed", allowed="at least 2 seeds")
    if np.ptp(values) == 0:
        return 1.0 if values[0] == 0 else 0.0
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def holm_adjusted(p_values: npt.ArrayLike) -> FloatArray:
    """Return p-values that may each be compared with the level of the whole family, ``[M]``.

    In increasing order, ``max_{j <= i} min(1, (M - j + 1) p_(j))``.

    Raises:
        DataError: for no p-value, NaN, or values outside [0, 1].

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    values = checked_array(p_values, name="p-values", dimensions=1)
    if (values < 0).any() or (values > 1).any():
        raise DataError("a p-value is not a probability", given=f"{values.min()} to {values.max()}")
    order = np.argsort(values, kind="stable")
    stepped = np.minimum(1.0, values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


def holm_adjusted_families(families: Mapping[str, npt.ArrayLike]) -> dict[str, FloatArray]:
    """Return :func:`holm_adjusted` of each declared family by itself: the level holds in each, not over all of them.

    A family is the set of comparisons that one conclusion rests on; declare it before looking at the results.

    Args:
        families: name of the family to its p-values ``[M_f]``.

    Raises:
        DataError: for no family, or, naming the family, as :func:`holm_adjusted`.
    """
    if not families:
        raise DataError("no family of comparisons", where="families", allowed="at least one")
    adjusted: dict[str, FloatArray] = {}
    for name, p_values in families.items():
        try:
            adjusted[name] = holm_adjusted(p_values)
        except DataError as error:
            raise DataError("p-values that cannot be adjusted", where=f"family {name}", given=str(error)) from error
    return adjusted
