"""NAdam on a flat buffer, the same arithmetic for every element wherever it lies.

Source: Dozat (2016), Incorporating Nesterov Momentum into Adam, in the form of ``torch.optim.NAdam`` (coupled weight
decay, momentum decay 4e-3).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.studies.regression.models.compilation import compiled

__all__ = ["Moments", "NAdam"]

_BETA_1 = 0.9
_BETA_2 = 0.999
_EPSILON = 1e-8
_MOMENTUM_DECAY = 4e-3


@dataclass(frozen=True)
class Moments:
    """What NAdam remembers of S seeds.

    Args:
        mean: float32 `[S, P]`, running mean of the gradients.
        square: float32 `[S, P]`, running mean of their squares.
        steps: `[S]`, steps made.
        momentum_product: `[S]`, ``mu_1 ... mu_t``.
    """

    mean: npt.NDArray[np.float32]
    square: npt.NDArray[np.float32]
    steps: npt.NDArray[np.int64]
    momentum_product: npt.NDArray[np.float64]

    @classmethod
    def zero(cls, shape: tuple[int, int]) -> "Moments":
        """Return the moments of S seeds with P parameters, ``shape`` = (S, P), before the first step."""
        stack = shape[0]
        return cls(
            np.zeros(shape, dtype=np.float32),
            np.zeros(shape, dtype=np.float32),
            np.zeros(stack, dtype=np.int64),
            np.ones(stack),
        )

    def copy(self) -> "Moments":
        """Return moments that share no memory with these."""
        return self.of(np.arange(len(self.steps)))

    def of(self, rows: npt.NDArray[np.int64]) -> "Moments":
        """Return a copy of the moments of the seeds in ``rows``."""
        return Moments(self.mean[rows], self.square[rows], self.steps[rows], self.momentum_product[rows])

    def write(self, row: int, other: "Moments", other_row: int) -> None:
        """Overwrite the seed ``row`` with the seed ``other_row`` of ``other``; changes this object."""
        self.mean[row] = other.mean[other_row]
        self.square[row] = other.square[other_row]
        self.steps[row] = other.steps[other_row]
        self.momentum_product[row] = other.momentum_product[other_row]


class NAdam:
    """The optimiser of parameters `[S, P]`, one step at a time.

    With ``mu_t = beta_1 (1 - 0.96^(4e-3 t) / 2)`` and g the gradient plus weight decay times the parameter,
    ``m = beta_1 m + (1 - beta_1) g``, ``v = beta_2 v + (1 - beta_2) g^2`` and ``M_t = mu_1 ... mu_t``, the parameter
    moves by
    ``-lr [(1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_{t+1})] / (sqrt(v / (1 - beta_2^t)) + 1e-8)``.

    Args:
        moments: to start from; changed by every step.
        learning_rate: lr, one for all seeds or `[S]`.
        weight_decay: coupled L2 penalty, one for all seeds or `[S]`.
    """

    def __init__(
        self,
        moments: Moments,
        *,
        learning_rate: float | npt.NDArray[np.float64],
        weight_decay: float | npt.NDArray[np.float64],
    ) -> None:
        stack = len(moments.steps)
        self.moments = moments
        self._learning_rate = np.full(stack, learning_rate, dtype=np.float64)
        self._weight_decay = np.full(stack, weight_decay, dtype=np.float32)

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """Forget all seeds but those in ``rows``; changes this object."""
        self.moments = self.moments.of(rows)
        self._learning_rate = self._learning_rate[rows]
        self._weight_decay = self._weight_decay[rows]

    def step(self, parameters: npt.NDArray[np.float32], gradient: npt.NDArray[np.float32]) -> None:
        """Change ``parameters`` `[S, P]` in place by one step along ``gradient`` `[S, P]`."""
        moments = self.moments
        moments.steps[:] += 1
        factors = np.empty((len(moments.steps), 3), dtype=np.float32)
        rows = zip(moments.steps.tolist(), self._learning_rate.tolist(), strict=True)
        for row, (step, learning_rate) in enumerate(rows):
            momentum = _BETA_1 * (1.0 - 0.5 * 0.96 ** (step * _MOMENTUM_DECAY))
            next_momentum = _BETA_1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * _MOMENTUM_DECAY))
            product = float(moments.momentum_product[row]) * momentum
            moments.momentum_product[row] = product
            factors[row, 0] = learning_rate * (1.0 - momentum) / (1.0 - product)
            factors[row, 1] = learning_rate * next_momentum / (1.0 - product * next_momentum)
            factors[row, 2] = 1.0 / math.sqrt(1.0 - _BETA_2**step)
        _step(parameters, gradient, moments.mean, moments.square, factors, self._weight_decay)


@compiled
def _step(
    parameters: npt.NDArray[np.float32],
    gradient: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
    square: npt.NDArray[np.float32],
    factors: npt.NDArray[np.float32],
    weight_decays: npt.NDArray[np.float32],
) -> None:
    keep_mean = np.float32(_BETA_1)
    keep_square = np.float32(_BETA_2)
    add_mean = np.float32(1.0 - _BETA_1)
    add_square = np.float32(1.0 - _BETA_2)
    epsilon = np.float32(_EPSILON)
    for seed in range(parameters.shape[0]):
        by_gradient = factors[seed, 0]
        by_mean = factors[seed, 1]
        square_root_correction = factors[seed, 2]
        weight_decay = weight_decays[seed]
        own_parameters, own_gradient = parameters[seed], gradient[seed]
        own_mean, own_square = mean[seed], square[seed]
        for i in range(own_parameters.shape[0]):
            g = own_gradient[i] + weight_decay * own_parameters[i]
            m = keep_mean * own_mean[i] + add_mean * g
            v = keep_square * own_square[i] + add_square * (g * g)
            own_mean[i] = m
            own_square[i] = v
            own_parameters[i] -= (by_gradient * g + by_mean * m) / (np.sqrt(v) * square_root_correction + epsilon)
