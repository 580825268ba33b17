"""How wide a posterior becomes when the divergence acts alone: what a width has to be held against.

A width that ends where this path ends was set by the schedule and not by the data.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bayesgrid.adapters.slot_optimiser import SlotAdamW
from bayesgrid.studies.bayesian_lora.divergences import gaussian_divergence
from bayesgrid.studies.bayesian_lora.reference_initialisation import aliased_prior, deviation_of, parameter_of
from bayesgrid.studies.bayesian_lora.schedules import (
    divergence_weight,
    likelihood_rate_factor,
    reference_divergence_rate_factor,
)

__all__ = ["data_free_width", "joint_data_free_width"]

_NEGLIGIBLE_RATE = 2.0**-80


def data_free_width(
    method: Literal["blob", "scalabl"],
    mean: Tensor,
    deviation: Tensor,
    steps: int,
    cycle: int,
    *,
    rate: float | None = None,
    prior_deviation: float = 0.2,
    warmup_fraction: float = 0.06,
    schedule_steps: int | None = None,
) -> Tensor:
    """Return the mean deviation along the path of the reference's optimiser of the divergence, without data.

    Gradient descent on the un-normalised divergence with the rate of
    :func:`~bayesgrid.studies.bayesian_lora.schedules.reference_divergence_rate_factor`. ``scalabl``: log μ and log σ
    descend KL(p‖q) against the aliased prior. ``blob``: ρ = √Ω descends KL(q‖p), which does not depend on M.

    Args:
        method: whose divergence and parameters.
        mean: start of the means, ``[K, ...]``; positive for ``scalabl``.
        deviation: start of the deviations, same shape.
        steps: how far to follow the path.
        cycle: M, see :func:`~bayesgrid.studies.bayesian_lora.schedules.cycle_length`.
        rate: base learning rate; by default 0.2 for ``scalabl`` and 0.01 for ``blob``.
        prior_deviation: β of ``blob``.
        warmup_fraction: of the schedule.
        schedule_steps: T of the schedule; ``steps`` by default.

    Returns:
        ``[steps + 1, K]`` float64; entry t is the width after t updates.
    """
    base = rate if rate is not None else (0.2 if method == "scalabl" else 0.01)
    total = schedule_steps if schedule_steps is not None else steps
    widths = torch.empty(steps + 1, mean.shape[0], dtype=torch.float64)
    prior = aliased_prior(deviation.double())
    log_mean, log_deviation, root = mean.double().log(), deviation.double().log(), deviation.double().sqrt()
    for step in range(steps + 1):
        current = log_deviation.exp() if method == "scalabl" else root.square()
        widths[step] = current.reshape(mean.shape[0], -1).mean(1)
        if step == steps:
            break
        step_rate = base * reference_divergence_rate_factor(step, total, cycle, warmup_fraction)
        if step_rate < _NEGLIGIBLE_RATE:
            continue
        if method == "scalabl":
            centre, variance = log_mean.exp(), current.square()
            difference = centre - prior.mean
            log_mean = log_mean - step_rate * difference * centre / variance
            spread = prior.deviation.square() + difference.square()
            log_deviation = log_deviation - step_rate * (1 - spread / variance)
        else:
            root = root - step_rate * 2 * root * (current / prior_deviation**2 - 1 / current)
    return widths


def joint_data_free_width(
    deviation: Tensor,
    prior_deviation: Tensor | float,
    steps: int,
    examples: int,
    *,
    rate: float = 1e-2,
    temperature: float = 1.0,
    epsilon: float = 1e-6,
    warmup_fraction: float = 0.06,
    divergence_warmup_fraction: float = 0.06,
    record: Sequence[int] | None = None,
) -> Tensor:
    """Return the mean deviation along the path of the corrected objective without its likelihood.

    AdamW on the weighted KL(q‖p) with σ = softplus(ρ) + 1e-6, the rate, schedules and weights of a corrected fit. The
    means take no part: neither the gradient of KL(q‖p) in σ nor Adam's scaling depends on them.

    Args:
        deviation: start of the deviations, ``[K, ...]``, above 1e-6.
        prior_deviation: a number or a tensor that broadcasts to ``deviation``, positive.
        steps: T.
        examples: N.
        rate: base learning rate of ρ.
        temperature: τ.
        epsilon: of AdamW.
        warmup_fraction: of the learning rate.
        divergence_warmup_fraction: of the divergence's weight.
        record: numbers of updates after which to report, ascending; all from 0 to T by default.

    Returns:
        ``[len(record), K]`` float32.
    """
    wanted = set(range(steps + 1) if record is None else record)
    parameter = parameter_of(deviation.detach().float()).requires_grad_()
    optimiser = SlotAdamW({"deviation": [parameter]}, epsilon=epsilon)
    slots = deviation.shape[0]
    widths = []
    for step in range(steps + 1):
        current = deviation_of(parameter)
        if step in wanted:
            widths.append(current.detach().reshape(slots, -1).mean(1))
        if step == steps:
            break
        weight = divergence_weight(step, steps, examples, temperature, divergence_warmup_fraction)
        loss = weight * gaussian_divergence(torch.zeros_like(current), current, 0.0, prior_deviation).sum()
        (parameter.grad,) = torch.autograd.grad(loss, [parameter])
        factor = likelihood_rate_factor(step, steps, warmup_fraction)
        optimiser.step({"deviation": torch.full((slots,), rate * factor)})
    return torch.stack(widths)
