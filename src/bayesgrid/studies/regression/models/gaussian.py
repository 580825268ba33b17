"""A Gaussian with learned mean and standard deviation: loss, gradient, and the bounded standard deviation."""

import math

import numpy as np
import numpy.typing as npt

from bayesgrid.studies.regression.models.compilation import compiled

__all__ = ["SMALLEST_STANDARD_DEVIATION", "gaussian_losses", "gaussian_parameters"]

SMALLEST_STANDARD_DEVIATION = 1e-3
"""Floor of the predicted standard deviation, in those of the target; without one the loss has no lower bound."""
_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)


@compiled
def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


@compiled
def gaussian_losses(
    raw: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    losses: npt.NDArray[np.float32],
    gradient: npt.NDArray[np.float32],
    differentiate: bool,
) -> None:
    """Write ``-log N(y; m, s^2)`` with ``s = softplus(.) + floor`` and, if asked, the gradient of each seed's mean.

    Args:
        raw: `[S, L]`, rows (m, unconstrained s) for `[S, n]` targets.
        targets: `[S, n]`, standardised.
        losses: `[S, n]`, written; in nats.
        gradient: `[S, L]`, written.
        differentiate: whether gradients are wanted.
    """
    rows = targets.shape[1]
    for seed in range(targets.shape[0]):
        for r in range(rows):
            free = np.float64(raw[seed, 2 * r + 1])
            deviation = _softplus(free) + SMALLEST_STANDARD_DEVIATION
            residual = (np.float64(targets[seed, r]) - np.float64(raw[seed, 2 * r])) / deviation
            losses[seed, r] = 0.5 * residual * residual + math.log(deviation) + _LOG_NORMAL_CONSTANT
            if differentiate:
                gradient[seed, 2 * r] = -residual / deviation / rows
                gradient[seed, 2 * r + 1] = (1.0 - residual * residual) / deviation / (1.0 + math.exp(-free)) / rows


def gaussian_parameters(raw: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean and standard deviation, each `[...]`, from unconstrained numbers `[..., 2]`."""
    free = raw[..., 1].astype(np.float64)
    deviation = np.logaddexp(0.0, free) + SMALLEST_STANDARD_DEVIATION
    return np.ascontiguousarray(raw[..., 0]), deviation.astype(np.float32)
