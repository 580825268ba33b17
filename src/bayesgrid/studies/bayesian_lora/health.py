"""Signs that a fit went wrong, read from its recorded history."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["HealthFinding", "HealthFindingKind", "chance_findings"]

HealthFindingKind = Literal["collapsed_to_chance", "never_left_chance"]


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


def _sliding_mean(losses: Tensor, window: int) -> Tensor:
    sums = torch.cat([torch.zeros(losses.shape[0], 1, dtype=torch.float64), losses.double().cumsum(1)], 1)
    return (sums[:, window:] - sums[:, :-window]) / window


def chance_findings(
    losses: Tensor, seeds: Sequence[int], chance: float, *, window: int = 200, tolerance: float = 0.02
) -> tuple[HealthFinding, ...]:
    """Report fits that end no better than a uniform guess.

    The mean negative log-likelihood over the last ``window`` steps is compared with that of the guess. A fit at or
    above ``chance`` − ``tolerance`` has ``collapsed_to_chance`` if an earlier window was better by more than another
    tolerance, else it ``never_left_chance``; the step is the first of the windows that lead to the end without a better
    one between.

    Args:
        losses: training loss of every step, ``[K, T]``; a shorter history than ``window`` is one window.
        seeds: seed of each slot.
        chance: loss of a uniform guess in nats: the mean over questions of ln C, with C the options each offers.
        window: steps to average over.
        tolerance: nats.
    """
    if losses.shape[1] == 0:
        return ()
    window = min(window, losses.shape[1])
    limit = chance - tolerance
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
            f"seed {seed}: the loss over the last {window} steps is {value:.4f} against {chance:.4f} of a uniform "
            f"guess; it {history}"
        )
        findings.append(HealthFinding(kind, seed, first, value, limit, message))
    return tuple(findings)
