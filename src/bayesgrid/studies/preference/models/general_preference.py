"""GPM: every response is a vector, and the score of two is skew-symmetric, so that preferences may run in cycles.

Source: Zhang et al., General Preference Modeling with Preference Representations, arXiv 2410.02197.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
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
from bayesgrid.studies.preference.models.skew_blocks import GateKind, gate_multipliers, gate_weights, skew_score
from bayesgrid.studies.preference.models.stacked_layers import hidden_features, hidden_weights, linear, normal_weights

__all__ = ["GeneralPreference"]


@dataclass(frozen=True)
class GeneralPreference:
    """``z(i, j) = <R v_i, v_j> / temperature``, with a reward difference besides for the hybrid model (HRC).

    Args:
        inputs: widths of what it reads.
        hidden: width of the hidden layer, 0 for vectors that are linear in the features.
        dimension: d, even.
        temperature: of the logits.
        normalise: whether vectors have length 1.
        gate_kind: whether the prompt weighs the blocks.
        reward: whether ``r_i - r_j`` is added (HRC, arXiv 2605.17342).
    """

    inputs: ModelInputs
    hidden: int
    dimension: int
    temperature: float
    normalise: bool = True
    gate_kind: GateKind = "none"
    reward: bool = False
    noise_width: int = 0

    def initial_parameters(self, generators: list[np.random.Generator]) -> dict[str, Tensor]:
        """Return starting weights; see :class:`PreferenceModel`."""
        width = self.hidden or self.inputs.responses
        parameters = {
            **hidden_weights(generators, self.inputs.responses, self.hidden),
            "vector.weight": normal_weights(generators, (width, self.dimension), 1 / (width + 1)),
            **gate_weights(generators, self.inputs.prompts, self.dimension, self.gate_kind),
        }
        if self.reward:
            parameters["reward.weight"] = normal_weights(generators, (width, 1), 1 / (width + 1))
        return parameters

    def represent(self, parameters: Mapping[str, Tensor], features: Tensor) -> Representation:
        """Return ``hidden`` ``[K, n, h]``, ``vector`` ``[K, n, d]`` and, for the hybrid, ``reward`` ``[K, n]``."""
        hidden = hidden_features(parameters, features)
        vector = linear(parameters["vector.weight"], hidden)
        made = {"hidden": hidden, "vector": functional.normalize(vector, dim=-1) if self.normalise else vector}
        if self.reward:
            made["reward"] = linear(parameters["reward.weight"], hidden)[..., 0]
        return made

    def gate(self, parameters: Mapping[str, Tensor], prompts: Tensor | None) -> Tensor | None:
        """Return the multipliers of the blocks; see :class:`PreferenceModel`."""
        return gate_multipliers(parameters, prompts, self.gate_kind)

    def logits(
        self, parameters: Mapping[str, Tensor], first: Representation, second: Representation, gate: Tensor | None
    ) -> LatentLogits:
        """Return the logits; see :class:`PreferenceModel`."""
        del parameters
        score = skew_score(first["vector"], second["vector"], gate)
        if self.reward:
            score = score + first["reward"] - second["reward"]
        return LatentLogits(score / self.temperature, None)

    def losses(self, parameters: Mapping[str, Tensor], pairs: ComparedPairs, noise: Tensor | None, step: int) -> Tensor:
        """Return the mean cross-entropy, ``[K]`` (GPM, equation A.1)."""
        del noise, step
        first, second = split_pairs(self.represent(parameters, pairs.responses))
        logits = self.logits(parameters, first, second, self.gate(parameters, pairs.prompt))
        return soft_label_loss(logits.mean, pairs.target).mean(1)
