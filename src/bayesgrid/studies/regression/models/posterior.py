"""Predictive densities of one trained network: without dropout, or under masks that each make one function.

A mask is one Bernoulli vector per dropout layer, fixed for all inputs, so that a draw is a function of the input; fresh
masks per input, as a dropout layer draws them, mix the disagreement between functions with noise between inputs. They
are here for comparison with the reference code, which has them.

Source: Gal and Ghahramani (2016), Dropout as a Bayesian Approximation, arXiv 1506.02142; BALSA (arXiv 2501.01248).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bayesgrid.acquisition.predictive_draws import GaussianDraws, PredictiveDraws, SplineDraws
from bayesgrid.errors import ConfigurationError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression.models.gaussian import gaussian_parameters
from bayesgrid.studies.regression.models.hidden_layers import activate, dropout_factors
from bayesgrid.studies.regression.models.layout import ParameterLayout
from bayesgrid.studies.regression.models.spline_flow import spline_knots

__all__ = ["encode", "posterior_draws", "posterior_draws_per_row", "posterior_masks", "predict"]

_ROWS_PER_CHUNK = 128
"""Inputs per pass under all masks: the activations of 25 masks then stay in a core's cache."""
_ROWS_WITHOUT_MASKS = 2048


def posterior_masks(
    layout: ParameterLayout, seed: int, round_number: int, draws: int, dropout: float
) -> list[npt.NDArray[np.float32]]:
    """Return for each dropout layer the factors `[T, width]`: 0 for a dropped unit, else 1 / (1 - dropout).

    They come from stream ``posterior_masks`` of the seed and round, so all agents disagree about the same functions.

    Raises:
        ConfigurationError: if the encoder has one layer and hence no dropout, so that all draws would be one.
    """
    _require_dropout_layers(layout)
    stream = random_stream(seed, "posterior_masks", round_number)
    kept = np.float32(1 / (1 - dropout))
    return [
        np.where(stream.random((draws, layer.outputs)) >= dropout, kept, np.float32(0)) for layer in layout.encoder[1:]
    ]


def encode(
    parameters: dict[str, Tensor], layout: ParameterLayout, features: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the encoder's output `[n, h]` without dropout.

    Args:
        parameters: of one seed, by name, without a leading axis.
        layout: of the parameters.
        features: `[n, d]`.
    """
    hidden = torch.from_numpy(np.ascontiguousarray(features))
    for layer in layout.encoder:
        hidden = torch.addmm(parameters[f"{layer.name}.bias"], hidden, parameters[f"{layer.name}.weight"])
        if layout.rectified:
            hidden.relu_()
    encoding: npt.NDArray[np.float32] = hidden.numpy()
    return encoding


def predict(
    parameters: dict[str, Tensor], layout: ParameterLayout, features: npt.NDArray[np.float32]
) -> PredictiveDraws:
    """Return the predictive densities without dropout, as a single draw: T = 1, M = n.

    Args:
        parameters: of one seed, by name, without a leading axis.
        layout: of the parameters.
        features: `[n, d]`.
    """
    collector = _Collector(layout, 1, len(features))
    for begin in range(0, len(features), _ROWS_WITHOUT_MASKS):
        encoding = torch.from_numpy(encode(parameters, layout, features[begin : begin + _ROWS_WITHOUT_MASKS]))
        outputs = []
        for head in layout.heads:
            values = torch.relu(encoding) if layout.architecture == "gaussian" else encoding
            for i, layer in enumerate(head):
                values = torch.addmm(parameters[f"{layer.name}.bias"], values, parameters[f"{layer.name}.weight"])
                if i + 1 < len(head):
                    values.relu_()
            outputs.append(values[None])
        collector.add(begin, outputs)
    return collector.result()


def posterior_draws(
    parameters: dict[str, Tensor],
    layout: ParameterLayout,
    features: npt.NDArray[np.float32],
    masks: list[npt.NDArray[np.float32]],
) -> PredictiveDraws:
    """Return the predictive densities of M inputs under T masks, in standardised units.

    The layers before the first mask are computed once for all masks, and masks multiply weights instead of activations:
    ``(h * m) W = h (diag(m) W)``.

    Args:
        parameters: of one seed, by name, without a leading axis.
        layout: of the parameters.
        features: `[M, d]`.
        masks: for each dropout layer the factors `[T, width]`, as of :func:`posterior_masks`.
    """
    draws, inputs = masks[0].shape[0], len(features)
    shared, masked = layout.encoder[:2], layout.encoder[2:]
    factors = [torch.from_numpy(mask) for mask in masks]
    weights = [
        factor[:, :, None] * parameters[f"{layer.name}.weight"]
        for layer, factor in zip(masked, factors[:-1], strict=True)
    ]
    # [T, h, sum of the heads' first widths]: one product serves all heads.
    entry = torch.cat([parameters[f"{head[0].name}.weight"] for head in layout.heads], dim=1)
    entry_bias = torch.cat([parameters[f"{head[0].name}.bias"] for head in layout.heads])
    # The Gaussian head's own ReLU commutes with the non-negative factors.
    entry = factors[-1][:, :, None] * entry
    table = torch.from_numpy(np.ascontiguousarray(features))
    collector = _Collector(layout, draws, inputs)
    for begin in range(0, inputs, _ROWS_PER_CHUNK):
        hidden = table[begin : begin + _ROWS_PER_CHUNK]
        rows = len(hidden)
        for layer in shared:
            hidden = torch.addmm(parameters[f"{layer.name}.bias"], hidden, parameters[f"{layer.name}.weight"])
            if layout.rectified:
                hidden.relu_()
        hidden = hidden.expand(draws, -1, -1)
        for layer, weight in zip(masked, weights, strict=True):
            hidden = torch.baddbmm(parameters[f"{layer.name}.bias"], hidden, weight)
            if layout.rectified:
                hidden.relu_()
        if layout.architecture == "gaussian" and not layout.rectified:
            hidden = torch.relu(hidden)
        first = torch.baddbmm(entry_bias, hidden, entry).view(draws * rows, -1)
        collector.add(begin, _heads(parameters, layout, first, draws))
    return collector.result()


def posterior_draws_per_row(
    parameters: dict[str, Tensor],
    layout: ParameterLayout,
    features: npt.NDArray[np.float32],
    *,
    seed: int,
    round_number: int,
    draws: int,
    dropout: float,
) -> PredictiveDraws:
    """Return the predictive densities of M inputs under T draws of which each input has its own masks.

    A draw is then no function of the input: two equal inputs disagree with themselves.

    Args:
        parameters: of one seed, by name, without a leading axis.
        layout: of the parameters.
        features: `[M, d]`.
        seed: of the stream ``posterior_masks``.
        round_number: of the stream.
        draws: T.
        dropout: probability, to 1/65536.

    Raises:
        ConfigurationError: if the encoder has one layer and hence no dropout.
    """
    _require_dropout_layers(layout)
    stream = random_stream(seed, "posterior_masks", round_number)
    thresholds, scales = dropout_factors(np.full(draws, dropout))
    entry = torch.cat([parameters[f"{head[0].name}.weight"] for head in layout.heads], dim=1)
    entry_bias = torch.cat([parameters[f"{head[0].name}.bias"] for head in layout.heads])
    inputs = len(features)
    table = torch.from_numpy(np.ascontiguousarray(features))
    collector = _Collector(layout, draws, inputs)
    for begin in range(0, inputs, _ROWS_PER_CHUNK):
        hidden = table[begin : begin + _ROWS_PER_CHUNK]
        for number, layer in enumerate(layout.encoder):
            hidden = torch.addmm(parameters[f"{layer.name}.bias"], hidden, parameters[f"{layer.name}.weight"])
            if number == 0:
                if layout.rectified:
                    hidden.relu_()
                continue
            if number == 1:
                hidden = hidden.repeat(draws, 1)
            values = hidden.numpy().reshape(draws, -1)
            bits = np.frombuffer(stream.bytes(2 * values.size), dtype="<u2").reshape(values.shape)
            activate(values, bits, thresholds, scales, layout.rectified)
        if layout.architecture == "gaussian" and not layout.rectified:
            hidden = torch.relu(hidden)
        collector.add(begin, _heads(parameters, layout, torch.addmm(entry_bias, hidden, entry), draws))
    return collector.result()


def _require_dropout_layers(layout: ParameterLayout) -> None:
    if len(layout.encoder) < 2:
        raise ConfigurationError("key 'network.hidden': posterior draws need two layers or more", given="one layer")


def _heads(parameters: dict[str, Tensor], layout: ParameterLayout, first: Tensor, draws: int) -> list[Tensor]:
    """Return each head's outputs `[T, n, columns]` from the heads' first layers `[T * n, sum of widths]`."""
    outputs, column = [], 0
    for head in layout.heads:
        values = first[:, column : column + head[0].outputs]
        column += head[0].outputs
        for layer in head[1:]:
            values = torch.addmm(parameters[f"{layer.name}.bias"], values.relu_(), parameters[f"{layer.name}.weight"])
        outputs.append(values.reshape(draws, len(first) // draws, -1))
    return outputs


class _Collector:
    """Turns the heads' outputs of successive inputs into draws."""

    def __init__(self, layout: ParameterLayout, draws: int, inputs: int) -> None:
        self._layout = layout
        self._bins = (layout.heads[0][-1].outputs + 1) // 3
        if layout.architecture == "gaussian":
            self._mean = np.empty((draws, inputs), dtype=np.float32)
            self._deviation = np.empty((draws, inputs), dtype=np.float32)
        else:
            self._knots = np.empty((draws, inputs, 2, 3, self._bins + 1), dtype=np.float32)

    def add(self, begin: int, outputs: list[Tensor]) -> None:
        """Take the outputs `[T, m, columns]` of each head for the inputs from ``begin`` on."""
        if self._layout.architecture == "gaussian":
            raw = outputs[0].numpy()
            mean, deviation = gaussian_parameters(raw)
            self._mean[:, begin : begin + raw.shape[1]] = mean
            self._deviation[:, begin : begin + raw.shape[1]] = deviation
            return
        for transform, output in enumerate(outputs):
            raw = output.numpy()
            for draw in range(raw.shape[0]):
                spline_knots(raw[draw], self._bins, self._knots[draw, begin : begin + raw.shape[1], transform])

    def result(self) -> PredictiveDraws:
        """Return all densities."""
        if self._layout.architecture == "gaussian":
            return GaussianDraws(self._mean, self._deviation)
        return SplineDraws(self._knots)
