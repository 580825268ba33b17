"""How learning rates and the weight of the divergence change over training, as pure functions of the step.

Steps count from 0: step ``t`` is the update made after ``t`` updates.
"""

import math

__all__ = [
    "cycle_length",
    "cycle_weight",
    "divergence_weight",
    "likelihood_rate_factor",
    "reference_divergence_rate_factor",
    "reference_warmup_and_decay",
    "warmup_steps",
]


def warmup_steps(steps: int, fraction: float = 0.06) -> int:
    """Return ⌊fraction · steps⌋, the length W of the warm-up.

    Raises:
        ValueError: if there are no steps or the fraction is not in [0, 1).
    """
    if steps < 1 or not 0 <= fraction < 1:
        raise ValueError(f"a schedule needs steps >= 1 and a warm-up fraction in [0, 1), got {steps} and {fraction}")
    return math.floor(fraction * steps)


def likelihood_rate_factor(step: int, steps: int, warmup_fraction: float = 0.06) -> float:
    """Return what multiplies the learning rate of the likelihood: linear warm-up, then linear decay.

    (step + 1) / W up to step W − 1, where it is 1; then (T − step − 1) / (T − W), which is 0 at the last step T − 1.

    Args:
        step: t >= 0; from T on the factor stays 0.
        steps: T.
        warmup_fraction: W / T.
    """
    warmup = warmup_steps(steps, warmup_fraction)
    if step + 1 <= warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step - 1) / (steps - warmup))


def cycle_length(examples: int, batch: int, gamma: float = 8.0) -> int:
    """Return M = ⌊100 · N^(π/γ) / batch⌋, the steps of one cycle of BLoB's reference schedule, at least 1.

    Args:
        examples: N, the number of training examples.
        batch: examples in one update.
        gamma: γ; the exponent's π is the circle constant.

    Raises:
        ValueError: if an argument is not positive.
    """
    if examples < 1 or batch < 1 or gamma <= 0:
        raise ValueError(f"examples, batch and gamma must be positive, got {examples}, {batch} and {gamma}")
    return max(1, int(100 * examples ** (math.pi / gamma) / batch))


def cycle_weight(position: int, length: int) -> float:
    """Return π_i = 2^i / (2^(M+1) − 1) for the i-th step of a cycle of M, without overflow for any M.

    The weights of a cycle sum to (2^(M+1) − 2) / (2^(M+1) − 1): nearly 1, half of it at the last step.

    Args:
        position: i in 1..M.
        length: M.

    Raises:
        ValueError: if ``position`` is not in the cycle.
    """
    if not 1 <= position <= length:
        raise ValueError(f"a cycle of {length} steps has no step {position}")
    return math.ldexp(1.0, position - length - 1) / (1.0 - math.ldexp(1.0, -length - 1))


def reference_warmup_and_decay(step: int, steps: int, warmup_fraction: float = 0.06) -> float:
    """Return step / W before step W, then (T − step) / (T − W): the reference's schedule for the divergence, per cycle.

    It lags :func:`likelihood_rate_factor` by one step: it is 0 at the first step and not yet 0 at the last.

    Args:
        step: t in 0..T−1.
        steps: T.
        warmup_fraction: W / T.
    """
    warmup = warmup_steps(steps, warmup_fraction)
    return step / warmup if step < warmup else max(0.0, (steps - step) / (steps - warmup))


def reference_divergence_rate_factor(step: int, steps: int, length: int, warmup_fraction: float = 0.06) -> float:
    """Return what multiplies the learning rate of the reference's own optimiser of the divergence.

    :func:`reference_warmup_and_decay` times the cycle's weight π_i with i = (step mod M) + 1. Because of the second,
    the divergence acts in bursts of about ten steps at the end of each cycle.

    Args:
        step: t in 0..T−1.
        steps: T.
        length: M, see :func:`cycle_length`.
        warmup_fraction: W / T.
    """
    return reference_warmup_and_decay(step, steps, warmup_fraction) * cycle_weight(step % length + 1, length)


def divergence_weight(
    step: int, steps: int, examples: int, temperature: float = 1.0, warmup_fraction: float = 0.06
) -> float:
    """Return the weight of KL(q‖p) beside the mean negative log-likelihood: τ · min(1, (step + 1) / W) / N.

    With τ = 1, after the warm-up, the objective is the negative evidence lower bound divided by N.

    Args:
        step: t >= 0.
        steps: T.
        examples: N, the number of training examples.
        temperature: τ; below 1 the posterior is a cold one, 0 switches the divergence off.
        warmup_fraction: W / T; 0 for full weight from the first step.

    Raises:
        ValueError: if there are no examples or the temperature is negative.
    """
    if examples < 1 or temperature < 0:
        raise ValueError(f"examples must be positive and the temperature not negative, got {examples}, {temperature}")
    warmup = warmup_steps(steps, warmup_fraction)
    return temperature / examples * (min(1.0, (step + 1) / warmup) if warmup else 1.0)
