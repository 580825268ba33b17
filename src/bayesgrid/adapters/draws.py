"""Draws of a posterior over adapters: draw k depends on (seed, module, k) alone, whatever is drawn beside it."""

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bayesgrid.adapters.adapter_posterior import (
    GAUSSIAN_METHODS,
    POINT_METHODS,
    AdapterPosterior,
    check_posterior,
    drawn_modules,
    dropout_probability,
)
from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.random_streams import random_stream

__all__ = ["DrawScope", "draw_adapter", "draw_adapters"]

DrawScope: TypeAlias = Literal["all", "head"]


def draw_adapter(
    posterior: AdapterPosterior, index: int, *, seed: int, scope: DrawScope = "all", antithetic: bool = False
) -> AdapterWeights:
    """Return draw ``index`` of ``posterior``, as :func:`draw_adapters` does."""
    return next(draw_adapters(posterior, (index,), seed=seed, scope=scope, antithetic=antithetic))


def draw_adapters(
    posterior: AdapterPosterior,
    indices: Iterable[int],
    *,
    seed: int,
    scope: DrawScope = "all",
    antithetic: bool = False,
    purpose: str = "posterior draw",
) -> Iterator[AdapterWeights]:
    """Return the draws of ``indices``, one after the other, so that a wide stack can be filled slot by slot.

    Drawn factors are float32, on the device of the mean; modules that are not drawn are the mean's own.

    With E standard normal and the factors of each module independent of those of the others:

    - ``mle``, ``map``, ``zeroshot``: the mean.
    - ``mcdropout``: columns of A kept with probability 1 - p and divided by it: one mask over the input features per
      draw and module, the same for all tokens (Gal and Ghahramani, 2016).
    - ``ensemble``: member ``index mod K``.
    - ``blob``: ``A = M + Omega ∘ E`` (arXiv:2406.11675).
    - ``scalabl``: ``A = diag(mu + sigma ∘ e) V`` with e ``[r]`` (arXiv:2506.21408).
    - ``tfb``: ``A = A' + diag(sigma_q / d) E`` (arXiv:2412.05723, theorem 4.1).
    - ``ivon``: both factors plus their standard deviations times E.
    - ``laplace``: draw ``index`` of the stored ones, if any.

    Args:
        posterior: checked once, before the first draw.
        indices: numbers of the draws, each at least 0.
        seed: of the draws.
        scope: ``all``, or ``head`` to hold the decoder at its mean and draw the answer head alone.
        antithetic: make each odd draw the mirror image of the even draw before it, about the mean; even draws are the
            same with and without.
        purpose: part of the streams' names; draws that tune a posterior must not be those that are judged.

    Raises:
        StateError: if the posterior is not what its method needs, or a Laplace posterior holds no (such) draw.
        ConfigurationError: if an index is negative, if the scope is ``head`` but the head is not drawn or belongs to a
            member of an ensemble, or if ``antithetic`` is asked of a method without mirror images.
    """
    check_posterior(posterior)
    wanted = tuple(indices)
    if any(index < 0 for index in wanted) or seed < 0:
        raise ConfigurationError("seed and number of a draw must not be negative", given=(seed, *wanted))
    if scope not in ("all", "head"):
        raise ConfigurationError("unknown scope of draws", given=scope, allowed=("all", "head"))
    point = posterior.method in POINT_METHODS
    if antithetic and not point and posterior.method not in GAUSSIAN_METHODS:
        raise ConfigurationError("no antithetic draws", given=posterior.method, allowed=GAUSSIAN_METHODS)
    if scope == "head" and posterior.method == "ensemble":
        raise ConfigurationError(
            "the heads of an ensemble belong to their own decoders", given=scope, allowed="all", remedy="draw members"
        )
    if scope == "head" and not point and ANSWER_HEAD not in drawn_modules(posterior):
        raise ConfigurationError(
            "the answer head is not adapted or held at its mean, so it has no draws", given=scope, allowed="all"
        )
    return (_drawn(posterior, index, seed, scope, antithetic, purpose) for index in wanted)


def _drawn(
    posterior: AdapterPosterior, index: int, seed: int, scope: DrawScope, antithetic: bool, purpose: str
) -> AdapterWeights:
    mean = posterior.mean
    if posterior.method in POINT_METHODS:
        return mean
    if posterior.method == "ensemble":
        return posterior.members[index % len(posterior.members)]
    mirrored = antithetic and index % 2 == 1
    pairs = dict(mean.pairs)
    for name in drawn_modules(posterior):
        if scope == "all" or name == ANSWER_HEAD:
            stream = random_stream(seed, f"{purpose}/{name}", index - 1 if mirrored else index)
            pairs[name] = _draw_pair(posterior, name, index, stream, -1.0 if mirrored else 1.0)
    return AdapterWeights(pairs, mean.scaling)


def _draw_pair(
    posterior: AdapterPosterior, name: str, index: int, stream: np.random.Generator, sign: float
) -> LowRankPair:
    pair = LowRankPair(posterior.mean.pairs[name].a.float(), posterior.mean.pairs[name].b.float())
    device = pair.a.device

    def stored(tensor: str) -> Tensor:
        return posterior.tensors[f"{name}.{tensor}"].to(device, torch.float32)

    def normal_like(tensor: Tensor) -> Tensor:
        values = stream.standard_normal(tuple(tensor.shape), dtype=np.float32)
        return sign * torch.from_numpy(values).to(device)

    match posterior.method:
        case "mcdropout":
            return LowRankPair(pair.a * _feature_mask(dropout_probability(posterior), pair.a, stream), pair.b)
        case "blob":
            return LowRankPair(pair.a + stored("standard_deviation") * normal_like(pair.a), pair.b)
        case "scalabl":
            mean, deviation = stored("scale_mean"), stored("scale_standard_deviation")
            return LowRankPair((mean + deviation * normal_like(mean))[:, None] * stored("right"), pair.b)
        case "tfb":
            return LowRankPair(pair.a + stored("row_standard_deviation")[:, None] * normal_like(pair.a), pair.b)
        case "ivon":
            a = pair.a + stored("a_standard_deviation") * normal_like(pair.a)
            return LowRankPair(a, pair.b + stored("b_standard_deviation") * normal_like(pair.b))
        case _:
            return _stored_draw(posterior, name, index)


def _feature_mask(dropout: float, a: Tensor, stream: np.random.Generator) -> Tensor:
    kept = stream.random(a.shape[1]) >= dropout
    return torch.from_numpy(kept).to(a) / (1.0 - dropout)


def _stored_draw(posterior: AdapterPosterior, name: str, index: int) -> LowRankPair:
    a, b = (posterior.tensors.get(f"{name}.{tensor}") for tensor in ("draws_a", "draws_b"))
    if a is None or b is None:
        raise StateError(
            "a Laplace posterior answers through its Jacobians and holds no drawn weights",
            given=f"{name}: no draws_a and draws_b",
            remedy="`bayesgrid export` draws its weights from the curvature",
        )
    if index >= a.shape[0]:
        raise StateError("the posterior holds fewer draws", given=index, allowed=f"0 to {a.shape[0] - 1}")
    device = posterior.mean.pairs[name].a.device
    return LowRankPair(a[index].to(device, torch.float32), b[index].to(device, torch.float32))
