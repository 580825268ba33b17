"""NAdam on a flat buffer, the same arithmetic for every element wherever it lies.

Source: Dozat (2016), Incorporating Nesterov Momentum into Adam, in the form of ``torch.optim.NAdam`` (coupled weight
decay, momentum decay 4e-3).
"""

import math

import numpy as np
import numpy.typing as npt

from bayesgrid.studies.regression.models.compilation import compiled

__all__ = ["NAdam"]

_BETA_1 = 0.9
_BETA_2 = 0.999
_EPSILON = 1e-8
_MOMENTUM_DECAY = 4e-3


class NAdam:
    """First and second moments of the gradients of parameters `[S, P]`, and one step at a time.

    With ``mu_t = beta_1 (1 - 0.96^(4e-3 t) / 2)`` and g the gradient plus weight decay times the parameter,
    ``m = beta_1 m + (1 - beta_1) g``, ``v = beta_2 v + (1 - beta_2) g^2`` and ``M_t = mu_1 ... mu_t``, the parameter
    moves by
    ``-lr [(1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_{t+1})] / (sqrt(v / (1 - beta_2^t)) + 1e-8)``.

    Args:
        shape: (S, P).
        learning_rate: lr.
        weight_decay: coupled L2 penalty.
    """

    def __init__(self, shape: tuple[int, int], *, learning_rate: float, weight_decay: float) -> None:
        self._mean = np.zeros(shape, dtype=np.float32)
        self._square = np.zeros(shape, dtype=np.float32)
        self._learning_rate = learning_rate
        self._weight_decay = np.float32(weight_decay)
        self._steps = 0
        self._momentum_product = 1.0

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """Forget all seeds but those in ``rows``; changes this object."""
        self._mean = self._mean[rows]
        self._square = self._square[rows]

    def step(self, parameters: npt.NDArray[np.float32], gradient: npt.NDArray[np.float32]) -> None:
        """Change ``parameters`` `[S, P]` in place by one step along ``gradient`` `[S, P]`."""
        self._steps += 1
        momentum = _BETA_1 * (1.0 - 0.5 * 0.96 ** (self._steps * _MOMENTUM_DECAY))
        next_momentum = _BETA_1 * (1.0 - 0.5 * 0.96 ** ((self._steps + 1) * _MOMENTUM_DECAY))
        self._momentum_product *= momentum
        _step(
            parameters.reshape(-1),
            gradient.reshape(-1),
            self._mean.reshape(-1),
            self._square.reshape(-1),
            np.float32(self._learning_rate * (1.0 - momentum) / (1.0 - self._momentum_product)),
            np.float32(self._learning_rate * next_momentum / (1.0 - self._momentum_product * next_momentum)),
            np.float32(1.0 / math.sqrt(1.0 - _BETA_2**self._steps)),
            self._weight_decay,
        )


@compiled
def _step(
    parameters: npt.NDArray[np.float32],
    gradient: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
    square: npt.NDArray[np.float32],
    by_gradient: np.float32,
    by_mean: np.float32,
    square_root_correction: np.float32,
    weight_decay: np.float32,
) -> None:
    keep_mean = np.float32(_BETA_1)
    keep_square = np.float32(_BETA_2)
    add_mean = np.float32(1.0 - _BETA_1)
    add_square = np.float32(1.0 - _BETA_2)
    epsilon = np.float32(_EPSILON)
    for i in range(parameters.shape[0]):
        g = gradient[i] + weight_decay * parameters[i]
        m = keep_mean * mean[i] + add_mean * g
        v = keep_square * square[i] + add_square * (g * g)
        mean[i] = m
        square[i] = v
        parameters[i] -= (by_gradient * g + by_mean * m) / (np.sqrt(v) * square_root_correction + epsilon)
