"""The skew-symmetric score of GPM in torch: blocks of two coordinates, a multiplier for each from the prompt's gate.

``s(i, j) = sum_l lambda_l (v_i[2l] v_j[2l+1] - v_i[2l+1] v_j[2l])`` (GPM, arXiv 2410.02197, definition 4.3).
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bayesgrid.studies.preference.models.stacked_layers import linear, normal_weights

__all__ = ["GateKind", "gate_multipliers", "gate_weights", "skew_score", "skew_score_variance"]

GateKind = Literal["none", "linear", "squared"]
"""How the softmax of the gate multiplies a block: not at all, once (the reference's code) or twice (the paper's
``D R D``)."""


def skew_score(first: Tensor, second: Tensor, gate: Tensor | None = None) -> Tensor:
    """Return the score of vectors ``[..., d]``, ``[...]``, with multipliers ``[..., d / 2]``."""
    blocks = first[..., 0::2] * second[..., 1::2] - first[..., 1::2] * second[..., 0::2]
    return (blocks if gate is None else gate * blocks).sum(-1)


def skew_score_variance(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], gate: Tensor | None = None
) -> Tensor:
    """Return the variance of the score of independent normal vectors, each given by mean and variances ``[..., d]``.

    Three uncorrelated terms: the noise of either vector, and the product of both.
    """
    (mean_1, variance_1), (mean_2, variance_2) = first, second
    even, odd = slice(0, None, 2), slice(1, None, 2)
    blocks = (
        mean_1[..., even].square() * variance_2[..., odd]
        + mean_1[..., odd].square() * variance_2[..., even]
        + mean_2[..., even].square() * variance_1[..., odd]
        + mean_2[..., odd].square() * variance_1[..., even]
        + variance_1[..., even] * variance_2[..., odd]
        + variance_1[..., odd] * variance_2[..., even]
    )
    return (blocks if gate is None else gate.square() * blocks).sum(-1)


def gate_weights(
    generators: list[np.random.Generator], inputs: int, dimension: int, kind: GateKind
) -> dict[str, Tensor]:
    """Return the weights of the prompt's gate, ``gate.weight`` ``[K, g, d / 2]``; none without a gate."""
    if kind == "none":
        return {}
    return {"gate.weight": normal_weights(generators, (inputs, dimension // 2), 1 / (inputs + 1))}


def gate_multipliers(parameters: Mapping[str, Tensor], prompts: Tensor | None, kind: GateKind) -> Tensor | None:
    """Return ``(d / 2) softmax(z / sqrt(g))`` of prompts ``[K, n, g]``, or its square; None without a gate.

    A gate that knows nothing multiplies by 1. The reference code has three definitions; this is the one it trains with.
    """
    if kind == "none" or prompts is None:
        return None
    weight = parameters["gate.weight"]
    multipliers = weight.shape[2] * torch.softmax(linear(weight, prompts) / weight.shape[1] ** 0.5, dim=-1)
    return multipliers.square() if kind == "squared" else multipliers
