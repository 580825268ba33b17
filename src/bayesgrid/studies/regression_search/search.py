"""The search: every configuration on every subset is one network of a stack, fitted a chunk of the stack at a time.

All configurations of a seed start from the same weights and see the same batches and uniform numbers for dropout, so
they differ by their values alone. A network has the same bits whichever others share its chunk, so the search can be
cut into chunks of any size, interrupted and resumed.

With halving, all configurations are fitted for few epochs, the best go on to more, and so on. A fit that goes on starts
again: its streams are keyed by the epoch, so it repeats its first epochs and ends with the bits it has without halving,
for at most ``1 / (factor - 1)`` more work.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from bayesgrid.data.regression_tables import RegressionTable
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.regression.labelled_rows import block_rows
from bayesgrid.studies.regression.models.layout import initial_parameters, specified_layout
from bayesgrid.studies.regression.one_thread import one_thread
from bayesgrid.studies.regression.training import FitResult, FitSettings, LabelledBlock, fit
from bayesgrid.studies.regression_search.configurations import EvaluatedConfiguration, evaluated_configurations
from bayesgrid.studies.regression_search.spec import RegressionSearchSpec

__all__ = ["SearchHistory", "run_search"]

_NETWORKS_PER_CHUNK = 16
"""Their weights, gradients and moments stay in the cache; in a stack of 64 a network takes a fifth longer."""


@dataclass(frozen=True)
class SearchHistory:
    """What has been found so far of K configurations on S subsets; the arrays change as chunks are done.

    Args:
        validation_nll: `[K, S]`, at the best weights, per standard deviation of the subset's targets; NaN if the fit
            diverged.
        epochs: `[K, S]`, epochs run.
        stopped_at: `[K, S]`, the epoch of the best weights.
        allowed: `[K, S]`, epochs at most of the last fit; 0 before the first.
        alive: bool `[K]`, configurations that no cut has dropped.
        counts: `[2]`, chunks done and cuts made.
    """

    validation_nll: npt.NDArray[np.float64]
    epochs: npt.NDArray[np.int64]
    stopped_at: npt.NDArray[np.int64]
    allowed: npt.NDArray[np.int64]
    alive: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, configurations: int, seeds: int) -> "SearchHistory":
        """Return the history before the first chunk."""
        shape = (configurations, seeds)
        return cls(
            validation_nll=np.full(shape, math.nan),
            epochs=np.zeros(shape, dtype=np.int64),
            stopped_at=np.zeros(shape, dtype=np.int64),
            allowed=np.zeros(shape, dtype=np.int64),
            alive=np.ones(configurations, dtype=bool),
            counts=np.zeros(2, dtype=np.int64),
        )


def run_search(
    spec: RegressionSearchSpec,
    table: RegressionTable,
    context: RunContext,
    *,
    networks_per_chunk: int = _NETWORKS_PER_CHUNK,
) -> tuple[list[EvaluatedConfiguration], SearchHistory]:
    """Fit every configuration to every subset, from the newest checkpoint on if there is one.

    Raises:
        DataError: if the targets of a subset are all equal.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    configurations = evaluated_configurations(spec)
    checkpoint = context.checkpoints.latest()
    history = SearchHistory.empty(len(configurations), len(spec.seeds))
    if checkpoint is not None:
        history = SearchHistory(**{field.name: checkpoint.arrays[field.name] for field in fields(SearchHistory)})
    rungs = _rungs(spec)
    with one_thread():
        search = _Search(spec, table, configurations)
        while True:
            rung = int(history.counts[1])
            # Networks of one seed stand together: a chunk then draws its batches and dropout numbers once.
            waiting = history.alive & (history.allowed < rungs[rung]).T
            places, numbers = np.nonzero(waiting)
            for begin in range(0, len(numbers), networks_per_chunk):
                chunk = slice(begin, begin + networks_per_chunk)
                search.play(history, numbers[chunk], places[chunk], rungs[rung])
                history.counts[0] += 1
                arrays = {field.name: getattr(history, field.name) for field in fields(SearchHistory)}
                context.checkpoints.save(int(history.counts[0]), arrays, {})
                context.progress(f"fits of {rungs[rung]} epochs", min(chunk.stop, len(numbers)), len(numbers))
                context.raise_if_stopping()
            if rung + 1 == len(rungs):
                return configurations, history
            _cut(history, configurations, spec.halving.factor)


class _Search:
    """One block of subsets; holds what stays the same in all chunks."""

    def __init__(
        self, spec: RegressionSearchSpec, table: RegressionTable, configurations: Sequence[EvaluatedConfiguration]
    ) -> None:
        labels = spec.labels
        size = labels.initial if labels.initial == "all" else labels.initial + labels.budget
        rows = block_rows(table, labels.model_copy(update={"initial": size}), spec.seeds)
        self._layout = specified_layout(rows.features.shape[1], spec.architecture, spec.network)
        self._recipe = spec.training
        self._seeds = np.array(spec.seeds)
        self._block = rows.labelled_block(rows.initial)
        self._start = initial_parameters(self._layout, spec.seeds)
        # What the validation loss exceeds that of standardised targets by.
        self._excess = np.log(rows.spread / rows.scale)
        self._values = np.array([[own.learning_rate, own.weight_decay, own.dropout] for own in configurations])

    def play(
        self,
        history: SearchHistory,
        numbers: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        max_epochs: int,
    ) -> None:
        """Fit the configurations ``numbers`` to the subsets at ``places``, both `[n]`, and write the results down."""
        fitted = self._fit(numbers, places, max_epochs)
        where = (numbers, places)
        history.validation_nll[where] = fitted.validation_nll - self._excess[places]
        history.epochs[where] = fitted.epochs
        history.stopped_at[where] = fitted.taken_epoch
        history.allowed[where] = max_epochs

    def _fit(self, numbers: npt.NDArray[np.int64], places: npt.NDArray[np.int64], max_epochs: int) -> FitResult:
        block, recipe = self._block, self._recipe
        learning_rate, weight_decay, dropout = self._values[numbers].T
        return fit(
            self._start[places],
            self._layout,
            LabelledBlock(*(getattr(block, field.name)[places] for field in fields(LabelledBlock))),
            tuple(self._seeds[places].tolist()),
            (0,),
            FitSettings(
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                dropout=dropout,
                batch_size=recipe.batch_size,
                max_epochs=max_epochs,
                patience=recipe.patience,
                minimum_improvement=recipe.minimum_improvement,
                divergence="stop",
            ),
        )


def _rungs(spec: RegressionSearchSpec) -> list[int]:
    """Return the epochs at most of each step of the halving; without it, one step."""
    first, factor, last = spec.halving.first_epochs, spec.halving.factor, spec.training.max_epochs
    if first is None:
        return [last]
    rungs = [first]
    # A step short of the last one would cut the best configurations for a few epochs only.
    while rungs[-1] * factor**2 <= last:
        rungs.append(rungs[-1] * factor)
    return [*rungs, last]


def _cut(history: SearchHistory, configurations: Sequence[EvaluatedConfiguration], factor: int) -> None:
    """Drop all but the best of the drawn configurations, by their mean over subsets; the others stay for comparison."""
    drawn = np.array([own.origin == "drawn" for own in configurations])
    alive = np.flatnonzero(history.alive & drawn)
    mean = history.validation_nll[alive].mean(axis=1)
    ranked = alive[np.argsort(np.where(np.isnan(mean), math.inf, mean), kind="stable")]
    history.alive[ranked[math.ceil(len(ranked) / factor) :]] = False
    history.counts[1] += 1
