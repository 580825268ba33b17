"""Layers of K networks at once: weights ``[K, inputs, outputs]``, one matrix product for all slots."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["hidden_features", "hidden_weights", "linear", "normal_weights"]


def normal_weights(generators: list[np.random.Generator], shape: tuple[int, ...], deviation: float) -> Tensor:
    """Return float32 ``[K, *shape]``, slot k normal with ``deviation`` from generator k."""
    drawn = [generator.standard_normal(shape, dtype=np.float32) for generator in generators]
    return torch.from_numpy(np.float32(deviation) * np.stack(drawn))


def hidden_weights(generators: list[np.random.Generator], inputs: int, hidden: int) -> dict[str, Tensor]:
    """Return the weights of one hidden layer, ``hidden.weight`` and ``hidden.bias``; none for a width of 0."""
    if hidden == 0:
        return {}
    return {
        "hidden.weight": normal_weights(generators, (inputs, hidden), inputs**-0.5),
        "hidden.bias": torch.zeros(len(generators), hidden),
    }


def hidden_features(parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """Return what the hidden layer makes of ``features`` ``[K, n, f]``; the features themselves where there is none."""
    if "hidden.weight" not in parameters:
        return features
    return functional.gelu(torch.baddbmm(parameters["hidden.bias"][:, None], features, parameters["hidden.weight"]))


def linear(weight: Tensor, features: Tensor) -> Tensor:
    """Return ``features @ weight`` slot by slot, ``[K, n, outputs]``."""
    return torch.bmm(features, weight)
