"""Kullback–Leibler divergences between factorised Gaussians, and the energy of a Gaussian prior, one value per slot."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "DivergenceDirection",
    "gaussian_divergence",
    "prior_energy",
    "reference_blob_divergence",
]

DivergenceDirection = Literal["posterior_to_prior", "prior_to_posterior"]
"""``posterior_to_prior`` is KL(q‖p), the term of an evidence lower bound; the other is KL(p‖q)."""

_SERIES_RADIUS = 0.1
_SERIES_TERMS = 8
_REFERENCE_EPSILON = 1e-6


def _width_part(ratio: Tensor, offset: Tensor) -> Tensor:
    # ½(ρ² − 1) − log ρ with ρ = 1 + t. Near ρ = 1 both terms are of order t while their difference is of order t², so
    # there it is ½t² + (t − log(1 + t)) = ½t² + t² Σ (−t)^k / (k + 2).
    near = offset.abs() < _SERIES_RADIUS
    t = torch.where(near, offset, torch.zeros_like(offset))
    series = torch.full_like(t, 1 / (_SERIES_TERMS + 1))
    for k in range(_SERIES_TERMS - 2, -1, -1):
        series = 1 / (k + 2) - t * series
    far = torch.where(near, torch.full_like(ratio, 2.0), ratio)
    return torch.where(near, t.square() * (0.5 + series), 0.5 * (far.square() - 1) - far.log())


def gaussian_divergence(
    mean: Tensor,
    deviation: Tensor,
    prior_mean: Tensor | float,
    prior_deviation: Tensor | float,
    direction: DivergenceDirection = "posterior_to_prior",
) -> Tensor:
    """Return the divergence between N(mean, deviation²) and the prior, summed over everything but the slots.

    KL(q‖p) = Σ log(σ_p / σ_q) + (σ_q² + (μ_q − μ_p)²) / (2 σ_p²) − ½. Each summand is non-negative and computed without
    the cancellation between its terms, so that float32 is accurate to 1e-6 (relative) even where q is close to p.

    Args:
        mean: μ_q, ``[K, ...]``.
        deviation: σ_q > 0, same shape. A value that is not positive gives an infinite or undefined result.
        prior_mean: μ_p, a number or a tensor that broadcasts to ``mean``.
        prior_deviation: σ_p > 0, likewise.
        direction: ``posterior_to_prior`` for KL(q‖p), ``prior_to_posterior`` for KL(p‖q).

    Returns:
        ``[K]``, in the type of ``mean``.
    """
    prior_mean = torch.as_tensor(prior_mean, dtype=mean.dtype, device=mean.device)
    prior_deviation = torch.as_tensor(prior_deviation, dtype=mean.dtype, device=mean.device)
    inner, outer = (deviation, prior_deviation) if direction == "posterior_to_prior" else (prior_deviation, deviation)
    summands = _width_part(inner / outer, (inner - outer) / outer) + 0.5 * ((mean - prior_mean) / outer).square()
    return summands.reshape(mean.shape[0], -1).sum(1)


def reference_blob_divergence(mean: Tensor, deviation: Tensor, prior_deviation: float = 0.2) -> Tensor:
    """Return what BLoB's reference code computes in place of KL(q(A)‖N(0, β²)), ``[K]``.

    It adds 1e-6 inside both logarithms and to 2 β², which biases the value by a relative 1e-4 or so and lets it become
    negative close to the prior.

    Args:
        mean: M, ``[K, r, d]``.
        deviation: Ω >= 0, ``[K, r, d]``.
        prior_deviation: β.
    """
    summands = (
        math.log(prior_deviation + _REFERENCE_EPSILON)
        - (deviation + _REFERENCE_EPSILON).log()
        + (deviation.square() + mean.square()) / (2 * prior_deviation**2 + _REFERENCE_EPSILON)
        - 0.5
    )
    return summands.reshape(mean.shape[0], -1).sum(1)


def prior_energy(weights: Iterable[Tensor], prior_deviation: float) -> Tensor:
    """Return ‖θ‖² / (2 σ_p²), the negative log density of θ under N(0, σ_p²) up to a constant, ``[K]``.

    Divided by the number of training examples and added to the mean loss it makes the optimum the MAP estimate.

    Args:
        weights: all factors of the adapters, each ``[K, ...]``.
        prior_deviation: σ_p > 0.

    Raises:
        ValueError: if there are no weights or ``prior_deviation`` is not positive.
    """
    if prior_deviation <= 0:
        raise ValueError(f"the prior needs a positive deviation, got {prior_deviation}")
    norms = [factor.reshape(factor.shape[0], -1).square().sum(1) for factor in weights]
    if not norms:
        raise ValueError("the energy of a prior needs at least one tensor of weights")
    return torch.stack(norms).sum(0) / (2 * prior_deviation**2)
