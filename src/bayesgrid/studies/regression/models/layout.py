"""Where each weight matrix lies in the flat buffer of a stack of networks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression.spec import NetworkSpec

__all__ = ["Layer", "ParameterLayout", "aligned_stack", "initial_parameters", "network_layout", "specified_layout"]

ALIGNMENT = 16
"""Floats in 64 bytes. BLAS may round differently for another alignment, so every matrix of every seed starts at one."""


@dataclass(frozen=True)
class Layer:
    """One affine map ``x W + b`` with W `[inputs, outputs]`, and its place in the flat buffer."""

    name: str
    inputs: int
    outputs: int
    weight_offset: int
    bias_offset: int


@dataclass(frozen=True)
class ParameterLayout:
    """The layers of one network: an encoder, then one head per spline, or one head for mean and standard deviation.

    Args:
        encoder: the encoder's layers; every one after the first is followed by dropout.
        heads: for each spline, or once for a Gaussian, the layers that map the encoding to its parameters.
        rectified: whether ReLU follows every layer of the encoder.
        size: floats per seed, padding included.
    """

    architecture: Literal["spline_flow", "gaussian"]
    encoder: tuple[Layer, ...]
    heads: tuple[tuple[Layer, ...], ...]
    rectified: bool
    size: int

    def layers(self) -> Iterator[Layer]:
        """Yield the layers in the order of the buffer."""
        yield from self.encoder
        for head in self.heads:
            yield from head

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the parameters in ``flat`` `[S, P]` by name, as views: weights `[S, in, out]`, biases `[S, out]`."""
        stack = flat.shape[0]
        parameters: dict[str, Tensor] = {}
        for layer in self.layers():
            end = layer.weight_offset + layer.inputs * layer.outputs
            parameters[f"{layer.name}.weight"] = flat[:, layer.weight_offset : end].view(
                stack, layer.inputs, layer.outputs
            )
            parameters[f"{layer.name}.bias"] = flat[:, layer.bias_offset : layer.bias_offset + layer.outputs]
        return parameters


def network_layout(
    features: int,
    *,
    architecture: Literal["spline_flow", "gaussian"],
    hidden: tuple[int, ...],
    head_hidden: tuple[int, ...],
    bins: int,
    transforms: int,
    rectified: bool,
) -> ParameterLayout:
    """Return the layout of a network on ``features`` inputs.

    The Gaussian head is one layer of two outputs, as in the reference; a spline of K bins has 3 K - 1 parameters.
    """
    offset = 0

    def layer(name: str, inputs: int, outputs: int) -> Layer:
        nonlocal offset
        weight = offset
        bias = weight + _padded(inputs * outputs)
        offset = bias + _padded(outputs)
        return Layer(name, inputs, outputs, weight, bias)

    def chain(name: str, widths: tuple[int, ...]) -> tuple[Layer, ...]:
        return tuple(layer(f"{name}.{i}", widths[i], widths[i + 1]) for i in range(len(widths) - 1))

    encoder = chain("encoder", (features, *hidden))
    if architecture == "gaussian":
        heads: tuple[tuple[Layer, ...], ...] = (chain("gaussian", (hidden[-1], 2)),)
    else:
        widths = (hidden[-1], *head_hidden, 3 * bins - 1)
        heads = tuple(chain(f"spline.{transform}", widths) for transform in range(transforms))
    return ParameterLayout(architecture, encoder, heads, rectified, offset)


def specified_layout(
    features: int, architecture: Literal["spline_flow", "gaussian"], network: NetworkSpec
) -> ParameterLayout:
    """Return the layout of the network that a specification describes, on ``features`` inputs."""
    return network_layout(
        features,
        architecture=architecture,
        hidden=network.hidden,
        head_hidden=network.head_hidden,
        bins=network.bins,
        transforms=network.transforms,
        rectified=network.activation == "relu",
    )


def initial_parameters(layout: ParameterLayout, seeds: tuple[int, ...], *index: int) -> Tensor:
    """Return float32 `[S, P]`: weights and biases uniform on ``+-1 / sqrt(inputs)``, from stream ``initial_weights``.

    This is PyTorch's own default for linear layers, and the reference's.
    """
    flat = np.zeros((len(seeds), layout.size), dtype=np.float32)
    for row, seed in zip(flat, seeds, strict=True):
        stream = random_stream(seed, "initial_weights", *index)
        for layer in layout.layers():
            bound = np.float32(1 / math.sqrt(layer.inputs))
            sizes = (layer.inputs * layer.outputs, layer.outputs)
            for offset, count in zip((layer.weight_offset, layer.bias_offset), sizes, strict=True):
                row[offset : offset + count] = (2 * stream.random(count, dtype=np.float32) - 1) * bound
    return torch.from_numpy(flat)


def aligned_stack(stack: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return zeros `[stack, rows, columns]`, every matrix at an aligned address, and their buffer `[stack, L]`."""
    buffer = torch.zeros(stack, _padded(rows * columns))
    return buffer[:, : rows * columns].view(stack, rows, columns), buffer


def _padded(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT
