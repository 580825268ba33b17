"""Fitting all seeds of a block at once, with the result of each independent of the others."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bayesgrid.errors import NumericalError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression.models.layout import ParameterLayout, aligned_stack, initial_parameters
from bayesgrid.studies.regression.models.stacked_network import StackedNetwork, StackedWeights
from bayesgrid.studies.regression.optimiser import NAdam

__all__ = ["FitResult", "FitSettings", "LabelledBlock", "fit", "starting_parameters"]

_EVALUATION_ROWS = 256
"""Validation rows per matrix product: large enough for BLAS, small enough for the cache."""
_SHRINKAGE = np.float32(0.6)
_PERTURBATION = np.float32(0.01)


@dataclass(frozen=True)
class FitSettings:
    """How one fit goes; the names are those of the study's ``TrainingSpec``."""

    learning_rate: float
    weight_decay: float
    dropout: float
    batch_size: int
    max_epochs: int
    patience: int
    minimum_improvement: float


@dataclass(frozen=True)
class LabelledBlock:
    """Labelled and validation examples of S seeds: N and at most V rows each, d features; targets are standardised.

    Args:
        features: float32 `[S, N, d]`.
        targets: float32 `[S, N]`.
        validation_features: float32 `[S, V, d]`.
        validation_targets: float32 `[S, V]`.
        validation_counts: `[S]`, how many of the V rows are a seed's own; the rest is filling.
    """

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    validation_features: npt.NDArray[np.float32]
    validation_targets: npt.NDArray[np.float32]
    validation_counts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class FitResult:
    """The best weights of each seed by validation loss, and how they were found.

    Args:
        parameters: float32 `[S, P]`.
        validation_nll: `[S]`, mean negative log-likelihood of the standardised validation targets at these weights.
        epochs: `[S]`, epochs run.
        best_epoch: `[S]`, the epoch, counted from 1, after which the weights were taken.
    """

    parameters: Tensor
    validation_nll: npt.NDArray[np.float64]
    epochs: npt.NDArray[np.int64]
    best_epoch: npt.NDArray[np.int64]


def starting_parameters(
    layout: ParameterLayout,
    seeds: tuple[int, ...],
    round_number: int,
    last: Tensor | None,
    warm_start: Literal["scratch", "continue", "shrink_perturb"],
) -> Tensor:
    """Return the weights `[S, P]` that the fit of a round starts from.

    ``scratch``: the seed's initial weights, the same in every round, so that rounds differ by their labels alone.
    ``continue``: the last weights. ``shrink_perturb``: ``0.6 last + 0.01 e`` with e standard normal
    (Ash and Adams 2020, On Warm-Starting Neural Network Training, arXiv 1910.08475, section 4).
    """
    if last is None or warm_start == "scratch":
        return initial_parameters(layout, seeds)
    if warm_start == "continue":
        return last.clone()
    noise = np.stack(
        [
            random_stream(seed, "initial_weights", round_number).standard_normal(layout.size, dtype=np.float32)
            for seed in seeds
        ]
    )
    return torch.from_numpy(_SHRINKAGE * last.numpy() + _PERTURBATION * noise)


def fit(
    start: Tensor,
    layout: ParameterLayout,
    data: LabelledBlock,
    seeds: tuple[int, ...],
    round_number: int,
    settings: FitSettings,
) -> FitResult:
    """Minimise the mean negative log-likelihood of each seed with NAdam and stop each on its own validation loss.

    After every epoch the validation loss of a seed, dropout off, is compared with its best one; a seed stops after
    ``patience`` epochs without an improvement of more than ``minimum_improvement`` nats, and its best weights are
    returned. A stopped seed leaves the stack. All draws come from the seed's own streams, keyed by round and epoch, so
    a seed's numbers have the same bits whichever seeds it shares the block with.

    Batches are cut from a permutation per epoch; the last, smaller one is dropped, unless it is the only one.

    Args:
        start: `[S, P]`, the weights to start from; unchanged.
        layout: of the parameters.
        data: examples of the S seeds.
        seeds: S seeds, for the streams ``batches`` and ``training_dropout``.
        round_number: index of both streams.
        settings: learning rate and so on.

    Raises:
        NumericalError: if a validation loss is not finite, naming the seed.
    """
    stack, count, _ = data.features.shape
    rows = min(settings.batch_size, count)
    steps = count // rows
    best = start.clone()
    validation_nll = np.full(stack, math.inf)
    epochs = np.zeros(stack, dtype=np.int64)
    best_epoch = np.zeros(stack, dtype=np.int64)

    active = np.arange(stack)
    flat = start.clone()
    optimiser = NAdam((stack, layout.size), learning_rate=settings.learning_rate, weight_decay=settings.weight_decay)
    machine = _Machine(layout, data, active, rows, settings.dropout)
    for epoch in range(1, settings.max_epochs + 1):
        machine.train(flat, optimiser, data, active, tuple(seeds[i] for i in active), (round_number, epoch), steps)
        current = machine.validate(flat)
        for place, seed_index in enumerate(active):
            if not math.isfinite(current[place]):
                raise NumericalError(
                    "the validation loss is not finite",
                    where=f"seed {seeds[seed_index]}, round {round_number}, epoch {epoch}",
                    given=float(current[place]),
                    remedy="lower training.learning_rate",
                )
            epochs[seed_index] = epoch
            if current[place] < validation_nll[seed_index] - settings.minimum_improvement:
                validation_nll[seed_index] = current[place]
                best_epoch[seed_index] = epoch
                best[seed_index] = flat[place]
        going = np.flatnonzero(epoch - best_epoch[active] < settings.patience)
        if len(going) == 0:
            break
        if len(going) < len(active):
            active = active[going]
            flat = flat[torch.from_numpy(going)]
            optimiser.keep(going)
            machine = _Machine(layout, data, active, rows, settings.dropout)
    return FitResult(best, validation_nll, epochs, best_epoch)


class _Machine:
    """Working memory for the seeds that are still training."""

    def __init__(
        self, layout: ParameterLayout, data: LabelledBlock, active: npt.NDArray[np.int64], rows: int, dropout: float
    ) -> None:
        stack, width = len(active), data.features.shape[2]
        self._layout = layout
        self._rows = rows
        self._network = StackedNetwork(layout, stack, rows, dropout=dropout)
        self._batch, _ = aligned_stack(stack, rows, width)
        self._gradient = StackedWeights(layout, torch.zeros(stack, layout.size))
        self._drops = dropout > 0
        self._counts = data.validation_counts[active]
        filled = int(self._counts.max())
        self._evaluator = StackedNetwork(layout, stack, _EVALUATION_ROWS, differentiable=False)
        # Rows are padded to whole chunks, so that every product has one shape; the padding's losses are left out.
        self._validation: list[tuple[Tensor, npt.NDArray[np.float32]]] = []
        for begin in range(0, filled, _EVALUATION_ROWS):
            end = min(begin + _EVALUATION_ROWS, filled)
            features, _ = aligned_stack(stack, _EVALUATION_ROWS, width)
            features.numpy()[:, : end - begin] = data.validation_features[active, begin:end]
            targets = np.zeros((stack, _EVALUATION_ROWS), dtype=np.float32)
            targets[:, : end - begin] = data.validation_targets[active, begin:end]
            self._validation.append((features, targets))

    def train(
        self,
        flat: Tensor,
        optimiser: NAdam,
        data: LabelledBlock,
        active: npt.NDArray[np.int64],
        seeds: tuple[int, ...],
        index: tuple[int, int],
        steps: int,
    ) -> None:
        """Run one epoch on ``flat`` `[S, P]`, in place."""
        rows = self._rows
        order = [random_stream(seed, "batches", *index).permutation(data.features.shape[1]) for seed in seeds]
        bits = self._bits(seeds, index, steps) if self._drops else None
        parameters = StackedWeights(self._layout, flat)
        batch = self._batch.numpy()
        targets = np.empty((len(seeds), rows), dtype=np.float32)
        for step in range(steps):
            for place, seed_index in enumerate(active):
                chosen = order[place][step * rows : (step + 1) * rows]
                batch[place] = data.features[seed_index, chosen]
                targets[place] = data.targets[seed_index, chosen]
            self._network.losses(
                parameters,
                self._batch,
                targets,
                None if bits is None else [layer[step] for layer in bits],
                self._gradient,
            )
            optimiser.step(parameters.flat, self._gradient.flat)

    def validate(self, flat: Tensor) -> npt.NDArray[np.float64]:
        """Return the mean loss `[S]` over each seed's validation rows."""
        parameters = StackedWeights(self._layout, flat)
        total = np.zeros(flat.shape[0])
        for chunk, (features, targets) in enumerate(self._validation):
            losses = self._evaluator.losses(parameters, features, targets)
            own = np.clip(self._counts - chunk * _EVALUATION_ROWS, 0, _EVALUATION_ROWS)
            for place in range(len(total)):
                total[place] += losses[place, : own[place]].sum(dtype=np.float64)
        return total / self._counts

    def _bits(self, seeds: tuple[int, ...], index: tuple[int, int], steps: int) -> list[npt.NDArray[np.uint16]]:
        """Return for each dropout layer uniform 16-bit numbers `[steps, S, n * width]`."""
        sizes = [self._rows * layer.outputs for layer in self._layout.encoder[1:]]
        bits = [np.empty((steps, len(seeds), size), dtype=np.uint16) for size in sizes]
        for place, seed in enumerate(seeds):
            stream = random_stream(seed, "training_dropout", *index)
            for layer, size in zip(bits, sizes, strict=True):
                drawn = np.frombuffer(stream.bytes(2 * steps * size), dtype="<u2")
                layer[:, place] = drawn.reshape(steps, size)
        return bits
