"""Losses and gradients of a stack of networks: one batched matrix product per layer for all seeds."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bayesgrid.studies.regression.models.gaussian import gaussian_losses
from bayesgrid.studies.regression.models.hidden_layers import activate, differentiate_activation, dropout_factors
from bayesgrid.studies.regression.models.layout import Layer, ParameterLayout, aligned_stack
from bayesgrid.studies.regression.models.spline_flow import spline_losses

__all__ = ["StackedNetwork", "StackedWeights"]

_Dropout: TypeAlias = tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""Bits `[S, n * width]`, thresholds `[S]` and scales `[S]`."""
_NO_BITS: npt.NDArray[np.uint16] = np.zeros((1, 1), dtype=np.uint16)


class StackedWeights:
    """Views into a flat buffer of parameters or gradients `[S, P]`, made once instead of in every step.

    Args:
        layout: of the buffer.
        flat: the buffer.
    """

    def __init__(self, layout: ParameterLayout, flat: Tensor) -> None:
        views = layout.views(flat)
        names = [layer.name for layer in layout.layers()]
        self.flat: npt.NDArray[np.float32] = flat.numpy()
        self.weight = {name: views[f"{name}.weight"] for name in names}
        self.transposed = {name: weight.transpose(1, 2) for name, weight in self.weight.items()}
        self.bias_row = {name: views[f"{name}.bias"].unsqueeze(1) for name in names}


class _Activations:
    """The outputs `[S, n, width]` of one layer and the gradient with respect to them, allocated once."""

    def __init__(self, stack: int, rows: int, layer: Layer, differentiable: bool) -> None:
        self.layer = layer
        self.values, buffer = aligned_stack(stack, rows, layer.outputs)
        self.transposed = self.values.transpose(1, 2)
        self.values_buffer: npt.NDArray[np.float32] = buffer.numpy()
        if not differentiable:
            rows = 0
        self.gradient, gradient_buffer = aligned_stack(stack, rows, layer.outputs)
        self.gradient_buffer: npt.NDArray[np.float32] = gradient_buffer.numpy()


class StackedNetwork:
    """The computation of S networks on n rows each; holds working memory and no parameters.

    Source: BALSA (arXiv 2501.01248), figure 1: linear layers with ReLU and dropout, then the head.

    Args:
        layout: of the parameters.
        stack: S.
        rows: n.
        dropout: probability, one for all networks or `[S]`; used when bits are given.
        differentiable: whether gradients will be asked for.
    """

    def __init__(
        self,
        layout: ParameterLayout,
        stack: int,
        rows: int,
        *,
        dropout: float | npt.NDArray[np.float64] = 0.0,
        differentiable: bool = True,
    ) -> None:
        self.layout = layout
        self._rows = rows
        self._dropout_on = dropout_factors(np.full(stack, dropout, dtype=np.float64))
        self._dropout_off = dropout_factors(np.zeros(stack))
        self._encoder = [_Activations(stack, rows, layer, differentiable) for layer in layout.encoder]
        self._heads = [[_Activations(stack, rows, layer, differentiable) for layer in head] for head in layout.heads]
        # The Gaussian head applies ReLU to the encoding itself, which matters when the encoder has none.
        self._extra_rectification = layout.architecture == "gaussian" and not layout.rectified
        self._losses = np.zeros((stack, rows), dtype=np.float32)

    def losses(
        self,
        parameters: StackedWeights,
        features: Tensor,
        targets: npt.NDArray[np.float32],
        bits: Sequence[npt.NDArray[np.uint16]] | None = None,
        gradient: StackedWeights | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return ``-log p(y | x)`` `[S, n]` of standardised targets; the array is overwritten by the next call.

        Args:
            parameters: of the S networks.
            features: `[S, n, d]`.
            targets: `[S, n]`.
            bits: for each dropout layer uniform 16-bit numbers `[S, n * width]`; None switches dropout off.
            gradient: overwritten with the gradient of each seed's mean loss; None asks for none.
        """
        values = features
        for i, block in enumerate(self._encoder):
            self._affine(block, parameters, values)
            activate(block.values_buffer, *self._dropout(i, bits), self.layout.rectified or self._rectify_last(i))
            values = block.values
        for head in self._heads:
            inputs = values
            for i, block in enumerate(head):
                self._affine(block, parameters, inputs)
                if i + 1 < len(head):
                    activate(block.values_buffer, _NO_BITS, *self._dropout_off, True)
                inputs = block.values
        outputs = [head[-1] for head in self._heads]
        if self.layout.architecture == "gaussian":
            (output,) = outputs
            gaussian_losses(output.values_buffer, targets, self._losses, output.gradient_buffer, gradient is not None)
        else:
            first, second = outputs
            spline_losses(
                first.values_buffer,
                second.values_buffer,
                targets,
                (first.layer.outputs + 1) // 3,
                self._losses,
                first.gradient_buffer,
                second.gradient_buffer,
                gradient is not None,
            )
        if gradient is not None:
            self._differentiate(parameters, features, bits, gradient)
        return self._losses

    def _rectify_last(self, layer: int) -> bool:
        return self._extra_rectification and layer + 1 == len(self._encoder)

    def _dropout(self, layer: int, bits: Sequence[npt.NDArray[np.uint16]] | None) -> _Dropout:
        if bits is None or layer == 0:
            return _NO_BITS, *self._dropout_off
        return bits[layer - 1], *self._dropout_on

    @staticmethod
    def _affine(block: _Activations, parameters: StackedWeights, inputs: Tensor) -> None:
        name = block.layer.name
        torch.baddbmm(parameters.bias_row[name], inputs, parameters.weight[name], out=block.values)

    def _differentiate(
        self,
        parameters: StackedWeights,
        features: Tensor,
        bits: Sequence[npt.NDArray[np.uint16]] | None,
        gradient: StackedWeights,
    ) -> None:
        encoding = self._encoder[-1]
        for number, head in enumerate(self._heads):
            for i in range(len(head) - 1, -1, -1):
                block = head[i]
                hidden = i + 1 < len(head)
                self._through_activation(block, (_NO_BITS, *self._dropout_off), hidden, gradient.flat)
                below = head[i - 1] if i > 0 else encoding
                name = block.layer.name
                torch.bmm(below.transposed, block.gradient, out=gradient.weight[name])
                weight = parameters.transposed[name]
                if i == 0 and number > 0:
                    below.gradient.baddbmm_(block.gradient, weight)
                else:
                    torch.bmm(block.gradient, weight, out=below.gradient)
        for i in range(len(self._encoder) - 1, -1, -1):
            block = self._encoder[i]
            rectified = self.layout.rectified or self._rectify_last(i)
            self._through_activation(block, self._dropout(i, bits), rectified, gradient.flat)
            name = block.layer.name
            transposed = self._encoder[i - 1].transposed if i > 0 else features.transpose(1, 2)
            torch.bmm(transposed, block.gradient, out=gradient.weight[name])
            if i > 0:
                torch.bmm(block.gradient, parameters.transposed[name], out=self._encoder[i - 1].gradient)

    def _through_activation(
        self,
        block: _Activations,
        dropout: _Dropout,
        rectified: bool,
        flat: npt.NDArray[np.float32],
    ) -> None:
        differentiate_activation(
            block.gradient_buffer,
            block.values_buffer,
            *dropout,
            rectified,
            self._rows,
            block.layer.outputs,
            flat,
            block.layer.bias_offset,
        )
