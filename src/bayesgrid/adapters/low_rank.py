"""The values of one low-rank adapter: a pair of factors for every adapted linear layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ANSWER_HEAD", "AdapterWeights", "LowRankPair"]

ANSWER_HEAD = "answer_head"
"""Key of the adapter on the answer head; every other key is the path of a linear layer inside the decoder."""


@dataclass(frozen=True)
class LowRankPair:
    """The factors of one layer's update ``scaling · b a`` (Hu et al., LoRA, 2021, section 4.1).

    Args:
        a: ``[r, d_in]``, applied first.
        b: ``[d_out, r]``.
    """

    a: Tensor
    b: Tensor

    def __post_init__(self) -> None:
        if self.a.dim() != 2 or self.b.dim() != 2 or self.a.shape[0] != self.b.shape[1]:
            raise ValueError(
                f"factors [r, d_in] and [d_out, r] are needed, got {list(self.a.shape)} and {list(self.b.shape)}"
            )

    @property
    def rank(self) -> int:
        """Return r."""
        return int(self.a.shape[0])


@dataclass(frozen=True)
class AdapterWeights:
    """One adapter: the layers it changes and by how much.

    Args:
        pairs: path of a linear layer inside the decoder, or :data:`ANSWER_HEAD`, -> its factors.
        scaling: what multiplies every product ``b a``, alpha / r.
    """

    pairs: Mapping[str, LowRankPair]
    scaling: float

    def parameter_count(self) -> int:
        """Return the number of values in all factors."""
        return sum(pair.a.numel() + pair.b.numel() for pair in self.pairs.values())

    def squared_norm(self) -> float:
        """Return the sum of squares of all factors."""
        return float(
            sum(pair.a.double().square().sum() + pair.b.double().square().sum() for pair in self.pairs.values())
        )

    def on(self, device: torch.device) -> "AdapterWeights":
        """Return the same values on ``device``."""
        return AdapterWeights(
            {name: LowRankPair(pair.a.to(device), pair.b.to(device)) for name, pair in self.pairs.items()}, self.scaling
        )
