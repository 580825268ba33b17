"""PairPM: a network that reads both responses at once, made skew-symmetric (RLHFlow, arXiv 2405.07863, section 2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bayesgrid.studies.preference.models.preference_model import (
    ComparedPairs,
    LatentLogits,
    ModelInputs,
    Representation,
    soft_label_loss,
    split_pairs,
)
from bayesgrid.studies.preference.models.stacked_layers import linear, normal_weights

__all__ = ["PairPreference"]


@dataclass(frozen=True)
class PairPreference:
    """``z(i, j) = (f(i, j) - f(j, i)) / (2 temperature)`` with ``f`` a hidden layer over ``[h_i; h_j]``.

    Args:
        inputs: widths of what it reads.
        hidden: width of the hidden layer.
        temperature: of the logits.
    """

    inputs: ModelInputs
    hidden: int
    temperature: float
    noise_width: int = 0

    def initial_parameters(self, generators: list[np.random.Generator]) -> dict[str, Tensor]:
        """Return starting weights; see :class:`PreferenceModel`."""
        width = self.inputs.responses
        deviation = (2 * width) ** -0.5
        return {
            "former.weight": normal_weights(generators, (width, self.hidden), deviation),
            "latter.weight": normal_weights(generators, (width, self.hidden), deviation),
            "pair.bias": torch.zeros(len(generators), self.hidden),
            "pair.weight": normal_weights(generators, (self.hidden, 1), 1 / (self.hidden + 1)),
        }

    def represent(self, parameters: Mapping[str, Tensor], features: Tensor) -> Representation:
        """Return what each response adds to the hidden layer when it stands first and second, ``[K, n, h]``."""
        return {
            "former": linear(parameters["former.weight"], features),
            "latter": linear(parameters["latter.weight"], features),
        }

    def gate(self, parameters: Mapping[str, Tensor], prompts: Tensor | None) -> None:
        """Return None: there is no gate."""
        del parameters, prompts

    def logits(
        self, parameters: Mapping[str, Tensor], first: Representation, second: Representation, gate: Tensor | None
    ) -> LatentLogits:
        """Return the logits; see :class:`PreferenceModel`."""
        del gate
        bias = parameters["pair.bias"][:, None]
        forward = functional.gelu(first["former"] + second["latter"] + bias)
        backward = functional.gelu(second["former"] + first["latter"] + bias)
        return LatentLogits(
            linear(parameters["pair.weight"], forward - backward)[..., 0] / (2 * self.temperature), None
        )

    def losses(self, parameters: Mapping[str, Tensor], pairs: ComparedPairs, noise: Tensor | None, step: int) -> Tensor:
        """Return the mean cross-entropy, ``[K]``."""
        del noise, step
        first, second = split_pairs(self.represent(parameters, pairs.responses))
        return soft_label_loss(self.logits(parameters, first, second, None).mean, pairs.target).mean(1)
