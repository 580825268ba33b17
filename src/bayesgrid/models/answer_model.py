"""A language model that answers with one token: prompts in, one logit per answer label out."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from bayesgrid.errors import ConfigurationError
from bayesgrid.models.image_features import ImageBatch

__all__ = ["AnswerModel", "Batch", "PrefixStates", "PromptBatch", "answer_head", "prompt_batch", "split_decoder"]


@dataclass(frozen=True)
class PromptBatch:
    """Prompts padded on the right to one length, the part that all of them begin with kept once.

    Padding follows the last token that is read, so causal attention never sees it and no mask is needed.

    Args:
        tokens: ``[rows, T]`` token ids after the prefix, or ``[rows, T, hidden]`` states that enter the decoder.
        last: ``[rows]``, index in ``tokens`` of each prompt's last token.
        prefix: ``[P]`` ids, or ``[P, hidden]`` states, of the shared beginning; empty to do without.
    """

    tokens: Tensor
    last: Tensor
    prefix: Tensor

    def repeated(self, times: int) -> "PromptBatch":
        """Return the rows ``times`` times over, one copy after the other: one block for each of ``times`` slots."""
        shape = [times, *[1] * (self.tokens.dim() - 1)]
        return PromptBatch(self.tokens.repeat(shape), self.last.repeat(times), self.prefix)


Batch = PromptBatch | ImageBatch
"""What a model answers in one pass."""


def prompt_batch(prompts: Sequence[np.ndarray], shared_prefix: int, *, device: torch.device) -> PromptBatch:
    """Return ``prompts`` as one batch.

    Args:
        prompts: token ids ``[T_i]`` or states ``[T_i, hidden]`` of whole prompts.
        shared_prefix: how many leading tokens are equal in all of them; 0 keeps each prompt whole.
        device: where the tensors go.
    """
    suffixes = [prompt[shared_prefix:] for prompt in prompts]
    longest = max(len(suffix) for suffix in suffixes)
    padded = np.zeros((len(suffixes), longest, *suffixes[0].shape[1:]), dtype=suffixes[0].dtype)
    for row, suffix in enumerate(suffixes):
        padded[row, : len(suffix)] = suffix
    return PromptBatch(
        tokens=torch.from_numpy(padded).to(device),
        last=torch.tensor([len(suffix) - 1 for suffix in suffixes], device=device),
        prefix=torch.from_numpy(np.ascontiguousarray(prompts[0][:shared_prefix])).to(device),
    )


def answer_head(head_weight: Tensor, label_tokens: Sequence[int]) -> nn.Linear:
    """Return the rows of the output embedding that belong to the answer labels, as a frozen float32 layer."""
    rows = head_weight[list(label_tokens)].detach().float()
    head = nn.Linear(rows.shape[1], rows.shape[0], bias=False, device=rows.device)
    head.weight = nn.Parameter(rows.clone(), requires_grad=False)
    return head


class AnswerModel:
    """A decoder and an answer head, adapted or not; only the last token's state reaches the head.

    Args:
        decoder: the model without its own head; returns ``last_hidden_state``. One that sees reads text with its
            language part alone.
        head: ``[hidden] -> [labels]``, in float32.
        shares_prefix: whether the decoder can continue from cached keys and values of a prefix.
        logit_cap: c of a model whose logits are c · tanh(z / c); None where they are linear.
    """

    def __init__(
        self, decoder: nn.Module, head: nn.Module, *, shares_prefix: bool = True, logit_cap: float | None = None
    ) -> None:
        self.decoder = decoder
        self.logit_cap = logit_cap
        self.head = head
        self.shares_prefix = shares_prefix

    def states(self, batch: Batch, blocks: int = 1, prefix: "PrefixStates | None" = None) -> Tensor:
        """Return the states of all tokens after the prefix, ``[rows, T, hidden]``.

        Args:
            batch: rows in ``blocks`` blocks of equal size, one adapter slot each.
            blocks: G; the prefix is computed once for each.
            prefix: what :meth:`prefix_states` returned for the same adapters, to do without computing it again.
        """
        rows = len(batch.last)
        if rows % blocks:
            raise ValueError(f"{rows} rows are no {blocks} blocks of equal size")
        if isinstance(batch, ImageBatch):
            seen: _DecoderOutput = self.decoder(**batch.arguments(self.decoder), use_cache=False)
            return seen.last_hidden_state
        length = len(batch.prefix)
        if not length:
            return self._call(batch.tokens, None).last_hidden_state
        if not self.shares_prefix:
            whole = torch.cat([batch.prefix.expand(rows, *batch.prefix.shape), batch.tokens], dim=1)
            return self._call(whole, None).last_hidden_state[:, length:]
        computed = prefix or self.prefix_states(batch.prefix, blocks)
        return self._call(batch.tokens, computed.for_rows(rows // blocks)).last_hidden_state

    def prefix_states(self, prefix: Tensor, blocks: int) -> "PrefixStates":
        """Return the keys and values of the shared beginning, computed once per block.

        Gradients of all rows flow back into that one computation.
        """
        cache = self._call(prefix.expand(blocks, *prefix.shape), DynamicCache()).past_key_values
        return PrefixStates([(layer.keys, layer.values) for layer in cache.layers])

    def hidden(self, batch: Batch, blocks: int = 1, prefix: "PrefixStates | None" = None) -> Tensor:
        """Return the state of each prompt's last token, float32 ``[rows, hidden]``; see :meth:`states`."""
        states = self.states(batch, blocks, prefix)
        return states[torch.arange(len(states), device=states.device), batch.last].float()

    def logits(self, batch: Batch, blocks: int = 1, prefix: "PrefixStates | None" = None) -> Tensor:
        """Return float32 ``[rows, labels]``; see :meth:`states`."""
        return self.answers(self.hidden(batch, blocks, prefix))

    def answers(self, hidden: Tensor, head: nn.Module | None = None) -> Tensor:
        """Return the logits ``[rows, labels]`` of states ``hidden [rows, hidden]``, by another ``head`` if given."""
        logits: Tensor = (head or self.head)(hidden)
        return logits if self.logit_cap is None else self.logit_cap * torch.tanh(logits / self.logit_cap)

    def _call(self, tokens: Tensor, cache: DynamicCache | None) -> "_DecoderOutput":
        if tokens.dtype.is_floating_point:
            # Kept states are float32, whatever the decoder computes in; the way there and back loses nothing.
            embedding: Tensor = self.decoder.get_input_embeddings().weight  # type: ignore[operator]
            inputs = {"inputs_embeds": tokens.to(embedding.dtype)}
        else:
            inputs = {"input_ids": tokens}
        # A whole model that sees keeps the positions of the last image it was shown, and would shift text by them.
        reader = getattr(self.decoder, "language_model", self.decoder)
        output: _DecoderOutput = reader(**inputs, past_key_values=cache, use_cache=cache is not None)
        return output


class _DecoderOutput:
    """What a decoder returns, as far as it is read here."""

    last_hidden_state: Tensor
    past_key_values: Any


@dataclass(frozen=True)
class PrefixStates:
    """Keys and values of a shared beginning, ``[G, heads, P, size]`` per layer."""

    layers: list[tuple[Tensor, Tensor]]

    def for_rows(self, rows: int) -> DynamicCache:
        """Return a cache in which each of G blocks is repeated for its ``rows`` rows."""
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.layers):
            cache.update(keys.repeat_interleave(rows, 0), values.repeat_interleave(rows, 0), index)
        return cache


_SPLITTABLE = frozenset({"LlamaModel", "Qwen2Model", "Qwen3Model"})


def split_decoder(decoder: nn.Module, block: int) -> tuple[nn.Module, nn.Module]:
    """Return the decoder as two: the blocks below ``block``, without final norm, and the rest, on top of their states.

    The second applied to the states of the first gives what the whole gives. Both share the weights of the whole. When
    adapters sit on upper blocks only, the states below them can be computed once and kept.

    Raises:
        ConfigurationError: if the family is not one whose blocks are known to run in sequence on plain states.
    """
    family = type(decoder).__name__
    if family not in _SPLITTABLE:
        raise ConfigurationError(
            "the states below the adapters cannot be kept for this family of models",
            given=family,
            allowed=", ".join(sorted(_SPLITTABLE)),
            remedy="adapt all blocks",
        )
    layers: nn.ModuleList = decoder.layers  # type: ignore[assignment]
    lower, upper = _shallow(decoder), _shallow(decoder)
    lower.layers, lower.norm = nn.ModuleList(layers[:block]), nn.Identity()
    upper.layers = nn.ModuleList(_renumbered(layer, index) for index, layer in enumerate(layers[block:]))
    return lower, upper


def _shallow(module: nn.Module) -> nn.Module:
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def _renumbered(layer: nn.Module, index: int) -> nn.Module:
    # The cache of keys and values is filled by layer number, from 0.
    twin = _shallow(layer)
    attention = _shallow(layer.self_attn)  # type: ignore[arg-type]
    attention.layer_idx = index  # type: ignore[assignment]
    twin.self_attn = attention
    return twin
