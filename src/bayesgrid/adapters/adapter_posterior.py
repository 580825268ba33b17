"""A posterior over low-rank adapters: its mean, and the tensors that each method needs beside the mean to be drawn."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.errors import NumericalError, StateError

__all__ = [
    "GAUSSIAN_METHODS",
    "JSON",
    "POINT_METHODS",
    "POSTERIOR_METHODS",
    "AdapterPosterior",
    "check_posterior",
    "drawn_modules",
    "dropout_probability",
    "require_plain_json",
]

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

POINT_METHODS = ("zeroshot", "mle", "map")
"""Methods whose every draw is the mean."""

GAUSSIAN_METHODS = ("blob", "scalabl", "tfb", "ivon")
"""Methods whose draws are the mean plus Gaussian noise, so that a draw has a mirror image."""

POSTERIOR_METHODS = (*POINT_METHODS, "mcdropout", "ensemble", *GAUSSIAN_METHODS, "laplace")

_Shape: TypeAlias = Callable[[LowRankPair], tuple[int, ...]]


def _of_a(pair: LowRankPair) -> tuple[int, ...]:
    return tuple(pair.a.shape)


def _of_b(pair: LowRankPair) -> tuple[int, ...]:
    return tuple(pair.b.shape)


def _of_rank(pair: LowRankPair) -> tuple[int, ...]:
    return (pair.rank,)


_TENSORS: dict[str, dict[str, _Shape]] = {
    "blob": {"standard_deviation": _of_a},
    "scalabl": {"scale_mean": _of_rank, "scale_standard_deviation": _of_rank, "right": _of_a},
    "tfb": {"row_standard_deviation": _of_rank},
    "ivon": {"a_standard_deviation": _of_a, "b_standard_deviation": _of_b},
}
_LAPLACE_DRAWS: dict[str, _Shape] = {"draws_a": _of_a, "draws_b": _of_b}


@dataclass(frozen=True, eq=False)
class AdapterPosterior:
    """What a fitted method knows about the adapter.

    Args:
        method: one of :data:`POSTERIOR_METHODS`.
        mean: the adapter that the draws scatter about; of an ensemble, member 0; of TFB, the rotated factors.
        tensors: ``<module>.<tensor>`` -> values, float32, for every drawn module (A ``[r, d_in]``, B ``[d_out, r]``):

            - ``blob``: ``standard_deviation [r, d_in]`` of the elements of A (arXiv:2406.11675);
            - ``scalabl``: ``scale_mean [r]``, ``scale_standard_deviation [r]``, ``right [r, d_in]``, with
              ``A = diag(scale) right`` (arXiv:2506.21408);
            - ``tfb``: ``row_standard_deviation [r]`` of the rows of ``A'`` (arXiv:2412.05723, theorem 4.1);
            - ``ivon``: ``a_standard_deviation [r, d_in]``, ``b_standard_deviation [d_out, r]``;
            - ``laplace``: any, such as the curvature that the study's own draws need; drawn here only if ``draws_a
              [S, r, d_in]`` and ``draws_b [S, d_out, r]`` are there;
            - the other methods: none.
        settings: plain JSON that the draws need: ``dropout`` of ``mcdropout``, a probability below 1; for any method
            ``deterministic_modules``, the modules that stay at their mean and so need no tensors.
        members: of an ensemble, all of its adapters, member 0 first.
    """

    method: str
    mean: AdapterWeights
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, JSON] = field(default_factory=dict)
    members: tuple[AdapterWeights, ...] = ()


def drawn_modules(posterior: AdapterPosterior) -> tuple[str, ...]:
    """Return the modules that are not held at their mean, in order of name."""
    held = posterior.settings.get("deterministic_modules", [])
    return tuple(name for name in sorted(posterior.mean.pairs) if not (isinstance(held, list) and name in held))


def dropout_probability(posterior: AdapterPosterior) -> float:
    """Return the share of input features that ``mcdropout`` drops.

    Raises:
        StateError: if the settings hold no such number in [0, 1).
    """
    dropout = posterior.settings.get("dropout")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise StateError("dropout is no probability below 1", given=dropout, allowed="[0, 1)")
    return float(dropout)


def require_plain_json(value: object, what: str, where: str | None = None) -> None:
    """Refuse a value that JSON would change or cannot hold: tuples, arrays, NaN, keys that are no strings.

    Raises:
        StateError: naming ``what`` the value is.
    """
    try:
        plain = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        plain = False
    if not plain:
        raise StateError(f"{what} must be plain JSON", where=where, given=value)


def check_posterior(posterior: AdapterPosterior, *, where: str | None = None) -> None:
    """Refuse a posterior that cannot be drawn as its method says.

    Raises:
        StateError: if the method is unknown; if a tensor is missing, unknown, of another shape, negative where it is a
            standard deviation, or at odds with the mean; if settings are not plain JSON; if members do not fit.
        NumericalError: if the mean, a member or a tensor holds NaN or infinity.
    """
    if posterior.method not in POSTERIOR_METHODS:
        raise StateError("unknown method", where=where, given=posterior.method, allowed=POSTERIOR_METHODS)
    _check_settings(posterior, where)
    _check_members(posterior, where)
    for weights in (posterior.mean, *posterior.members):
        for name, pair in weights.pairs.items():
            if not bool(torch.isfinite(pair.a).all() and torch.isfinite(pair.b).all()):
                raise NumericalError("an adapter of the posterior holds NaN or infinity", where=where, given=name)
    for name, tensor in posterior.tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise NumericalError("a tensor of the posterior holds NaN or infinity", where=where, given=name)
        if name.endswith("standard_deviation") and bool((tensor < 0).any()):
            raise StateError("a negative standard deviation", where=where, given=f"{name}: {float(tensor.min())}")
    drawn = drawn_modules(posterior)
    if posterior.method == "laplace":
        _check_laplace_draws(posterior, drawn, where)
        return
    contract = _TENSORS.get(posterior.method, {})
    expected = {
        f"{name}.{tensor}": shape(posterior.mean.pairs[name]) for name in drawn for tensor, shape in contract.items()
    }
    _check_shapes(posterior.tensors, expected, where)
    if posterior.method == "scalabl":
        _check_scalabl_mean(posterior, drawn, where)


def _check_settings(posterior: AdapterPosterior, where: str | None) -> None:
    settings = dict(posterior.settings)
    require_plain_json(settings, "the settings of a posterior", where)
    held = settings.get("deterministic_modules", [])
    if not isinstance(held, list) or not set(map(str, held)) <= set(posterior.mean.pairs):
        raise StateError(
            "deterministic_modules is no list of adapted modules",
            where=where,
            given=held,
            allowed=sorted(posterior.mean.pairs)[:4],
        )
    if posterior.method == "mcdropout":
        dropout_probability(posterior)


def _check_members(posterior: AdapterPosterior, where: str | None) -> None:
    if (posterior.method == "ensemble") != bool(posterior.members):
        raise StateError(
            "an ensemble has members, and no other method has any",
            where=where,
            given=f"{posterior.method} with {len(posterior.members)} members",
        )
    mean = posterior.mean
    for number, member in enumerate(posterior.members):
        shapes = {name: (_of_a(pair), _of_b(pair)) for name, pair in member.pairs.items()}
        if shapes != {name: (_of_a(pair), _of_b(pair)) for name, pair in mean.pairs.items()}:
            raise StateError("a member adapts other layers than the mean", where=where, given=f"member {number}")
    if posterior.members and not all(
        torch.equal(pair.a, mean.pairs[name].a) and torch.equal(pair.b, mean.pairs[name].b)
        for name, pair in posterior.members[0].pairs.items()
    ):
        raise StateError("the mean of an ensemble's posterior is not its member 0", where=where)


def _check_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], where: str | None) -> None:
    missing, unknown = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or unknown:
        raise StateError(
            "the tensors are not those that the method needs",
            where=where,
            given={"missing": missing[:3], "unknown": unknown[:3]},
            remedy="list modules that stay at their mean under settings['deterministic_modules']",
        )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise StateError(f"{name} has another shape", where=where, given=tuple(tensors[name].shape), allowed=shape)


def _check_laplace_draws(posterior: AdapterPosterior, drawn: tuple[str, ...], where: str | None) -> None:
    found = {name: tensor for name, tensor in posterior.tensors.items() if name.rpartition(".")[2] in _LAPLACE_DRAWS}
    if not found:
        return
    count = max(len(tensor) if tensor.dim() else 0 for tensor in found.values())
    expected = {
        f"{name}.{tensor}": (count, *shape(posterior.mean.pairs[name]))
        for name in drawn
        for tensor, shape in _LAPLACE_DRAWS.items()
    }
    _check_shapes(found, expected, where)


def _check_scalabl_mean(posterior: AdapterPosterior, drawn: tuple[str, ...], where: str | None) -> None:
    for name in drawn:
        tensors = {tensor: posterior.tensors[f"{name}.{tensor}"] for tensor in ("scale_mean", "right")}
        mean = tensors["scale_mean"][:, None] * tensors["right"]
        if not torch.allclose(mean, posterior.mean.pairs[name].a.to(mean), rtol=1e-5, atol=1e-7):
            raise StateError("the mean of A is not diag(scale_mean) right", where=where, given=name)
