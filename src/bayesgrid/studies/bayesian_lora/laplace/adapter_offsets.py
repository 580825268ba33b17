"""From flat weight vectors to adapters: how a module's ``P_m`` weights are ordered in Jacobians and draws.

A module's weights are its first factor ``a [r, d_in]`` row by row, then its second factor ``b [d_out, r]`` row by row.
"""

from collections.abc import Mapping

from torch import Tensor

from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.errors import StateError

__all__ = ["factor_matrices", "shift_adapter"]


def factor_matrices(vectors: Tensor, pair: LowRankPair) -> tuple[Tensor, Tensor]:
    """Return views of ``vectors [..., P_m]`` as ``[..., r, d_in]`` and ``[..., d_out, r]``, the shapes of ``pair``.

    Raises:
        StateError: if the vectors have another length than the pair has weights.
    """
    first = pair.a.numel()
    if vectors.shape[-1] != first + pair.b.numel():
        raise StateError(
            "weight vectors of another length than the adapter",
            given=vectors.shape[-1],
            allowed=first + pair.b.numel(),
        )
    leading = vectors.shape[:-1]
    return vectors[..., :first].reshape(*leading, *pair.a.shape), vectors[..., first:].reshape(*leading, *pair.b.shape)


def shift_adapter(mean: AdapterWeights, offsets: Mapping[str, Tensor]) -> AdapterWeights:
    """Return an ordinary adapter: ``mean`` plus one draw of weight offsets, ``[P_m]`` by module.

    Raises:
        StateError: if the offsets are for other modules or sizes.
    """
    if set(offsets) != set(mean.pairs):
        raise StateError(
            "the weight offsets are for other modules than the adapter",
            given=sorted(set(offsets) ^ set(mean.pairs))[:3],
        )
    pairs = {}
    for name, pair in mean.pairs.items():
        a, b = factor_matrices(offsets[name], pair)
        pairs[name] = LowRankPair(pair.a + a.to(pair.a), pair.b + b.to(pair.b))
    return AdapterWeights(pairs, mean.scaling)
