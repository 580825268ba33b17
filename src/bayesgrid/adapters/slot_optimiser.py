"""AdamW and gradient descent over stacked parameters, where every slot has its own steps, rates and gradient norm."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["SlotAdamW", "clip_slot_gradients", "descend"]


def _per_slot(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))


def clip_slot_gradients(parameters: Sequence[Tensor], largest: float) -> Tensor:
    """Scale each slot's gradients so that their joint norm is at most ``largest``; return the norms before, ``[K]``.

    Args:
        parameters: stacked ones, ``[K, ...]``; those without a gradient are passed over.
        largest: greatest norm of one slot.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    norms = squares.sqrt()
    factors = (largest / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(_per_slot(factors, gradient))
    return norms


@torch.no_grad()
def descend(parameters: Sequence[Tensor], rates: Tensor) -> None:
    """Take one step of gradient descent without momentum, slot k by ``rates[k]``."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.sub_(_per_slot(rates.to(parameter), parameter) * parameter.grad)


@dataclass
class SlotAdamW:
    """AdamW (Loshchilov and Hutter, 2019, algorithm 2) whose slots may have taken different numbers of steps.

    All operations act on single values, so a slot's path is the one it would take alone.

    Args:
        groups: name -> stacked parameters ``[K, ...]`` that share a learning rate.
        betas: decay rates of the two moments.
        epsilon: added to the root of the second moment.
        weight_decay: decoupled decay per unit of learning rate.
        decayed: names of the groups that decay; all by default.
    """

    groups: Mapping[str, Sequence[Tensor]]
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decayed: Collection[str] | None = None
    steps: Tensor = field(init=False)
    _first: list[Tensor] = field(init=False, repr=False)
    _second: list[Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parameters = self._all()
        self.steps = torch.zeros(parameters[0].shape[0], dtype=torch.int64)
        self._first = [torch.zeros_like(parameter) for parameter in parameters]
        self._second = [torch.zeros_like(parameter) for parameter in parameters]

    def _all(self) -> list[Tensor]:
        return [parameter for group in self.groups.values() for parameter in group]

    @torch.no_grad()
    def step(self, rates: Mapping[str, Tensor], active: Tensor | None = None) -> None:
        """Update all parameters from their gradients.

        Args:
            rates: learning rate of each slot, ``[K]``, by group.
            active: ``[K]`` booleans; a slot that is not active keeps parameters, moments and step count.
        """
        beta1, beta2 = self.betas
        moving = torch.ones(len(self.steps), dtype=torch.bool) if active is None else active.cpu()
        self.steps += moving
        counts = self.steps.clamp(min=1).double()
        correction1, correction2 = 1 - beta1**counts, 1 - beta2**counts
        index = 0
        for name, group in self.groups.items():
            decay = self.weight_decay if self.decayed is None or name in self.decayed else 0.0
            for parameter in group:
                first, second = self._first[index], self._second[index]
                index += 1
                if parameter.grad is None:
                    continue
                mask = _per_slot(moving.to(parameter.device), parameter)
                rate = _per_slot(rates[name].to(parameter.device, torch.float32), parameter)
                gradient = parameter.grad
                new_first = first.lerp(gradient, 1 - beta1)
                new_second = second * beta2 + (1 - beta2) * gradient.square()
                root = new_second.sqrt() / _per_slot(correction2.sqrt().to(parameter), parameter)
                stepped = parameter * (1 - rate * decay)
                stepped -= rate / _per_slot(correction1.to(parameter), parameter) * new_first / (root + self.epsilon)
                if bool(moving.all()):
                    first.copy_(new_first)
                    second.copy_(new_second)
                    parameter.copy_(stepped)
                else:
                    first.copy_(torch.where(mask, new_first, first))
                    second.copy_(torch.where(mask, new_second, second))
                    parameter.copy_(torch.where(mask, stepped, parameter))

    def state(self) -> dict[str, Tensor]:
        """Return steps and moments by name, to be saved."""
        tensors = {"steps": self.steps}
        for index, (first, second) in enumerate(zip(self._first, self._second, strict=True)):
            tensors[f"first.{index}"], tensors[f"second.{index}"] = first, second
        return tensors

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state` returned."""
        self.steps.copy_(state["steps"])
        for index, (first, second) in enumerate(zip(self._first, self._second, strict=True)):
            first.copy_(state[f"first.{index}"])
            second.copy_(state[f"second.{index}"])
