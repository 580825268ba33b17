"""Where the variational posteriors of BLoB and ScalaBL start, and how their deviations are parametrised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from bayesgrid.random_streams import random_stream

__all__ = [
    "BlobStart",
    "GaussianPrior",
    "ScalablStart",
    "aliased_prior",
    "blob_start",
    "deviation_of",
    "parameter_of",
    "reference_deviation_of",
    "scalabl_start",
    "scalabl_start_from",
]

_SMALLEST_DEVIATION = 1e-6
_PRIOR_MEAN_OFFSET = 1e-8


@dataclass(frozen=True)
class GaussianPrior:
    """A factorised Gaussian.

    Args:
        mean: ``[K, r]``, or a scalar that serves all.
        deviation: likewise, positive.
    """

    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class ScalablStart:
    """ScalaBL's update is ``γ b diag(s) v`` with s ~ N(mean, deviation²) (Samplawski et al., 2025, section 3).

    Args:
        directions: v, ``[K, r, d]``, orthonormal rows.
        mean: ``[K, r]``, positive; the parameter is its logarithm.
        deviation: ``[K, r]``, positive.
    """

    directions: Tensor
    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class BlobStart:
    """BLoB's first factor is N(mean, deviation²), entry by entry (Wang et al., 2024, section 3).

    Args:
        mean: M, ``[K, r, d]``.
        root: ρ, ``[K, r, d]``; the reference's deviation is Ω = ρ².
    """

    mean: Tensor
    root: Tensor


def _uniform(seed: int, name: str, low: float, high: float, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(random_stream(seed, name).uniform(low, high, shape).astype(np.float32))


def _kaiming(seeds: Sequence[int], name: str, rank: int, in_features: int) -> Tensor:
    # Kaiming-uniform with a = √5 is uniform on ±1/√d: a linear layer's default.
    bound = in_features**-0.5
    return torch.stack([_uniform(seed, name, -bound, bound, (rank, in_features)) for seed in seeds])


def scalabl_start_from(weight: Tensor, deviation: Tensor) -> ScalablStart:
    """Return the start whose directions and means are the right singular vectors and singular values of ``weight``.

    The sign of a singular vector is arbitrary; here the entry of largest size is positive, so that every linear-algebra
    library gives the same start. As ``b`` starts at zero, the sign changes nothing but the sign of a column of ``b``.

    Args:
        weight: ``[K, r, d]`` with r <= d.
        deviation: ``[K, r]``.
    """
    _, values, directions = torch.linalg.svd(weight, full_matrices=False)
    largest = directions.abs().argmax(-1, keepdim=True)
    return ScalablStart(directions * directions.gather(-1, largest).sign(), values, deviation)


def scalabl_start(
    seeds: Sequence[int], module: str, rank: int, in_features: int, largest_deviation: float = 0.05
) -> ScalablStart:
    """Return ScalaBL's random start for one layer, one slot per seed.

    The means, singular values of a Kaiming-uniform ``[r, d]`` draw, are about 1/√3 = 0.577; the deviations are uniform
    on [ε/√2, ε].

    Args:
        seeds: one per slot.
        module: path of the layer, part of the streams' names.
        rank: r.
        in_features: d.
        largest_deviation: ε.
    """
    weight = _kaiming(seeds, f"scalabl initialisation/weight/{module}", rank, in_features)
    name = f"scalabl initialisation/deviation/{module}"
    low = largest_deviation / math.sqrt(2)
    return scalabl_start_from(
        weight, torch.stack([_uniform(seed, name, low, largest_deviation, (rank,)) for seed in seeds])
    )


def aliased_prior(deviation: Tensor) -> GaussianPrior:
    """Return the prior that ScalaBL's reference code uses: mean σ_0 + 1e-8 and deviation σ_0 + 1 instead of 0 and 1.

    There the tensor of zeros that the prior is made from is the memory of the posterior's deviation, which has been
    filled with the random start σ_0 by then.

    Args:
        deviation: σ_0, the start of the posterior's deviation, ``[K, r]``.
    """
    return GaussianPrior(deviation + _PRIOR_MEAN_OFFSET, deviation + 1.0)


def blob_start(seeds: Sequence[int], module: str, rank: int, in_features: int, largest_root: float = 0.05) -> BlobStart:
    """Return BLoB's random start for one layer, one slot per seed.

    M is Kaiming-uniform with a = √5, ρ uniform on [ε/√2, ε], so that the reference's Ω = ρ² lies in [ε²/2, ε²].

    Args:
        seeds: one per slot.
        module: path of the layer, part of the streams' names.
        rank: r.
        in_features: d.
        largest_root: ε.
    """
    name = f"blob initialisation/root/{module}"
    low = largest_root / math.sqrt(2)
    roots = [_uniform(seed, name, low, largest_root, (rank, in_features)) for seed in seeds]
    return BlobStart(_kaiming(seeds, f"blob initialisation/mean/{module}", rank, in_features), torch.stack(roots))


def reference_deviation_of(root: Tensor) -> Tensor:
    """Return Ω = ρ², BLoB's parametrisation; its gradient vanishes at 0 and ρ and −ρ mean the same."""
    return root.square()


def deviation_of(parameter: Tensor) -> Tensor:
    """Return σ = softplus(ρ) + 1e-6, positive and with a gradient everywhere."""
    return softplus(parameter) + _SMALLEST_DEVIATION


def parameter_of(deviation: Tensor) -> Tensor:
    """Return the ρ with ``deviation_of(ρ) == deviation``.

    Args:
        deviation: σ > 1e-6.

    Raises:
        ValueError: if a deviation is not above 1e-6.
    """
    above = deviation.double() - _SMALLEST_DEVIATION
    if bool((above <= 0).any()):
        raise ValueError(f"deviations must be above {_SMALLEST_DEVIATION}, got {float(deviation.min())}")
    return (above + torch.log(-torch.expm1(-above))).to(deviation.dtype)
