"""Probabilities and draws of a softmax whose logits are Gaussian: ``integral of softmax(f) N(f; mean, covariance) df``.

A common shift of all logits changes no probability, so only the differences to the first logit are drawn: C - 1
Gaussian variables, one when there are two classes. Their covariance may be singular: its symmetric square root is used,
which exists for every positive semi-definite matrix, is unique and does not depend on the signs that an eigen-solver
happens to choose.

Sources: MacKay (1992), The evidence framework applied to classification networks (probit approximation); Sobol' points
with Owen's scrambling as in scipy.stats.qmc.
"""

import math

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from bayesgrid.errors import NumericalError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.laplace.softmax_curvature import present_options

__all__ = [
    "expected_probabilities",
    "expected_sigmoid",
    "gaussian_logit_draws",
    "probit_sigmoid",
    "quasi_random_normals",
]

_WIDE = 1.0
"""Variance above which the mean of a sigmoid is integrated over the logistic variable."""

_REACH, _STEP = 36.0, 0.75
"""Where the trapezoid rule over the logistic variable ends, where its density is 2e-16, and its step."""


def expected_sigmoid(mean: Tensor, variance: Tensor, *, nodes: int = 32) -> Tensor:
    """Return the mean of ``sigmoid(f)`` for ``f ~ N(mean, variance)``, elementwise, float64, to about 1e-8.

    Up to a variance of 1 by Gauss-Hermite quadrature. Above, the poles of the sigmoid at ``i pi`` come so near in units
    of the standard deviation that 32 nodes are off by 1e-2 at a variance of 100; there the roles change: the sigmoid is
    the distribution function of a logistic variable x, so the mean is that of ``Phi((mean - x) / deviation)`` over x,
    which the trapezoid rule integrates with an error that falls exponentially in its number of points.

    Args:
        mean: any shape.
        variance: the same shape, at least 0.
        nodes: of the Gauss-Hermite rule.
    """
    centre, spread = mean.double(), variance.double().clamp(min=0)
    hermite, weights = (torch.from_numpy(values).to(mean.device) for values in np.polynomial.hermite.hermgauss(nodes))
    narrow = torch.sigmoid(centre[..., None] + (2 * spread.clamp(max=_WIDE)).sqrt()[..., None] * hermite)
    narrow = (narrow * weights).sum(-1) / math.sqrt(math.pi)
    logistic = torch.arange(-_REACH, _REACH + _STEP / 2, _STEP, dtype=torch.float64, device=mean.device)
    density = torch.sigmoid(logistic) * torch.sigmoid(-logistic) * _STEP
    deviations = (centre[..., None] - logistic) / spread.clamp(min=_WIDE).sqrt()[..., None]
    return torch.where(spread > _WIDE, (torch.special.ndtr(deviations) * density).sum(-1), narrow)


def probit_sigmoid(mean: Tensor, variance: Tensor) -> Tensor:
    """Return MacKay's approximation of :func:`expected_sigmoid`, ``sigmoid(mean / sqrt(1 + pi variance / 8))``."""
    return torch.sigmoid(mean.double() / (1 + math.pi / 8 * variance.double()).sqrt())


def quasi_random_normals(draws: int, dimensions: int, seed: int) -> Tensor:
    """Return the first ``draws`` points of a scrambled Sobol' sequence as normals, float64 ``[S, dimensions]``.

    Point s is a function of (seed, dimensions, s): more draws continue the same sequence. Powers of two are balanced
    best.
    """
    engine = qmc.Sobol(dimensions, scramble=True, bits=62, rng=random_stream(seed, "gaussian logits", dimensions))
    # The engine warns of sizes that are not powers of two, so whole powers are made and the rest left out.
    points = engine.random_base2(max(draws - 1, 0).bit_length())[:draws]
    inside = np.clip(points, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return torch.from_numpy(ndtri(inside))


def gaussian_logit_draws(
    mean: Tensor, covariance: Tensor, draws: int, seed: int, *, options: Tensor | None = None
) -> Tensor:
    """Return draws of logits whose differences have the distribution asked for, float64 ``[S, N, C]``.

    The first logit stays at its mean and the noise of the differences to it goes to the others, so a softmax of the
    draws is distributed as one of ``N(mean, covariance)``, and single logits are not. All examples share the same
    quasi-random points: a draw of an example depends on (seed, number of the draw) and on the example alone.

    Args:
        mean: ``[N, C]``.
        covariance: ``[N, C, C]``, positive semi-definite.
        draws: S, best a power of two.
        seed: of the points.
        options: ``[N]``, how many options each example has; the logits of absent ones stay at their mean.

    Raises:
        NumericalError: if a covariance among options present is not finite or clearly not positive semi-definite.
    """
    classes = mean.shape[1]
    noise = quasi_random_normals(draws, classes - 1, seed).to(mean.device)
    roots = _difference_roots(covariance, options)
    moved = torch.einsum("nij,sj->sni", roots, noise)
    return mean.double() + torch.nn.functional.pad(moved, (1, 0))


def expected_probabilities(
    mean: Tensor, covariance: Tensor, *, options: Tensor | None = None, draws: int = 512, seed: int = 0
) -> Tensor:
    """Return the mean of ``softmax(f)`` for ``f ~ N(mean, covariance)``, float64 ``[N, C]``; absent options get 0.

    Examples with two options are integrated by quadrature, the others over scrambled Sobol' points.

    Args:
        mean: ``[N, C]``.
        covariance: ``[N, C, C]``, positive semi-definite.
        options: ``[N]``, how many options each example has; None when all C.
        draws: number of points for examples with three options or more.
        seed: of the points.

    Raises:
        NumericalError: as :func:`gaussian_logit_draws`.
    """
    examples, classes = mean.shape
    present = present_options(options, examples, classes, mean.device).to(mean.device)
    counts = present.sum(1)
    result = torch.zeros(examples, classes, dtype=torch.float64, device=mean.device)
    result[:, 0] = 1.0
    pairs = counts == 2
    if bool(pairs.any()):
        pair = covariance[pairs].double()
        variance = pair[:, 0, 0] + pair[:, 1, 1] - pair[:, 0, 1] - pair[:, 1, 0]
        second = expected_sigmoid(mean[pairs, 1].double() - mean[pairs, 0].double(), variance)
        result[pairs, 0], result[pairs, 1] = 1 - second, second
    many = counts > 2
    if bool(many.any()):
        sampled = gaussian_logit_draws(mean[many], covariance[many], draws, seed, options=counts[many])
        result[many] = sampled.masked_fill(~present[many], -torch.inf).softmax(-1).mean(0)
    return result


def _difference_roots(covariance: Tensor, options: Tensor | None) -> Tensor:
    """Return symmetric square roots of the covariances of differences to the first logit, ``[N, C - 1, C - 1]``."""
    examples, classes = covariance.shape[:2]
    present = present_options(options, examples, classes, covariance.device).to(covariance.device)
    both = present[:, :, None] & present[:, None, :]
    known = covariance.double().masked_fill(~both, 0.0)
    differences = known[:, 1:, 1:] - known[:, 1:, :1] - known[:, :1, 1:] + known[:, :1, :1]
    differences = differences.masked_fill(~both[:, 1:, 1:], 0.0)
    finite = torch.isfinite(differences).flatten(1).all(1)
    if not bool(finite.all()):
        raise NumericalError("a covariance of logits is not finite", where=f"example {int((~finite).nonzero()[0, 0])}")
    values, vectors = torch.linalg.eigh((differences + differences.mT) / 2)
    bad = values.amin(1) < -1e-6 * (known.diagonal(dim1=1, dim2=2).abs().amax(1) + torch.finfo(torch.float64).tiny)
    if bool(bad.any()):
        example = int(bad.nonzero()[0, 0])
        raise NumericalError(
            "a covariance of logits is not positive semi-definite",
            where=f"example {example}",
            given=f"least eigenvalue {float(values[example].min()):.3g}",
        )
    root: Tensor = (vectors * values.clamp(min=0).sqrt()[:, None, :]) @ vectors.mT
    return root
