"""Weights drawn from a Laplace posterior, as an ordinary adapter.

The draws have the posterior's Gaussian exactly. Laplace's answers are those of the model linearised in the weights; the
network itself, with drawn weights in it, is not linear, so its answers differ from them and are usually worse (Immer,
Korzepa, Bauer (2021), Improving predictions of Bayesian neural nets via local linearization, arXiv 2008.08400).
"""

from collections.abc import Mapping

from torch import Tensor

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.errors import StateError
from bayesgrid.studies.bayesian_lora.laplace.adapter_offsets import shift_adapter
from bayesgrid.studies.bayesian_lora.laplace.dual import DualLaplace
from bayesgrid.studies.bayesian_lora.laplace.kronecker import KroneckerLaplace

__all__ = ["draw_laplace_adapter", "share_as_wide_as_prior"]


def draw_laplace_adapter(posterior: AdapterPosterior, index: int, *, seed: int) -> AdapterWeights:
    """Return the mean plus draw ``index`` of the weight offsets; layers that the curvature leaves out keep their mean.

    The draw is a function of (posterior, seed, index) alone.

    Args:
        posterior: of method ``laplace``, of either structure.
        index: number of the draw.
        seed: of the draws.

    Raises:
        StateError: if the tensors are no Laplace posterior, or are of other layers than the mean.
    """
    kronecker = posterior.settings.get("structure") == "kronecker"
    drawn = _kronecker(posterior, index, seed) if kronecker else _dual(posterior, index, seed)
    return AdapterWeights({**posterior.mean.pairs, **drawn}, posterior.mean.scaling)


def share_as_wide_as_prior(posterior: AdapterPosterior) -> float:
    """Return in which share of the directions the deviation is above half that of the prior.

    Directions are those in which the posterior is independent. One of curvature kappa has the deviation ``(kappa +
    delta)^-1/2`` for the prior's ``delta^-1/2``, so kappa is below 3 delta in such a direction; there are as many
    directions as weights, and those without an eigenvalue have no curvature.

    Raises:
        StateError: if the tensors are no Laplace posterior.
    """
    if posterior.settings.get("structure") == "kronecker":
        kronecker = KroneckerLaplace.from_tensors(posterior.tensors)
        blocks = kronecker.blocks.values()
        weights = sum(len(block.output_basis) * len(block.input_basis) for block in blocks)
        determined = sum(int((block.eigenvalues >= 3 * kronecker.precision).sum()) for block in blocks)
        return 1 - determined / weights
    dual = DualLaplace.from_tensors(posterior.tensors)
    weights = sum(rows.shape[1] for rows in dual.rows.values())
    return 1 - int((dual.eigenvalues >= 3 * dual.precision).sum()) / weights


def _dual(posterior: AdapterPosterior, index: int, seed: int) -> dict[str, LowRankPair]:
    fitted = DualLaplace.from_tensors(posterior.tensors)
    covered = _covered(posterior, set(fitted.rows))
    offsets = {name: drawn[0] for name, drawn in fitted.weight_offsets([index], seed).items()}
    return dict(shift_adapter(AdapterWeights(covered, posterior.mean.scaling), offsets).pairs)


def _kronecker(posterior: AdapterPosterior, index: int, seed: int) -> dict[str, LowRankPair]:
    fitted = KroneckerLaplace.from_tensors(posterior.tensors)
    covered = _covered(posterior, {name.rpartition(".")[0] for name in fitted.blocks})
    offsets = {name: drawn[0] for name, drawn in fitted.weight_offsets([index], seed).items()}
    matrices = {f"{name}.{letter}": factor for name, pair in covered.items() for letter, factor in _factors(pair)}
    if _shapes(matrices) != _shapes(offsets):
        raise StateError("the curvature is of other matrices than the adapter", given=sorted(offsets)[:3])
    drawn = {name: factor + offsets[name].to(factor) for name, factor in matrices.items()}
    return {name: LowRankPair(drawn[f"{name}.a"], drawn[f"{name}.b"]) for name in covered}


def _factors(pair: LowRankPair) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
    return ("a", pair.a), ("b", pair.b)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _covered(posterior: AdapterPosterior, names: set[str]) -> dict[str, LowRankPair]:
    unknown = sorted(names - set(posterior.mean.pairs))
    if unknown:
        raise StateError("the curvature is of layers that the adapter does not change", given=", ".join(unknown[:3]))
    return {name: pair for name, pair in posterior.mean.pairs.items() if name in names}
