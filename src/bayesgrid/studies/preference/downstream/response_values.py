"""A number for each of n responses from tables of all pairs: its mean score, and a lower bound on it.

A response's value is its mean score against the n - 1 others (Borda). Its uncertainty is that of a sum of differences,
``s(i, j)`` over j, which vary together: what all responses share is in none of the differences, and adding up intervals
of single responses or of single pairs takes it for doubt about which is better.
"""

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["borda_values", "lower_bounds_of_draws", "lower_bounds_of_moments"]

_TOLERANCE = 1e-9


def borda_values(tables: npt.ArrayLike) -> FloatArray:
    """Return the mean of each row without the diagonal, ``[..., n]``, of ``tables`` ``[..., n, n]``.

    Raises:
        DataError: if tables are not square, have fewer than two responses, or are not finite.
    """
    values = checked_array(tables, name="tables")
    if values.ndim < 2 or values.shape[-1] != values.shape[-2] or values.shape[-1] < 2:
        raise DataError("not tables of all pairs", given=f"shape {values.shape}", allowed="[..., n, n], n >= 2")
    own = np.diagonal(values, axis1=-2, axis2=-1)
    return np.asarray((values.sum(axis=-1) - own) / (values.shape[-1] - 1), dtype=np.float64)


def lower_bounds_of_draws(draws: npt.ArrayLike, kappa: float = 1.0) -> FloatArray:
    """Return the mean less ``kappa`` standard deviations of each response's value over joint draws, ``[n]``.

    Exact for whatever posterior is drawn from, up to the number of draws.

    Args:
        draws: ``[S, n, n]``, scores or probabilities of all pairs; the pairs of a draw belong together.
        kappa: 0 or greater.

    Raises:
        DataError: for fewer than two draws, or what :func:`borda_values` refuses.
        ConfigurationError: if kappa is negative.
    """
    _check_kappa(kappa)
    values = borda_values(draws)
    if values.ndim != 2 or len(values) < 2:
        raise DataError("no joint draws", given=f"shape {np.shape(draws)}", allowed="[S, n, n], S >= 2")
    return np.asarray(values.mean(axis=0) - kappa * values.std(axis=0, ddof=1))


def lower_bounds_of_moments(mean: npt.ArrayLike, variance: npt.ArrayLike, kappa: float = 1.0) -> FloatArray:
    """Return the same bounds from the moments of single pairs, ``[n]``, for scores that are differences of rewards.

    For ``s(i, j) = u_i - u_j`` the variances d of the differences hold all their covariances,
    ``Cov(s_ij, s_ik) = (d_ij + d_ik - d_jk) / 2``, so that
    ``Var(sum_j s_ij) = n sum_j d_ij - sum_jk d_jk / 2``. Scores that go in circles need joint draws.

    Args:
        mean: ``[n, n]``.
        variance: ``[n, n]``, symmetric, as of ``bayesgrid.acquisition.response_bounds.difference_moments``.
        kappa: 0 or greater.

    Raises:
        DataError: for unlike shapes, or variances that no rewards have.
        ConfigurationError: if kappa is negative.
    """
    _check_kappa(kappa)
    values = borda_values(mean)
    spread = checked_array(variance, name="variance", dimensions=2).copy()
    same_shape(mean=np.asarray(mean), variance=spread)
    np.fill_diagonal(spread, 0.0)
    count = len(spread)
    total = count * spread.sum(axis=1) - spread.sum() / 2
    limit = _TOLERANCE * count * float(np.abs(spread).sum())
    if spread.min() < 0 or not np.allclose(spread, spread.T, rtol=1e-6, atol=1e-12) or total.min() < -limit:
        raise DataError(
            "no rewards have differences of these variances",
            where="variance",
            allowed="symmetric, 0 or greater, of one joint distribution",
            remedy="give joint draws to lower_bounds_of_draws",
        )
    return np.asarray(values - kappa * np.sqrt(np.maximum(total, 0.0)) / (count - 1))


def _check_kappa(kappa: float) -> None:
    if not kappa >= 0:
        raise ConfigurationError("the width of a bound is negative", given=kappa, allowed="0 or greater")
