"""The one number by which logits are multiplied so that held-out predictions are as likely as they can be.

- Guo, Pleiss, Sun & Weinberger (2017), On calibration of modern neural networks: temperature scaling.
"""

import math

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.class_probabilities import checked_class_labels
from bayesgrid.metrics.drawn_probabilities import drawn_log_probabilities

__all__ = ["INVERSE_TEMPERATURE_BOUNDS", "fit_inverse_temperature"]

INVERSE_TEMPERATURE_BOUNDS = (0.01, 100.0)
"""Where the search ends: predictions that are all right want an infinite value, predictions worse than chance 0."""

_STARTS = 25
_STEPS = 60
_TOLERANCE = 1e-10


def fit_inverse_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike, options: npt.ArrayLike) -> float:
    """Return the t that minimises ``-mean_n log mean_s softmax(t z_sn)[y_n]``.

    Newton's method in ``u = log t`` with exact derivatives, kept inside a bracket by bisection. For one draw the loss
    is convex in t; for several it need not be, so the bracket is the best of a coarse grid.

    Args:
        logits: ``[S, N, C]``, one row of logits a draw and held-out example.
        labels: ``[N]``, integers below ``options``.
        options: ``[N]``, how many options an example has: its first so many classes.

    Raises:
        DataError: for NaN, infinite logits, options outside 1 to C, or labels that are no option.
    """
    at_one = drawn_log_probabilities(logits, options)
    target = checked_class_labels(labels, at_one[0])
    values = np.asarray(logits, dtype=np.float64)
    present = np.isfinite(at_one[0])
    absent = np.flatnonzero(~present[np.arange(target.size), target])
    if absent.size:
        raise DataError(
            "the label is none of the options",
            where=f"example {absent[0]}",
            given=int(target[absent[0]]),
            allowed=f"0..{int(present[absent[0]].sum()) - 1}",
        )
    # Only differences to the label's logit matter; they keep the exponentials small where predictions are right.
    gaps = np.where(present, values - np.take_along_axis(values, target[None, :, None], axis=2), -np.inf)
    grid = np.geomspace(*INVERSE_TEMPERATURE_BOUNDS, _STARTS)
    best = int(np.argmin([_loss(gaps, math.log(t))[0] for t in grid]))
    lower, u, upper = (math.log(grid[place]) for place in (max(best - 1, 0), best, min(best + 1, _STARTS - 1)))
    for _ in range(_STEPS):
        _, slope, curvature = _loss(gaps, u)
        lower, upper = (lower, u) if slope > 0 else (u, upper)
        step = u - slope / curvature if curvature > 0 else math.nan
        # Also false for NaN.
        following = step if lower < step < upper else (lower + upper) / 2
        if abs(following - u) < _TOLERANCE:
            break
        u = following
    return math.exp(u)


def _loss(gaps: FloatArray, u: float) -> tuple[float, float, float]:
    """Return the mean loss at ``t = exp(u)`` with its first and second derivatives in u."""
    t = math.exp(u)
    known = np.where(np.isfinite(gaps), gaps, 0.0)
    scaled = t * gaps
    top = scaled.max(axis=2, keepdims=True)
    weights = np.exp(scaled - top)
    total = weights.sum(axis=2, keepdims=True)
    weights /= total
    mean = (weights * known).sum(axis=2)
    variance = (weights * known**2).sum(axis=2) - mean**2
    log_label = -(top + np.log(total))[..., 0]
    largest = log_label.max(axis=0)
    shares = np.exp(log_label - largest)
    loss = -float((largest + np.log(shares.mean(axis=0))).mean())
    shares /= shares.sum(axis=0)
    # Derivatives of log mean_s exp(l_s) in t, where l_s' = -mean and l_s'' = -variance.
    first = -(shares * mean).sum(axis=0)
    second = (shares * (mean**2 - variance)).sum(axis=0) - first**2
    slope, curvature = -float(first.mean()), -float(second.mean())
    return loss, t * slope, t * t * curvature + t * slope
