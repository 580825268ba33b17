"""Noise on the first factor of a low-rank adapter: flipout of Gaussian noise, and dropout of its inputs.

Shapes: K slots, n examples in a slot's block, L tokens, d inputs, rank r. Signs and masks carry their granularity in
their shape: one per example makes all tokens of a sequence see the same weights, which is what a sample of a weight
posterior means; one per token, as in the reference code, averages out over the sequence.
"""

import numpy as np
import torch
from torch import Tensor

from bayesgrid.adapters.stacked import low_rank_codes
from bayesgrid.errors import ConfigurationError
from bayesgrid.random_streams import random_stream

__all__ = ["drop_inputs", "dropout_masks", "flipout", "random_signs"]


def _over_tokens(values: Tensor) -> Tensor:
    return values.unsqueeze(2) if values.dim() == 3 else values


def flipout(inputs: Tensor, noise: Tensor, signs_in: Tensor, signs_out: Tensor) -> Tensor:
    """Return the noise on the low-rank code, ((x ∘ s_in) noiseᵀ) ∘ s_out (Wen et al., Flipout, 2018, equation 3).

    For each example this is x Eᵀ with E = noise ∘ (s_out s_inᵀ): it has the law of the noise, as that is symmetric, and
    is uncorrelated between examples although ``noise`` is drawn once. Adding it to x Mᵀ and multiplying by γ Bᵀ gives
    BLoB's forward pass (Wang et al., 2024, section 3.4).

    Args:
        inputs: x, ``[K, n, L, d]``.
        noise: Ω ∘ E with E standard normal, ``[K, r, d]``.
        signs_in: ±1, ``[K, n, d]`` per example or ``[K, n, L, d]`` per token.
        signs_out: ±1, ``[K, n, r]`` or ``[K, n, L, r]``, of the same granularity.

    Returns:
        ``[K, n, L, r]``.

    Raises:
        ValueError: if one of the signs is per example and the other per token.
    """
    if signs_in.dim() != signs_out.dim():
        raise ValueError(
            f"both signs are per example or both per token, got {list(signs_in.shape)} and {list(signs_out.shape)}"
        )
    codes = low_rank_codes(inputs * _over_tokens(signs_in), noise)
    return codes * _over_tokens(signs_out)


def drop_inputs(inputs: Tensor, masks: Tensor) -> Tensor:
    """Return ``inputs`` times the masks of :func:`dropout_masks`: m ∘ x / (1 − p).

    Args:
        inputs: x, ``[K, n, L, d]``.
        masks: ``[K, d]`` one per slot (a coherent draw), ``[K, n, d]`` per example or ``[K, n, L, d]`` per token.
    """
    if masks.dim() == 2:
        masks = masks.unsqueeze(1)
    return inputs * _over_tokens(masks)


def random_signs(seed: int, name: str, *index: int, count: int, size: int) -> Tensor:
    """Return ``count`` rows of ``size`` independent signs ±1, ``[count, size]`` float32.

    Row i is a function of (seed, name, index, i) alone: more rows leave the first ones as they are.
    """
    row_bytes = -(-size // 8)
    packed = np.frombuffer(random_stream(seed, name, *index).bytes(count * row_bytes), dtype=np.uint8)
    bits = np.unpackbits(packed.reshape(count, row_bytes), axis=1, count=size)
    return torch.from_numpy(bits.astype(np.float32) * 2 - 1)


def dropout_masks(seed: int, name: str, *index: int, count: int, size: int, probability: float) -> Tensor:
    """Return masks whose values are 0 with ``probability`` p and else 1 / (1 − p), ``[count, size]`` float32.

    Row i is a function of (seed, name, index, i) alone.

    Raises:
        ConfigurationError: if p is not in [0, 1).
    """
    if not 0 <= probability < 1:
        raise ConfigurationError("a dropout probability must leave something", given=probability, allowed="[0, 1)")
    kept = random_stream(seed, name, *index).random((count, size)) >= probability
    return torch.from_numpy(kept.astype(np.float32) / (1 - probability)).float()
