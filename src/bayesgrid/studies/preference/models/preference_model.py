"""What every preference model offers. K models of one kind are stacked: all tensors have a leading axis of K slots.

The sign convention is that of the definition 4.3 of GPM (arXiv 2410.02197): a score above 0 prefers the first response.
Every model is skew-symmetric, ``s(i, j) = -s(j, i)``, prompt gate included, so that the side a response stands on means
nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "ComparedPairs",
    "LatentLogits",
    "ModelInputs",
    "PreferenceModel",
    "Representation",
    "rows_of",
    "soft_label_loss",
    "split_pairs",
]

Representation = Mapping[str, Tensor]
"""What a model makes of each response, ``[K, n, ...]`` by name."""


@dataclass(frozen=True)
class ModelInputs:
    """Widths of what a model reads.

    Args:
        responses: features of a response.
        prompts: features of a prompt, read by the gate alone; 0 where there are none.
    """

    responses: int
    prompts: int


@dataclass(frozen=True)
class LatentLogits:
    """Logits of b pairs in K slots.

    Args:
        mean: ``[K, b]``.
        variance: ``[K, b]``, of the logit under the model's embedding distribution; None for a model without one.
    """

    mean: Tensor
    variance: Tensor | None


@dataclass(frozen=True)
class ComparedPairs:
    """b labelled pairs for each of K slots.

    Args:
        responses: features of the first and then of the second responses, ``[K, 2 b, f]``.
        prompt: of their prompts, ``[K, b, g]``; None for a model without gate.
        target: ``[K, b]``, probability that the first is preferred: 0, 1, or between.
        shares: ``[K, 2 b]``, one over the number of training pairs that each of those responses is in.
    """

    responses: Tensor
    prompt: Tensor | None
    target: Tensor
    shares: Tensor


class PreferenceModel(Protocol):
    """One kind of model with its settings; it holds no weights."""

    @property
    def inputs(self) -> ModelInputs:
        """Widths of what it reads."""
        ...

    @property
    def noise_width(self) -> int:
        """Standard-normal numbers that the loss takes for each response, 0 for a loss without sampling."""
        ...

    def initial_parameters(self, generators: list[np.random.Generator]) -> dict[str, Tensor]:
        """Return starting weights by name, float32 ``[K, ...]``, slot k drawn from generator k."""
        ...

    def represent(self, parameters: Mapping[str, Tensor], features: Tensor) -> Representation:
        """Return what the model makes of responses with ``features`` ``[K, n, f]``."""
        ...

    def gate(self, parameters: Mapping[str, Tensor], prompts: Tensor | None) -> Tensor | None:
        """Return the multipliers of the blocks, ``[K, n, d / 2]``, for prompts ``[K, n, g]``; None without a gate."""
        ...

    def logits(
        self, parameters: Mapping[str, Tensor], first: Representation, second: Representation, gate: Tensor | None
    ) -> LatentLogits:
        """Return the logits that the first responses are preferred to the second."""
        ...

    def losses(self, parameters: Mapping[str, Tensor], pairs: ComparedPairs, noise: Tensor | None, step: int) -> Tensor:
        """Return the training loss of every slot, ``[K]``, in nats per pair.

        Args:
            parameters: weights by name.
            pairs: a batch.
            noise: standard normal, ``[K, 2 b, noise_width]``, for the first and then the second responses; None where
                ``noise_width`` is 0.
            step: of the fit, from 0.
        """
        ...


def rows_of(representation: Representation, rows: Tensor) -> Representation:
    """Return the representation of responses ``rows`` ``[K, b]`` of each slot."""
    slots = next(iter(representation.values())).shape[:2]
    flat = (rows + slots[1] * torch.arange(slots[0], device=rows.device)[:, None]).reshape(-1)
    return {
        name: values.reshape(slots[0] * slots[1], *values.shape[2:])
        .index_select(0, flat)
        .reshape(*rows.shape, *values.shape[2:])
        for name, values in representation.items()
    }


def soft_label_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-[w log sigma(z) + (1 - w) log sigma(-z)]`` of each pair (GPM, equation A.1, with soft labels)."""
    return functional.softplus(logits) - target * logits


def split_pairs(representation: Representation) -> tuple[Representation, Representation]:
    """Return the representations of the first and of the second half of the responses."""
    half = next(iter(representation.values())).shape[1] // 2
    return (
        {name: values[:, :half] for name, values in representation.items()},
        {name: values[:, half:] for name, values in representation.items()},
    )
