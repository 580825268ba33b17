"""Many low-rank adapters on one frozen base, in one batch.

Every adapted linear layer holds ``K`` adapters, its *slots*: ``a [K, r, d_in]`` and ``b [K, d_out, r]``. The rows of a
batch come in equal blocks, and each block belongs to one slot. The frozen product is computed once for all rows; the
low-rank part is two batched products. Posterior draws, seeds that train side by side and examples whose gradients are
wanted one by one are all slots.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.errors import ConfigurationError, StateError, did_you_mean
from bayesgrid.random_streams import random_stream

__all__ = ["AdapterStack", "Projection", "StackedLora", "find_linear_layers", "low_rank_codes"]

_VISION_PARTS = frozenset({"visual", "vision_tower", "vision_model", "multi_modal_projector"})


class Projection(Protocol):
    """How a layer's input becomes its low-rank code when noise takes part in it."""

    def __call__(self, inputs: Tensor, a: Tensor, slots: Tensor | None) -> Tensor:
        """Return the code ``[G, n, L, r]`` of ``inputs [G, n, L, d_in]`` under ``a [G, r, d_in]``.

        Args:
            inputs: blocks of ``n`` rows with ``L`` tokens each.
            a: first factor of each block's slot.
            slots: ``[G]``, the slot of each block; None when block k belongs to slot k.
        """
        ...


def low_rank_codes(inputs: Tensor, a: Tensor) -> Tensor:
    """Return x aᵀ, ``[G, n, L, r]``, for ``inputs [G, n, L, d_in]`` and ``a [G, r, d_in]``, in the inputs' type."""
    return torch.einsum("gnld,grd->gnlr", inputs, a.to(inputs.dtype))


@dataclass
class _Blocks:
    """Which slot each block of rows belongs to; shared by all layers of a stack."""

    slots: Tensor | None = None
    count: int = 1


class StackedLora(nn.Module):
    """A frozen linear layer with ``slots`` low-rank adapters: ``y = base(x) + scaling · b_k a_k x`` for rows of slot k.

    Args:
        base: the frozen layer, an ``nn.Linear`` or one of bitsandbytes' with ``in_features`` and ``out_features``.
        slots: K.
        rank: r.
        scaling: alpha / r.
        blocks: the row mapping that all layers of a stack share.
    """

    def __init__(self, base: nn.Module, slots: int, rank: int, scaling: float, blocks: _Blocks | None = None) -> None:
        super().__init__()
        self.base = base
        self.scaling = scaling
        self.rank = rank
        self.in_features = int(base.in_features)  # type: ignore[arg-type]
        self.out_features = int(base.out_features)  # type: ignore[arg-type]
        self.projection: Projection | None = None
        self._blocks = blocks or _Blocks(count=slots)
        self.a: nn.Parameter
        self.b: nn.Parameter
        self.resize(slots)

    def resize(self, slots: int) -> None:
        """Give the layer ``slots`` adapters, all zero."""
        device = next(iter(self.base.parameters())).device
        self.a = nn.Parameter(torch.zeros(slots, self.rank, self.in_features, device=device))
        self.b = nn.Parameter(torch.zeros(slots, self.out_features, self.rank, device=device))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``[rows, ..., d_out]`` for ``inputs [rows, ..., d_in]``; rows are blocks of equal size in order."""
        outputs: Tensor = self.base(inputs)
        slots, count = self._blocks.slots, self._blocks.count
        a, b = (self.a, self.b) if slots is None else (self.a[slots], self.b[slots])
        blocks = inputs.reshape(count, -1, inputs.shape[-1])
        if self.projection is None:
            codes = torch.bmm(blocks, a.to(blocks.dtype).transpose(1, 2))
        else:
            rows = inputs.shape[0] // count
            shaped = blocks.reshape(count, rows, -1, inputs.shape[-1])
            codes = self.projection(shaped, a, slots).reshape(count, -1, self.rank)
        update = torch.baddbmm(
            outputs.reshape(count, -1, self.out_features),
            codes.to(outputs.dtype),
            b.to(outputs.dtype).transpose(1, 2),
            alpha=self.scaling,
        )
        return update.reshape(outputs.shape)


def find_linear_layers(decoder: nn.Module, targets: Sequence[str], layers: Sequence[int] | None = None) -> list[str]:
    """Return the paths of the decoder's linear layers whose own name is one of ``targets``, vision towers left out.

    Args:
        decoder: the model without its head.
        targets: names such as ``q_proj``.
        layers: numbers of the blocks to adapt; all of them by default.

    Raises:
        ConfigurationError: if a target matches no layer, naming the nearest.
    """
    linear = {
        name: name.rpartition(".")[2]
        for name, module in decoder.named_modules()
        if hasattr(module, "in_features")
        and hasattr(module, "out_features")
        and not _VISION_PARTS.intersection(name.split("."))
    }
    for target in targets:
        if target not in linear.values():
            known = sorted(set(linear.values()))
            raise ConfigurationError(
                "key 'lora.targets': the model has no linear layer of this name",
                given=target,
                allowed=", ".join(known),
                remedy=did_you_mean(target, known),
            )
    chosen = [name for name, own in linear.items() if own in targets]
    if layers is None:
        return chosen
    return [name for name in chosen if _layer_number(name) in layers]


def _layer_number(path: str) -> int | None:
    parts = path.split(".")
    return next((int(after) for part, after in itertools.pairwise(parts) if part == "layers"), None)


@dataclass
class AdapterStack:
    """All stacked layers of one model, addressed by path; slots are loaded, reset and exported as whole adapters.

    Building one replaces the linear layers inside ``decoder`` by stacked ones, in place.
    """

    layers: dict[str, StackedLora]
    scaling: float
    rank: int
    _blocks: _Blocks = field(repr=False)

    @classmethod
    def wrap(
        cls,
        decoder: nn.Module,
        head: nn.Module | None,
        *,
        targets: Sequence[str],
        rank: int,
        scaling: float,
        slots: int,
        blocks: Sequence[int] | None = None,
    ) -> tuple["AdapterStack", nn.Module | None]:
        """Put ``slots`` adapters on the chosen layers of ``decoder`` and on ``head``; return the stack and the head.

        Args:
            decoder: changed in place.
            head: the answer head; None leaves it without adapter.
            targets: names of the linear layers to adapt.
            rank: r.
            scaling: alpha / r.
            slots: K.
            blocks: numbers of the transformer blocks to adapt; all of them by default.

        Raises:
            ConfigurationError: if a target matches no layer.
        """
        shared = _Blocks(count=slots)
        layers: dict[str, StackedLora] = {}
        for path in find_linear_layers(decoder, targets, blocks):
            parent_path, _, name = path.rpartition(".")
            parent = decoder.get_submodule(parent_path)
            layers[path] = StackedLora(getattr(parent, name), slots, rank, scaling, shared)
            setattr(parent, name, layers[path])
        if head is not None:
            head = layers[ANSWER_HEAD] = StackedLora(head, slots, rank, scaling, shared)
        return cls(layers, scaling, rank, shared), head

    @property
    def slots(self) -> int:
        """Return K."""
        return int(next(iter(self.layers.values())).a.shape[0])

    def parameters(self) -> list[nn.Parameter]:
        """Return all factors, a and b in turn, in the order of the layers."""
        return [factor for layer in self.layers.values() for factor in (layer.a, layer.b)]

    def resize(self, slots: int) -> None:
        """Give every layer ``slots`` adapters, all zero, one block of rows each."""
        for layer in self.layers.values():
            layer.resize(slots)
        self._blocks.slots, self._blocks.count = None, slots

    @contextmanager
    def using(self, slots: Tensor | None) -> Iterator[None]:
        """Let block g of the following batches belong to slot ``slots[g]``; None: one block per slot, in order."""
        before = (self._blocks.slots, self._blocks.count)
        self._blocks.slots = slots
        self._blocks.count = self.slots if slots is None else len(slots)
        try:
            yield
        finally:
            self._blocks.slots, self._blocks.count = before

    @property
    def block_count(self) -> int:
        """Return the number of blocks that the next batch is taken apart into."""
        return self._blocks.count

    def reset(self, slot: int, seed: int) -> None:
        """Give ``slot`` the usual start: ``a`` uniform with variance 1 / (3 d_in) (Kaiming, a = √5), ``b`` zero."""
        with torch.no_grad():
            for path, layer in self.layers.items():
                bound = layer.in_features**-0.5
                drawn = random_stream(seed, f"adapter initialisation/{path}").uniform(
                    -bound, bound, (self.rank, layer.in_features)
                )
                layer.a[slot] = torch.from_numpy(drawn.astype(np.float32))
                layer.b[slot] = 0.0

    def load(self, slot: int, weights: AdapterWeights) -> None:
        """Copy ``weights`` into ``slot``.

        Raises:
            StateError: if the adapter has other layers, another rank, shape or scaling than the stack.
        """
        if set(weights.pairs) != set(self.layers):
            missing = sorted(set(self.layers) - set(weights.pairs))
            unknown = sorted(set(weights.pairs) - set(self.layers))
            raise StateError(
                "the adapter is for other layers than this model's stack",
                given=f"{len(unknown)} unknown layers {unknown[:2]}, {len(missing)} missing ones {missing[:2]}",
                remedy="load it on the base model and with the targets it was trained for",
            )
        if weights.scaling != self.scaling:
            raise StateError("the adapter has another scaling", given=weights.scaling, allowed=self.scaling)
        with torch.no_grad():
            for path, layer in self.layers.items():
                pair = weights.pairs[path]
                if pair.a.shape != layer.a.shape[1:] or pair.b.shape != layer.b.shape[1:]:
                    raise StateError(
                        "the adapter has another rank or another size than the layer",
                        where=path,
                        given=f"{list(pair.a.shape)}, {list(pair.b.shape)}",
                        allowed=f"{list(layer.a.shape[1:])}, {list(layer.b.shape[1:])}",
                    )
                layer.a[slot] = pair.a.to(layer.a)
                layer.b[slot] = pair.b.to(layer.b)

    def export(self, slot: int) -> AdapterWeights:
        """Return a copy of the adapter in ``slot``, float32 on the CPU."""
        pairs = {
            path: LowRankPair(
                layer.a[slot].detach().clone().float().cpu(), layer.b[slot].detach().clone().float().cpu()
            )
            for path, layer in self.layers.items()
        }
        return AdapterWeights(pairs, self.scaling)
