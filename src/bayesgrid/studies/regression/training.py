"""Fitting all seeds of a block at once, with the result of each independent of the others."""

import math
from collections.abc import Iterable
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
from bayesgrid.studies.regression.optimiser import Moments, NAdam

__all__ = ["REFERENCE_STREAM", "FitResult", "FitSettings", "LabelledBlock", "fit", "starting_parameters"]

REFERENCE_STREAM = 1
"""Seed of the streams that are the same for all seeds in ``mode: faithful``: batches, and the agents' own."""
_EVALUATION_ROWS = 256
"""Validation rows per matrix product: large enough for BLAS, small enough for the cache."""
_SHRINKAGE = np.float32(0.6)
_PERTURBATION = np.float32(0.01)


@dataclass(frozen=True)
class FitSettings:
    """How one fit goes; the names are those of the study's ``TrainingSpec``.

    The first three are one value for all seeds, or an array `[S]` with one for each: seeds then are networks, and the
    same seed may stand in the stack several times, once for each set of values. ``shared_batches`` makes all seeds cut
    the same batches, as in the reference code. ``divergence`` says what a validation loss that is not finite does:
    raise an error, or take the seed out of the stack, its ``validation_nll`` NaN.
    """

    learning_rate: float | npt.NDArray[np.float64]
    weight_decay: float | npt.NDArray[np.float64]
    dropout: float | npt.NDArray[np.float64]
    batch_size: int
    max_epochs: int
    patience: int
    minimum_improvement: float
    early_stopping: Literal["restore_best", "last_weights", "inverted"] = "restore_best"
    shared_batches: bool = False
    divergence: Literal["raise", "stop"] = "raise"


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

    def repeated(self, copies: int) -> "LabelledBlock":
        """Return the block with every seed ``copies`` times in succession."""
        return LabelledBlock(
            self.features.repeat(copies, axis=0),
            self.targets.repeat(copies, axis=0),
            self.validation_features.repeat(copies, axis=0),
            self.validation_targets.repeat(copies, axis=0),
            self.validation_counts.repeat(copies),
        )


@dataclass(frozen=True)
class FitResult:
    """The weights of each seed that the fit ends with, and how they were found.

    Args:
        parameters: float32 `[S, P]`.
        validation_nll: `[S]`, mean negative log-likelihood of the validation targets at these weights, in the units the
            network is fitted to.
        epochs: `[S]`, epochs run.
        taken_epoch: `[S]`, the epoch, counted from 1, after which the weights were taken.
        moments: of the optimiser after a seed's last epoch.
    """

    parameters: Tensor
    validation_nll: npt.NDArray[np.float64]
    epochs: npt.NDArray[np.int64]
    taken_epoch: npt.NDArray[np.int64]
    moments: Moments


def starting_parameters(
    layout: ParameterLayout,
    seeds: tuple[int, ...],
    index: tuple[int, ...],
    last: Tensor | None,
    warm_start: Literal["scratch", "continue", "shrink_perturb"],
) -> Tensor:
    """Return the weights `[S, P]` that the fit at ``index`` starts from, given the ``last`` ones.

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
            random_stream(seed, "initial_weights", *index).standard_normal(layout.size, dtype=np.float32)
            for seed in seeds
        ]
    )
    return torch.from_numpy(_SHRINKAGE * last.numpy() + _PERTURBATION * noise)


def fit(
    start: Tensor,
    layout: ParameterLayout,
    data: LabelledBlock,
    seeds: tuple[int, ...],
    index: tuple[int, ...],
    settings: FitSettings,
    moments: Moments | None = None,
) -> FitResult:
    """Minimise the mean negative log-likelihood of each seed with NAdam and stop each on its own validation loss.

    After every epoch the validation loss of a seed, dropout off, is compared with its best one; a seed stops after
    ``patience`` epochs without an improvement of more than ``minimum_improvement`` nats, and its best weights are
    returned, or its last ones if ``early_stopping`` says so. ``inverted`` takes a higher loss for an improvement,
    averages it over batches instead of rows, and goes on for one epoch more: what the reference code does.
    A stopped seed leaves the stack. All draws come from the seed's own streams, keyed by ``index`` and epoch, so a
    seed's numbers have the same bits whichever seeds it shares the block with.

    Batches are cut from a permutation per epoch; the last, smaller one is dropped, unless it is the only one.

    Args:
        start: `[S, P]`, the weights to start from; unchanged.
        layout: of the parameters.
        data: examples of the S seeds.
        seeds: S seeds, for the streams ``batches`` and ``training_dropout``.
        index: of both streams: the round, and within a round the label that a refit follows.
        settings: learning rate and so on.
        moments: of the optimiser to start with; unchanged. None starts with none.

    Raises:
        NumericalError: if a validation loss is not finite, naming the seed, unless ``settings`` says otherwise.
    """
    stack, count, _ = data.features.shape
    rows = min(settings.batch_size, count)
    steps = count // rows
    sign = -1.0 if settings.early_stopping == "inverted" else 1.0
    patience = settings.patience + (settings.early_stopping == "inverted")
    taken = start.clone()
    validation_nll = np.full(stack, math.nan)
    epochs = np.zeros(stack, dtype=np.int64)
    taken_epoch = np.zeros(stack, dtype=np.int64)
    best = np.full(stack, math.inf)
    best_epoch = np.zeros(stack, dtype=np.int64)
    last_moments = Moments.zero((stack, layout.size))
    dropout = np.full(stack, settings.dropout, dtype=np.float64)

    active = np.arange(stack)
    flat = start.clone()
    optimiser = NAdam(
        Moments.zero((stack, layout.size)) if moments is None else moments.copy(),
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    machine = _Machine(layout, data, active, rows, settings, dropout)
    for epoch in range(1, settings.max_epochs + 1):
        machine.train(flat, optimiser, data, active, tuple(seeds[i] for i in active), (*index, epoch), steps)
        current = machine.validate(flat)
        finite = np.isfinite(current)
        for place, seed_index in enumerate(active):
            if not finite[place] and settings.divergence == "raise":
                raise NumericalError(
                    "the validation loss is not finite",
                    where=f"seed {seeds[seed_index]}, round {index[0]}, epoch {epoch}",
                    given=float(current[place]),
                    remedy="lower training.learning_rate",
                )
            epochs[seed_index] = epoch
            if not finite[place]:
                validation_nll[seed_index] = math.nan
                continue
            improved = sign * current[place] < best[seed_index] - settings.minimum_improvement
            if improved:
                best[seed_index] = sign * current[place]
                best_epoch[seed_index] = epoch
            if improved or settings.early_stopping != "restore_best":
                validation_nll[seed_index] = current[place]
                taken_epoch[seed_index] = epoch
                taken[seed_index] = flat[place]
        goes_on = finite & (epoch - best_epoch[active] < patience) & (epoch < settings.max_epochs)
        for place in np.flatnonzero(~goes_on).tolist():
            last_moments.write(int(active[place]), optimiser.moments, place)
        going = np.flatnonzero(goes_on)
        if len(going) == 0:
            break
        if len(going) < len(active):
            active = active[going]
            flat = flat[torch.from_numpy(going)]
            optimiser.keep(going)
            machine = _Machine(layout, data, active, rows, settings, dropout[active])
    return FitResult(taken, validation_nll, epochs, taken_epoch, last_moments)


class _Machine:
    """Working memory for the seeds that are still training."""

    def __init__(
        self,
        layout: ParameterLayout,
        data: LabelledBlock,
        active: npt.NDArray[np.int64],
        rows: int,
        settings: FitSettings,
        dropout: npt.NDArray[np.float64],
    ) -> None:
        stack, width = len(active), data.features.shape[2]
        self._layout = layout
        self._rows = rows
        self._network = StackedNetwork(layout, stack, rows, dropout=dropout)
        self._batch, _ = aligned_stack(stack, rows, width)
        self._gradient = StackedWeights(layout, torch.zeros(stack, layout.size))
        self._drops = bool(np.any(dropout > 0))
        self._shared_batches = settings.shared_batches
        self._averages_batches = settings.early_stopping == "inverted"
        self._batch_size = settings.batch_size
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
        index: tuple[int, ...],
        steps: int,
    ) -> None:
        """Run one epoch on ``flat`` `[S, P]`, in place."""
        rows = self._rows
        orders = {
            seed: random_stream(seed, "batches", *index).permutation(data.features.shape[1])
            for seed in ({REFERENCE_STREAM} if self._shared_batches else set(seeds))
        }
        order = [orders[REFERENCE_STREAM if self._shared_batches else seed] for seed in seeds]
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
        """Return the mean loss `[S]` over each seed's validation rows, or over batches of them."""
        parameters = StackedWeights(self._layout, flat)
        if self._averages_batches:
            return self._mean_over_batches(parameters)
        total = np.zeros(flat.shape[0])
        for chunk, (features, targets) in enumerate(self._validation):
            losses = self._evaluator.losses(parameters, features, targets)
            own = np.clip(self._counts - chunk * _EVALUATION_ROWS, 0, _EVALUATION_ROWS)
            for place in range(len(total)):
                total[place] += losses[place, : own[place]].sum(dtype=np.float64)
        return total / self._counts

    def _mean_over_batches(self, parameters: StackedWeights) -> npt.NDArray[np.float64]:
        losses = np.concatenate(
            [self._evaluator.losses(parameters, features, targets).copy() for features, targets in self._validation],
            axis=1,
        )
        return np.array(
            [
                np.mean([part.mean(dtype=np.float64) for part in _batches(own[:count], self._batch_size)])
                for own, count in zip(losses, self._counts, strict=True)
            ]
        )

    def _bits(self, seeds: tuple[int, ...], index: tuple[int, ...], steps: int) -> list[npt.NDArray[np.uint16]]:
        """Return for each dropout layer uniform 16-bit numbers `[steps, S, n * width]`."""
        sizes = [self._rows * layer.outputs for layer in self._layout.encoder[1:]]
        bits = [np.empty((steps, len(seeds), size), dtype=np.uint16) for size in sizes]
        for seed in set(seeds):
            places = [place for place, other in enumerate(seeds) if other == seed]
            stream = random_stream(seed, "training_dropout", *index)
            for layer, size in zip(bits, sizes, strict=True):
                drawn = np.frombuffer(stream.bytes(2 * steps * size), dtype="<u2").reshape(steps, size)
                for place in places:
                    layer[:, place] = drawn
        return bits


def _batches(values: npt.NDArray[np.float32], size: int) -> Iterable[npt.NDArray[np.float32]]:
    return (values[begin : begin + size] for begin in range(0, len(values), size))
