"""Training of stacked adapters: every seed of a block, and every member of an ensemble, in one forward pass.

A slot's path does not depend on the slots beside it: its start, its order of examples and its noise come from streams
of its own, its loss is the mean over its own prompts, and the optimiser acts on single values.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bayesgrid.adapters.slot_optimiser import SlotAdamW, clip_slot_gradients
from bayesgrid.errors import NumericalError
from bayesgrid.random_streams import random_stream
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, tokens_at_once
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod
from bayesgrid.studies.bayesian_lora.prediction import predict
from bayesgrid.studies.bayesian_lora.schedules import likelihood_rate_factor

__all__ = ["TrainingHistory", "answer_losses", "batch_rows", "train"]

_logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKPOINTS = 60.0
_LOGGED_STEPS = 10


@dataclass
class TrainingHistory:
    """What happened along the way.

    Args:
        losses: ``[steps, K]``, mean negative log-likelihood of each step's batch under that step's noise; NaN for
            slots that had stopped.
        stopped_at: ``[K]``, the step whose weights were kept, counted from 1.
    """

    losses: NDArray[np.float32]
    stopped_at: NDArray[np.int64]
    best: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def batch_rows(seed: int, examples: int, batch: int, step: int) -> NDArray[np.int64]:
    """Return the examples of ``step``: consecutive pieces of one random order after another, none left out.

    Args:
        seed: of the order.
        examples: N.
        batch: examples per step; it may exceed N.
        step: counted from 0.
    """
    first = step * batch
    epochs = range(first // examples, (first + batch - 1) // examples + 1)
    orders = np.concatenate([random_stream(seed, "training order", epoch).permutation(examples) for epoch in epochs])
    return orders[first - epochs[0] * examples :][:batch].astype(np.int64)


def answer_losses(logits: Tensor, answers: Tensor, options: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return −log softmax(logits)_answer over the options present, ``[rows]``.

    Args:
        logits: ``[rows, C]``.
        answers: ``[rows]``.
        options: ``[rows]``, how many labels are offered.
        label_smoothing: share of the target that is spread evenly over the options present.
    """
    offered = torch.arange(logits.shape[1], device=logits.device) < options[:, None]
    log_probabilities = logits.masked_fill(~offered, -torch.inf).log_softmax(1)
    hard = -log_probabilities.gather(1, answers[:, None])[:, 0]
    if label_smoothing == 0:
        return hard
    even = -log_probabilities.masked_fill(~offered, 0.0).sum(1) / options
    return (1 - label_smoothing) * hard + label_smoothing * even


def train(
    spec: FitSpec,
    method: TrainedMethod,
    adapted: AdaptedModel,
    task: AnswerTask,
    validation: AnswerTask,
    context: RunContext,
    *,
    rows_of_slot: Sequence[NDArray[np.int64]] | None = None,
) -> TrainingHistory:
    """Train all slots of ``method`` on ``task`` and return what happened; the stack then holds what was learnt.

    Continues from the last checkpoint of the run, with the numbers it would have had without the interruption.

    Args:
        spec: all hyperparameters.
        method: what is trained.
        adapted: the model, whose stack has the method's slots.
        task: questions with their answers, prepared for the model.
        validation: held-out questions, for early stopping.
        context: for checkpoints, progress and tracking.
        rows_of_slot: the questions of ``task`` that each slot learns; all of them by default.

    Raises:
        NumericalError: if a loss, or what is learnt in the end, is not finite, naming seed and step.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    loop = _Loop(spec, method, adapted, task, validation, rows_of_slot)
    start = loop.resume(context)
    saved = time.monotonic()
    for step in range(start, spec.training.steps):
        if not loop.active.any():
            break
        loop.step(step)
        if (step + 1) % _LOGGED_STEPS == 0:
            loop.record(step, context)
        context.progress("training", step + 1, spec.training.steps)
        if context.stopping or time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
            loop.save(step + 1, context)
            saved = time.monotonic()
            context.raise_if_stopping()
    loop.finish()
    return loop.history


class _Loop:
    def __init__(
        self,
        spec: FitSpec,
        method: TrainedMethod,
        adapted: AdaptedModel,
        task: AnswerTask,
        validation: AnswerTask,
        rows_of_slot: Sequence[NDArray[np.int64]] | None,
    ) -> None:
        self.spec, self.method, self.adapted, self.task, self.validation = spec, method, adapted, task, validation
        self.rows_of_slot = rows_of_slot or [np.arange(len(task))] * len(method.slots)
        method.initialise()
        self.groups = method.groups()
        self.optimiser = SlotAdamW(
            self.groups,
            epsilon=spec.training.epsilon,
            weight_decay=spec.training.weight_decay,
            decayed=("factors",),  # decay of a deviation's parameter would widen or narrow the posterior
        )
        slots = len(method.slots)
        self.active = torch.ones(slots, dtype=torch.bool)
        self.history = TrainingHistory(
            np.full((spec.training.steps, slots), np.nan, dtype=np.float32),
            np.full(slots, spec.training.steps, dtype=np.int64),
            np.full(slots, np.inf),
        )
        self.unimproved = np.zeros(slots, dtype=np.int64)
        self.kept: list[Tensor] = []

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.groups.values() for parameter in group]

    def step(self, step: int) -> None:
        training = self.spec.training
        for parameter in self.parameters:
            parameter.grad = None
        self.method.perturb(step)
        slots = torch.nonzero(self.active)[:, 0]
        rows = {slot: self._rows(slot, step) for slot in slots.tolist()}
        longest = max(len(self.task.prompts[row]) for row in np.concatenate(list(rows.values())))
        budget = tokens_at_once(self.adapted.device, gradients=True)
        for chosen in slots.split(max(1, budget // (training.batch_size * longest))):
            self._accumulate(step, chosen, np.concatenate([rows[slot] for slot in chosen.tolist()]))
        penalty = self.method.penalty(step)
        if penalty is not None:
            penalty[self.active.to(penalty.device)].sum().backward()
        if training.gradient_clip is not None:
            clip_slot_gradients(self.parameters, training.gradient_clip)
        factor = likelihood_rate_factor(step, training.steps, training.warmup_fraction)
        if not self.method.update(step, factor, self.active):
            rates = {
                name: torch.full((len(self.active),), peak * factor) for name, peak in self.method.peak_rates().items()
            }
            self.optimiser.step(rates, self.active)
        self.method.follow(step, self.active)
        due = (step + 1) % training.evaluate_every == 0 or step + 1 == training.steps
        if training.early_stopping != "none" and due:
            self._validate(step + 1)

    def _accumulate(self, step: int, chosen: Tensor, rows: NDArray[np.int64]) -> None:
        training, task, device = self.spec.training, self.task, self.adapted.device
        shared = task.shared_prefix if self.method.shares_prefix else 0
        batch = self.adapted.batch(task, rows, shared)
        everything = len(chosen) == len(self.active)
        with self.adapted.stack.using(None if everything else chosen.to(device)):
            logits = self.adapted.model.logits(batch, len(chosen))
        losses = answer_losses(
            logits,
            torch.from_numpy(task.answers[rows]).to(device),
            torch.from_numpy(task.options[rows]).to(device),
            training.label_smoothing,
        )
        means = losses.reshape(len(chosen), -1).mean(1)
        values = means.detach().cpu().numpy()
        if not np.isfinite(values).all():
            broken = int(chosen[int(np.flatnonzero(~np.isfinite(values))[0])])
            raise self._divergence("the training loss is not finite", broken, step, values.tolist())
        self.history.losses[step, chosen.numpy()] = values
        means.sum().backward()

    def _require_finite_parameters(self, step: int) -> None:
        for parameter in self.parameters:
            finite = torch.isfinite(parameter.detach()).flatten(1).all(1)
            if not bool(finite.all()):
                raise self._divergence("what is learnt is not finite", int((~finite).nonzero()[0, 0]), step)

    def _divergence(self, message: str, position: int, step: int, given: object = None) -> NumericalError:
        slot = self.method.slots[position]
        return NumericalError(
            message,
            where=f"seed {slot.seed}, member {slot.member}, step {step}",
            given=given,
            remedy="lower training.learning_rate, set training.gradient_clip, or use precision float32",
        )

    def _rows(self, slot: int, step: int) -> NDArray[np.int64]:
        own = self.rows_of_slot[slot]
        seed = self.method.order_seed(self.method.slots[slot])
        return own[batch_rows(seed, len(own), self.spec.training.batch_size, step)]

    def _validate(self, steps_taken: int) -> None:
        self._require_finite_parameters(steps_taken - 1)
        self.method.settle()
        logits = torch.from_numpy(predict(self.adapted, self.validation, None)).double()
        answers, options = torch.from_numpy(self.validation.answers), torch.from_numpy(self.validation.options)
        if not self.kept:
            self.kept = [parameter.detach().clone() for parameter in self.parameters]
        for slot in torch.nonzero(self.active)[:, 0].tolist():
            loss = float(answer_losses(logits[slot], answers, options).mean())
            if loss < self.history.best[slot]:
                self.history.best[slot], self.history.stopped_at[slot] = loss, steps_taken
                self.unimproved[slot] = 0
                for kept, parameter in zip(self.kept, self.parameters, strict=True):
                    kept[slot] = parameter.detach()[slot]
            else:
                self.unimproved[slot] += 1
                self.active[slot] = bool(self.unimproved[slot] < self.spec.training.patience)

    @torch.no_grad()
    def finish(self) -> None:
        for slot in np.flatnonzero(np.isfinite(self.history.best)):
            for kept, parameter in zip(self.kept, self.parameters, strict=True):
                parameter[slot] = kept[slot]
        # The loss of a step shows the parameters before it: nothing else looks at those of the last one.
        self._require_finite_parameters(self.spec.training.steps - 1)
        self.method.settle()

    def record(self, step: int, context: RunContext) -> None:
        measured = self.method.measured()
        for position, slot in enumerate(self.method.slots):
            values = {name: float(value[position]) for name, value in measured.items()}
            recent = self.history.losses[max(0, step + 1 - _LOGGED_STEPS) : step + 1, position]
            if np.isnan(recent).all():
                continue
            loss = float(np.nanmean(recent))
            context.tracker.log("training", step + 1, seed=slot.seed, member=slot.member, loss=loss, **values)

    def save(self, steps_taken: int, context: RunContext) -> None:
        arrays = {f"parameter.{index}": p.detach().cpu().numpy() for index, p in enumerate(self.parameters)}
        arrays |= {f"kept.{index}": kept.cpu().numpy() for index, kept in enumerate(self.kept)}
        arrays |= {f"optimiser.{name}": tensor.cpu().numpy() for name, tensor in self.optimiser.state().items()}
        arrays |= {
            "active": self.active.numpy(),
            "unimproved": self.unimproved,
            "losses": self.history.losses,
            "stopped_at": self.history.stopped_at,
            "best": self.history.best,
        }
        context.checkpoints.save(steps_taken, arrays, {})
        _logger.info("checkpoint after step %d", steps_taken)

    @torch.no_grad()
    def resume(self, context: RunContext) -> int:
        checkpoint = context.checkpoints.latest()
        if checkpoint is None:
            return 0
        tensors = {name: torch.from_numpy(array.copy()) for name, array in checkpoint.arrays.items()}
        for index, parameter in enumerate(self.parameters):
            parameter.copy_(tensors[f"parameter.{index}"].to(parameter))
            if f"kept.{index}" in tensors:
                self.kept.append(tensors[f"kept.{index}"].to(parameter))
        prefix = "optimiser."
        self.optimiser.restore({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
        self.active = tensors["active"].bool()
        self.unimproved = checkpoint.arrays["unimproved"].copy()
        self.history = TrainingHistory(*(checkpoint.arrays[name].copy() for name in ("losses", "stopped_at", "best")))
        _logger.info("continuing after step %d", checkpoint.step)
        return checkpoint.step
