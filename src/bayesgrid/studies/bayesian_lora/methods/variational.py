"""What BLoB and ScalaBL share: an evidence bound by default, and every departure of the reference from it as a key.

The objective is mean NLL + (τ / N) KL(q‖p), for all parameters by one AdamW. The reference instead takes two steps for
every batch: AdamW on the mean NLL, then plain gradient descent on the divergence, not divided by N, at a rate whose
cyclic factor leaves it nearly still in most steps.
"""

import torch
from torch import Tensor, nn

from bayesgrid.adapters.slot_optimiser import descend
from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod
from bayesgrid.studies.bayesian_lora.schedules import (
    cycle_length,
    cycle_weight,
    divergence_weight,
    reference_warmup_and_decay,
)

__all__ = ["VariationalMethod"]


class VariationalMethod(TrainedMethod):
    """A method that learns standard deviations beside means."""

    reference_kl_rate: float
    """Rate of the reference's separate step on the divergence."""

    def divergence(self) -> Tensor:
        """Return the divergence of each slot, ``[K]``, in nats."""
        raise NotImplementedError

    def deviation_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the standard deviations, each ``[K, ...]``."""
        raise NotImplementedError

    def mean_parameters(self) -> list[nn.Parameter]:
        """Return all other parameters."""
        return self.stack.parameters()

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return means and deviations as groups of their own."""
        return {"factors": self.mean_parameters(), "deviations": self.deviation_parameters()}

    def peak_rates(self) -> dict[str, float]:
        """Return the rates; the reference steps the deviations as slowly as the means."""
        separate = self.spec.variational.optimisers == "separate"
        rate = self.spec.training.learning_rate
        return {"factors": rate, "deviations": rate if separate else self.spec.variational.deviation_learning_rate}

    def _weights(self, step: int) -> Tensor:
        """Return the weight of each slot's divergence at ``step``, ``[K]``."""
        return torch.tensor([self._weight(step, examples) for examples in self.examples], dtype=torch.float64)

    def _weight(self, step: int, examples: int) -> float:
        training, variational = self.spec.training, self.spec.variational
        if variational.kl_weight == "per_example":
            return divergence_weight(
                step, training.steps, examples, variational.temperature, variational.kl_warmup_fraction
            )
        if variational.kl_weight == "unscaled":
            return variational.temperature
        cycle = cycle_length(examples, training.batch_size)
        return variational.temperature * cycle_weight(step % cycle + 1, cycle)

    def penalty(self, step: int) -> Tensor | None:
        """Return the weighted divergence, unless it has a step of its own."""
        if self.spec.variational.optimisers == "separate":
            return None
        divergence = self.divergence()
        return self._weights(step).to(divergence) * divergence

    def follow(self, step: int, active: Tensor) -> None:
        """Take the reference's separate step on the divergence."""
        variational, training = self.spec.variational, self.spec.training
        if variational.optimisers == "joint":
            return
        rate = variational.kl_learning_rate or self.reference_kl_rate
        linear = reference_warmup_and_decay(step, training.steps, training.warmup_fraction)
        factors = linear * self._weights(step)
        parameters = [parameter for group in self.groups().values() for parameter in group]
        for parameter in parameters:
            parameter.grad = None
        self.divergence().sum().backward()
        descend(parameters, torch.where(active.cpu(), rate * factors, 0.0))
