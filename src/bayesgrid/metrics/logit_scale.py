"""The factor on binary logits that held-out labels ask for: temperature scaling of two classes, many fits at once."""

import numpy as np
import numpy.typing as npt
from scipy import special

from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["HIGHEST_SCALE", "LOWEST_SCALE", "binary_losses", "fit_logit_scale"]

LOWEST_SCALE, HIGHEST_SCALE = 1e-3, 1e3
_HALVINGS = 50


def fit_logit_scale(logits: npt.ArrayLike, target: npt.ArrayLike) -> FloatArray:
    """Return the t of each row that minimises ``mean_n softplus(t z_n) - y_n t z_n``, ``[K]``.

    The loss is convex in t, so the root of its slope is found by halving, to a relative error of 1e-14; t stays within
    1e-3 and 1e3. Logits that point the wrong way get the lowest scale, which makes them say next to nothing.

    Args:
        logits: ``[K, n]``.
        target: ``[K, n]``, labels in [0, 1], soft ones as they are.

    Raises:
        DataError: for NaN, infinite logits or unlike shapes.
    """
    z, y = checked_array(logits, name="logits", dimensions=2), checked_array(target, name="target", dimensions=2)
    same_shape(logits=z, target=y)
    low, high = np.full(len(z), np.log(LOWEST_SCALE)), np.full(len(z), np.log(HIGHEST_SCALE))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = (z * (special.expit(np.exp(middle)[:, None] * z) - y)).mean(axis=1)
        low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
    return np.asarray(np.exp((low + high) / 2), dtype=np.float64)


def binary_losses(logits: npt.ArrayLike, target: npt.ArrayLike) -> FloatArray:
    """Return ``softplus(z) - y z``, the cross-entropy of each soft label in nats, of the shape of ``logits``."""
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(target, dtype=np.float64)
    return np.asarray(np.logaddexp(0.0, z) - y * z, dtype=np.float64)
