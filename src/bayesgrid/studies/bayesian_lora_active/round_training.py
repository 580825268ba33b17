"""The fit of one round: all seeds side by side, each on the labels it has bought."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import RunContext
from bayesgrid.store.tracking import Tracker, Value
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_parameters import PARENTS
from bayesgrid.studies.bayesian_lora.methods import posterior_fit, trained_method
from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod
from bayesgrid.studies.bayesian_lora.training import train
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec

__all__ = ["RoundFit", "fit_round", "forget_rounds"]

_LAST_STEPS = 50
_FOLDER = "rounds"
_NOT_CONTINUED = frozenset({"momentum"})


@dataclass(frozen=True)
class RoundFit:
    """What a round has learnt.

    Args:
        posteriors: one for each seed.
        training_nll: ``[seeds]``, mean over the last steps and, of an ensemble, its members.
        learnt: values that a fit without a cold start goes on from, by name, each ``[K, ...]``.
    """

    posteriors: tuple[AdapterPosterior, ...]
    training_nll: NDArray[np.float64]
    learnt: dict[str, NDArray[np.float32]]


def fit_round(
    spec: BayesianLoraActiveSpec,
    adapted: AdaptedModel,
    task: AnswerTask,
    rows_of_seed: Sequence[NDArray[np.int64]],
    round_number: int,
    context: RunContext,
    learnt: dict[str, NDArray[np.float32]],
) -> RoundFit:
    """Fit the method for every seed, from the last checkpoint within the round on if there is one.

    Streams are keyed by the seed alone: with a cold start, fits of successive rounds have one start and one noise, and
    differ by their labels.

    Args:
        spec: of the run.
        adapted: its stack is resized.
        task: all training questions, prepared for the model.
        rows_of_seed: the questions whose labels each seed learns.
        round_number: from 0.
        context: of the run.
        learnt: what the fit goes on from; empty for a cold start.

    Raises:
        NumericalError: if training diverges, naming seed and step.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    trained = spec.trained()
    kind = trained_method(trained) if not learnt else _continued(trained_method(trained), learnt)
    slots = kind.slots_of(trained)
    members = len(slots) // len(spec.seeds)
    adapted.stack.resize(len(slots))
    rows_of_slot = [rows_of_seed[place // members] for place in range(len(slots))]
    method = kind(trained, adapted.stack, slots, [len(rows) for rows in rows_of_slot])
    nothing = task.rows(np.empty(0, dtype=np.int64))
    history = train(
        trained,
        method,
        adapted,
        task,
        nothing,
        _context_of_round(context, round_number, trained.training.steps),
        rows_of_slot=rows_of_slot,
    )
    posteriors = [method.posterior(place) for place in range(len(spec.seeds))]
    kept = {} if spec.acquisition.cold_start else _learnt(method)
    for layer in adapted.stack.layers.values():
        layer.projection = None
    if spec.method in PARENTS:
        posteriors = [
            posterior_fit(spec)(spec, parent, adapted, task.rows(rows), seed, context).posterior
            for parent, rows, seed in zip(posteriors, rows_of_seed, spec.seeds, strict=True)
        ]
    losses = history.losses[-_LAST_STEPS:].astype(np.float64).mean(axis=0)
    return RoundFit(tuple(posteriors), losses.reshape(len(spec.seeds), members).mean(axis=1), kept)


def forget_rounds(context: RunContext) -> None:
    """Delete the checkpoints within rounds; to be called once a checkpoint of the whole round is safe."""
    shutil.rmtree(context.state / _FOLDER, ignore_errors=True)


class _LaterSteps(Tracker):
    """Counts the steps of a round on from those of the rounds before."""

    def __init__(self, tracker: Tracker, offset: int) -> None:
        self._tracker = tracker
        self._offset = offset

    def log(self, stream: str, step: int, **values: Value) -> None:
        self._tracker.log(stream, self._offset + step, **values)


def _context_of_round(context: RunContext, round_number: int, steps: int) -> RunContext:
    # A folder for each round, so that a fit never goes on from the steps of another round.
    folder = context.state / _FOLDER / f"round-{round_number:04d}"
    return replace(
        context,
        tracker=_LaterSteps(context.tracker, round_number * steps),
        checkpoints=CheckpointStore(folder, context.run_id),
    )


def _learnt(method: TrainedMethod) -> dict[str, NDArray[np.float32]]:
    return {
        f"{name}.{index}": parameter.detach().cpu().numpy().copy()
        for name, group in method.groups().items()
        if name not in _NOT_CONTINUED
        for index, parameter in enumerate(group)
    }


def _continued(kind: type[TrainedMethod], learnt: dict[str, NDArray[np.float32]]) -> type[TrainedMethod]:
    """Return ``kind`` with a start at what was ``learnt``; the optimiser starts anew."""

    class Continued(kind):  # type: ignore[misc, valid-type]
        def initialise(self) -> None:
            super().initialise()
            with torch.no_grad():
                for name, group in self.groups().items():
                    for index, parameter in enumerate(group):
                        if f"{name}.{index}" in learnt:
                            parameter.copy_(torch.from_numpy(learnt[f"{name}.{index}"]).to(parameter))

    return Continued
