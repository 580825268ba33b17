"""Signs that a fit went wrong, read from its recorded history."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bayesgrid.errors import NumericalError

__all__ = ["HealthFinding", "HealthFindingKind", "chance_findings", "require_finite_losses", "width_findings"]

HealthFindingKind = Literal["collapsed_to_chance", "never_left_chance", "width_set_by_schedule"]


@dataclass(frozen=True)
class HealthFinding:
    """One thing that is wrong with one seed's fit.

    Args:
        kind: what is wrong.
        seed: whose fit.
        step: from which step on.
        value: what was measured.
        limit: what it was held against.
        message: the finding as a sentence.
    """

    kind: HealthFindingKind
    seed: int
    step: int
    value: float
    limit: float
    message: str


def require_finite_losses(losses: Tensor, seeds: Sequence[int], step: int, *, where: str) -> None:
    """Stop a fit whose loss is not a number or infinite.

    Args:
        losses: of this step, ``[K]``.
        seeds: seed of each slot.
        step: of training.
        where: the run or method, for the message.

    Raises:
        NumericalError: naming every seed concerned and the step.
    """
    values = losses.detach().cpu()
    broken = [(seed, float(value)) for seed, value in zip(seeds, values, strict=True) if not math.isfinite(value)]
    if broken:
        raise NumericalError(
            f"the loss of seed {', '.join(str(seed) for seed, _ in broken)} is not finite at step {step}",
            where=where,
            given=", ".join(str(value) for _, value in broken),
            remedy="lower the learning rate, or look for inputs that the model's precision cannot represent",
        )


def _sliding_mean(losses: Tensor, window: int) -> Tensor:
    sums = torch.cat([torch.zeros(losses.shape[0], 1, dtype=torch.float64), losses.double().cumsum(1)], 1)
    return (sums[:, window:] - sums[:, :-window]) / window


def chance_findings(
    losses: Tensor, seeds: Sequence[int], classes: int, *, window: int = 200, tolerance: float = 0.02
) -> tuple[HealthFinding, ...]:
    """Report fits that end no better than a uniform guess.

    The mean negative log-likelihood over the last ``window`` steps is compared with ln C. A fit at or above
    ln C − tolerance has ``collapsed_to_chance`` if an earlier window was better by more than another tolerance, else it
    ``never_left_chance``; the step is the first of the windows that lead to the end without a better one between.

    Args:
        losses: training loss of every step, ``[K, T]``; a shorter history than ``window`` is one window.
        seeds: seed of each slot.
        classes: C >= 2.
        window: steps to average over.
        tolerance: nats.
    """
    if losses.shape[1] == 0:
        return ()
    window = min(window, losses.shape[1])
    limit = math.log(classes) - tolerance
    findings = []
    for seed, means in zip(seeds, _sliding_mean(losses.detach().cpu(), window), strict=True):
        if means[-1] < limit:
            continue
        better = (means < limit).nonzero()
        first = int(better[-1]) + 1 if len(better) else 0
        fell = bool((means < limit - tolerance).any())
        kind: HealthFindingKind = "collapsed_to_chance" if fell else "never_left_chance"
        value = float(means[-1])
        history = "was better before and fell back" if fell else "never was better"
        message = (
            f"seed {seed}: the loss over the last {window} steps is {value:.4f} against ln {classes} = "
            f"{math.log(classes):.4f} of a uniform guess; it {history}"
        )
        findings.append(HealthFinding(kind, seed, first, value, limit, message))
    return tuple(findings)


def width_findings(
    widths: Tensor, data_free: Tensor, steps: Sequence[int], seeds: Sequence[int], *, tolerance: float = 0.02
) -> tuple[HealthFinding, ...]:
    """Report posteriors whose width was set by the optimiser's schedule and not by the data.

    A seed is reported if its width stays within ``tolerance`` (relative) of the data-free path from some step of the
    first half to the end. The value is the largest relative gap from that step on.

    Args:
        widths: mean deviation at each recorded step, ``[K, T]``.
        data_free: the same along the path without data
            (:mod:`~bayesgrid.studies.bayesian_lora.data_free_width`), ``[K, T]`` or ``[T]``.
        steps: the recorded steps, ascending, at least two.
        seeds: seed of each slot.
        tolerance: relative gap below which two widths count as equal.
    """
    if len(steps) < 2:
        return ()
    gaps = (widths.detach().cpu().double() / data_free.detach().cpu().double() - 1).abs().expand(len(seeds), -1)
    findings = []
    for seed, gap in zip(seeds, gaps, strict=True):
        away = (~(gap <= tolerance)).nonzero()
        first = int(away[-1]) + 1 if len(away) else 0
        if first >= len(steps) or steps[first] > steps[-1] / 2:
            continue
        largest = float(gap[first:].max())
        message = (
            f"seed {seed}: from step {steps[first]} on, the posterior's width is within {100 * largest:.2g} % of what "
            "the schedule gives without data"
        )
        findings.append(HealthFinding("width_set_by_schedule", seed, steps[first], largest, tolerance, message))
    return tuple(findings)
