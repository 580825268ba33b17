"""What a method is: what it adds to the training of plain adapters, or how it is fitted to a trained one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.adapters.stacked import AdapterStack
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec

__all__ = ["FittedPosterior", "PosteriorFit", "Slot", "TrainedMethod", "per_slot"]


@dataclass(frozen=True)
class Slot:
    """Whose adapter a slot of the stack is: the run's seed, and the member of an ensemble."""

    seed: int
    member: int = 0

    def stream_seed(self) -> int:
        """Return the seed of the slot's own random streams; members of one seed share nothing."""
        return self.seed if self.member == 0 else (self.member << 32) + self.seed


class TrainedMethod:
    """Maximum likelihood, and what other methods change about it.

    Args:
        spec: all hyperparameters.
        stack: adapters, one slot for each of ``slots``.
        slots: whose they are; members of one seed stand together.
        examples: N, the number of labels that are learnt: one for all slots, or one for each.
    """

    shares_prefix = True
    """Whether all prompts of a step see the same weights, so that their common beginning is computed once."""

    def __init__(
        self, spec: FitSpec, stack: AdapterStack, slots: tuple[Slot, ...], examples: int | Sequence[int]
    ) -> None:
        self.spec = spec
        self.stack = stack
        self.slots = slots
        self.examples = (examples,) * len(slots) if isinstance(examples, int) else tuple(examples)
        """N of each slot."""

    @staticmethod
    def slots_of(spec: FitSpec) -> tuple[Slot, ...]:
        """Return the slots that a block of seeds needs."""
        return tuple(Slot(seed) for seed in spec.seeds)

    def initialise(self) -> None:
        """Give every slot its start."""
        for position, slot in enumerate(self.slots):
            self.stack.reset(position, slot.stream_seed())

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return what is learnt, by the name of its learning rate; every tensor ``[K, ...]``."""
        return {"factors": self.stack.parameters()}

    def peak_rates(self) -> dict[str, float]:
        """Return the peak learning rate of each group."""
        return {"factors": self.spec.training.learning_rate}

    def order_seed(self, slot: Slot) -> int:
        """Return the seed of the order in which the slot sees its examples."""
        return slot.stream_seed()

    def perturb(self, step: int) -> None:
        """Draw the noise of ``step``."""

    def settle(self) -> None:
        """Take all noise away, so that the model answers with the posterior mean."""

    def penalty(self, step: int) -> Tensor | None:
        """Return what is added to each slot's mean negative log-likelihood, ``[K]``; None adds nothing."""
        return None

    def update(self, step: int, factor: float, active: Tensor) -> bool:
        """Update the ``active`` slots ``[K]`` from their gradients, or return False to leave that to AdamW.

        Args:
            step: counted from 0.
            factor: of the learning-rate schedule.
            active: slots that still train.
        """
        return False

    def follow(self, step: int, active: Tensor) -> None:
        """Do what comes after the optimiser's step, for the ``active`` slots ``[K]``."""

    def measured(self) -> Mapping[str, Tensor]:
        """Return values worth recording along the way, each ``[K]``."""
        return {}

    def posterior(self, position: int) -> AdapterPosterior:
        """Return what was learnt for the seed at ``position`` of the run's seeds."""
        return AdapterPosterior(self.spec.method, self.stack.export(position), {}, {})


@dataclass(frozen=True)
class FittedPosterior:
    """A posterior around a trained adapter, and what its fit has to report."""

    posterior: AdapterPosterior
    measured: Mapping[str, float]


class PosteriorFit(Protocol):
    """How a posterior is fitted to a trained adapter."""

    def __call__(
        self,
        spec: FitSpec,
        parent: AdapterPosterior,
        adapted: AdaptedModel,
        task: AnswerTask,
        seed: int,
        context: RunContext,
    ) -> FittedPosterior:
        """Return the posterior around ``parent``'s mean.

        Args:
            spec: all hyperparameters.
            parent: what the parent's fit left for this seed.
            adapted: the model with a stack that may be resized.
            task: the questions whose labels were learnt, prepared for the model.
            seed: the run's seed.
            context: to report progress, and to stop when asked.
        """
        ...


def per_slot(values: list[Tensor], device: torch.device) -> Tensor:
    """Return one tensor ``[K, ...]`` from each slot's."""
    return torch.stack(values).to(device)
