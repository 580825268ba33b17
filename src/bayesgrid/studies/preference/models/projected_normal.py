"""Exact moments of a normal vector that is projected on the unit sphere, differentiable in its mean and variances.

For ``v = x / |x|`` with ``x ~ N(mean, diag variance)``, from ``1 / |x| = pi^(-1/2) int t^(-1/2) exp(-t |x|^2) dt`` and
``1 / |x|^2 = int exp(-t |x|^2) dt``, both over t > 0: with ``D_k = 1 + 2 t V_k``, ``m_k = mu_k / D_k`` and
``phi(t) = prod_k D_k^(-1/2) exp(-t mu_k^2 / D_k)``,

    E[v]     = pi^(-1/2) int t^(-1/2) phi m dt
    E[v v^T] = int phi (diag(V / D) + m m^T) dt

Substituting ``t = exp(x - exp(-x))`` makes both integrands vanish doubly exponentially to the left, where evenly spaced
nodes then converge geometrically.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SphereMoments", "sphere_moments", "sphere_score_moments", "uniform_divergence_bound"]

_LOWEST, _HIGHEST = -3.7, 17.0


@dataclass(frozen=True)
class SphereMoments:
    """Moments of unit vectors.

    Args:
        mean: ``[..., d]``.
        second: ``[..., d, d]``, ``E[v v^T]``, of trace 1.
    """

    mean: Tensor
    second: Tensor


def sphere_moments(mean: Tensor, variance: Tensor, *, nodes: int = 64) -> SphereMoments:
    """Return the moments of projected normal vectors with ``mean`` and ``variance`` ``[..., d]``.

    Only the ratio of mean and deviation matters, so means of any length do. In double precision the error is below 1e-8
    for 64 nodes and below 2e-5 for 32, for variances from 1e-4 to 100 times the squared length.
    """
    scale = (mean.square().sum(-1, keepdim=True) + variance.sum(-1, keepdim=True)).sqrt()
    mean, variance = mean / scale, variance / scale.square()
    step = (_HIGHEST - _LOWEST) / (nodes - 1)
    x = torch.linspace(_LOWEST, _HIGHEST, nodes, dtype=mean.dtype, device=mean.device)
    log_t = x - torch.exp(-x)
    jacobian = (1 + torch.exp(-x)) * step  # dt = t (1 + exp(-x)) dx
    t = log_t.exp().reshape(-1, *[1] * mean.dim())
    spread = 1 + 2 * t * variance  # [nodes, ..., d]
    centre = mean / spread
    log_phi = -(0.5 * spread.log() + t * mean * centre).sum(-1)  # [nodes, ...]
    outer = [1] * (mean.dim() - 1)
    flat_log_t, flat_jacobian = log_t.reshape(-1, *outer), jacobian.reshape(-1, *outer)
    first_weight = flat_jacobian * torch.exp(log_phi + 0.5 * flat_log_t) / math.sqrt(math.pi)
    second_weight = flat_jacobian * torch.exp(log_phi + flat_log_t)
    first = (first_weight[..., None] * centre).sum(0)
    products = torch.einsum("n...i,n...j->...ij", second_weight[..., None] * centre, centre)
    return SphereMoments(first, products + torch.diag_embed((second_weight[..., None] * variance / spread).sum(0)))


def sphere_score_moments(
    first: SphereMoments, second: SphereMoments, gate: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the skew-symmetric score of independent unit vectors, both ``[...]``.

    ``E[s] = <R E[v_i], E[v_j]>`` and ``E[s^2] = tr(R M_i R^T M_j)`` with ``M = E[v v^T]``.
    """
    turned_mean, turned_second = _turned(first, gate)
    score = (turned_mean * second.mean).sum(-1)
    square = (turned_second * second.second).sum((-1, -2))
    return score, (square - score.square()).clamp_min(0)


def _turned(moments: SphereMoments, gate: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return ``R E[v]`` and ``R M R^T``: within each block (a, b) becomes (-b, a), times the block's multiplier."""
    dimension = moments.mean.shape[-1]
    order = torch.arange(dimension, device=moments.mean.device) ^ 1
    sign = torch.ones(dimension, dtype=moments.mean.dtype, device=moments.mean.device)
    sign[0::2] = -1
    factor = sign if gate is None else sign * gate.repeat_interleave(2, dim=-1)
    second = moments.second[..., order, :][..., order]
    return factor * moments.mean[..., order], factor[..., :, None] * second * factor[..., None, :]


def uniform_divergence_bound(mean: Tensor, variance: Tensor) -> Tensor:
    """Return an upper bound, ``[...]``, on the divergence of projected normals ``[..., d]`` from the uniform one.

    ``1/2 sum_k log((|mu|^2 + tr V) / (d V_k))``: the divergence ``KL(N(c mu, c^2 V) || N(0, I))`` at the best scale c.
    Projection can only lose divergence, projects that normal prior to the uniform distribution whatever its width, and
    does not see the scale c; so an evidence bound with this term is one.
    """
    power = (mean.square() + variance).sum(-1, keepdim=True) / mean.shape[-1]
    return 0.5 * (power.log() - variance.log()).sum(-1)
