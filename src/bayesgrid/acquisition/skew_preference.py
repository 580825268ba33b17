"""Scores of pairs under a skew-symmetric preference model, and their moments when the embeddings are uncertain.

A response has an embedding ``v`` in ``R^d``, d even, read as d/2 blocks of two. A pair scores

``s(i, j) = <R v_i, v_j> = sum_l g_l (v_i[2l] v_j[2l+1] - v_i[2l+1] v_j[2l])``,

with ``R`` block-diagonal of ``g_l [[0, -1], [1, 0]]`` and multipliers ``g`` (the gate, 1 where there is none). A score
above 0 prefers the first. ``R`` is never built. The moments take the two embeddings to be independent:

- Euclidean: ``v ~ N(m, S)``. ``E s = s(m_i, m_j)`` and ``Var s = a^T S_j a + b^T S_i b + tr(R S_i R^T S_j)`` with
  ``a = R m_i``, ``b = R^T m_j``.
- On the sphere, with ``M = E v v^T`` of :mod:`~bayesgrid.acquisition.projected_normal`: ``E s = s(E v_i, E v_j)`` and
  ``Var s = tr(R M_i R^T M_j) - (E s)^2``.

Source: Zhang et al. (2024), Beyond Bradley-Terry Models: A General Preference Model for Language Model Alignment, arXiv
2410.02197, definition 4.3 (the score).
"""

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.compilation import compiled, compiled_with
from bayesgrid.acquisition.projected_normal import ResponseMoments, projected_normal_moments
from bayesgrid.errors import DataError

__all__ = [
    "ResponseMoments",
    "euclidean_variance",
    "pair_score",
    "projected_normal_moments",
    "sphere_pair_moments",
]

_Array = npt.NDArray[np.float64]

_PAIRS_AT_ONCE = 65_536
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


def pair_score(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], gate: npt.NDArray[np.floating] | None = None
) -> _Array:
    """Return ``s``, `[N]`, of pairs of embeddings `[N, d]`; swapping the two changes its sign alone.

    Args:
        first: embeddings of the responses that a positive score prefers.
        second: embeddings of the others.
        gate: multipliers of the blocks, `[N, d/2]` or `[d/2]`.

    Raises:
        DataError: if the shapes do not fit, or d is odd.
    """
    i, j = _embeddings(first, second)
    scores = np.empty(len(i))
    _scores(i, j, _multipliers(gate, (len(i), i.shape[1] // 2)), scores)
    return scores


def euclidean_variance(
    mean_1: npt.NDArray[np.floating],
    var_1: npt.NDArray[np.floating],
    mean_2: npt.NDArray[np.floating],
    var_2: npt.NDArray[np.floating],
    gate: npt.NDArray[np.floating] | None = None,
) -> _Array:
    """Return ``Var s``, `[N]`, for independent Gaussian embeddings.

    Args:
        mean_1: `[N, d]`, of the first responses.
        var_1: `[N, d]` variances, or `[N, d, d]` covariances.
        mean_2: `[N, d]`, of the second responses.
        var_2: as ``var_1``, of the same rank.
        gate: multipliers of the blocks, `[N, d/2]` or `[d/2]`.

    Raises:
        DataError: if the shapes do not fit, or d is odd.
    """
    i, j = _embeddings(mean_1, mean_2)
    pairs, size = i.shape
    if var_1.shape != var_2.shape or var_1.shape not in ((pairs, size), (pairs, size, size)):
        raise DataError(
            "variances do not belong to the embeddings",
            given=f"{var_1.shape} and {var_2.shape} for embeddings {i.shape}",
            allowed="[N, d] both or [N, d, d] both",
        )
    multipliers = np.broadcast_to(_multipliers(gate, (pairs, size // 2)), (pairs, size // 2))
    found = np.empty(pairs)
    for start in range(0, pairs, _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        repeated = np.repeat(multipliers[part], 2, axis=1)
        rotated_first = repeated * _rotated(i[part])
        rotated_second = -repeated * _rotated(j[part])
        one, two = var_1[part].astype(np.float64), var_2[part].astype(np.float64)
        rule = _diagonal_variance if one.ndim == 2 else _full_variance
        found[part] = rule(repeated, rotated_first, rotated_second, one, two)
    return found


def sphere_pair_moments(
    moments: ResponseMoments,
    first: npt.NDArray[np.integer],
    second: npt.NDArray[np.integer],
    gate: npt.NDArray[np.floating] | None = None,
) -> tuple[_Array, _Array]:
    """Return mean and variance of ``s``, `[N]` each, for pairs of independent responses on the sphere.

    O(N d^2) time, and no memory beyond the result. A variance that is rounding alone is 0.

    Args:
        moments: of n responses.
        first: `[N]`, positions of the responses that a positive score prefers.
        second: `[N]`, positions of the others.
        gate: multipliers of the blocks, `[N, d/2]` or `[d/2]`.

    Raises:
        DataError: if the shapes do not fit, d is odd, or a position is not within 0 .. n - 1.
    """
    responses, size = moments.mean.shape
    _check_even(size)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError("pairs are not two lists of one length", given=f"{first.shape} and {second.shape}")
    for side in (first, second):
        if side.size and not (int(side.min()) >= 0 and int(side.max()) < responses):
            raise DataError(
                "a pair names a response that is not there",
                given=f"from {int(side.min())} to {int(side.max())}",
                allowed=f"from 0 to {responses - 1}",
            )
    multipliers = _multipliers(gate, (len(first), size // 2))
    mean, variance = np.empty(len(first)), np.empty(len(first))
    _pair_moments(
        moments.mean,
        moments.second_moment,
        first.astype(np.int64),
        second.astype(np.int64),
        multipliers,
        mean,
        variance,
    )
    return mean, variance


def _check_even(size: int) -> None:
    if size < 2 or size % 2:
        raise DataError("embeddings are not made of blocks of two", given=f"d = {size}", allowed="even, 2 or greater")


def _embeddings(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> tuple[_Array, _Array]:
    if first.ndim != 2 or first.shape != second.shape:
        raise DataError("embeddings do not pair up", given=f"{first.shape} and {second.shape}", allowed="[N, d] both")
    _check_even(first.shape[1])
    return np.ascontiguousarray(first, dtype=np.float64), np.ascontiguousarray(second, dtype=np.float64)


def _multipliers(gate: npt.NDArray[np.floating] | None, shape: tuple[int, ...]) -> _Array:
    """Return the gate as `[1, d/2]` or `[N, d/2]`, for pairs and blocks in ``shape``."""
    if gate is None:
        return np.ones((1, shape[1]))
    if gate.shape not in (shape, shape[1:]):
        raise DataError("the gate does not belong to the pairs", given=gate.shape, allowed=f"{shape} or {shape[1:]}")
    return np.ascontiguousarray(gate if gate.ndim == 2 else gate[np.newaxis], dtype=np.float64)


def _diagonal_variance(gate: _Array, rotated_first: _Array, rotated_second: _Array, one: _Array, two: _Array) -> _Array:
    """Return the variance, `[N]`, from ``a``, ``b``, and the variances of the coordinates, all `[N, d]`."""
    swapped = gate**2 * one[:, _partners(one.shape[1])]
    terms = rotated_first**2 * two + rotated_second**2 * one + swapped * two
    summed: _Array = terms.sum(axis=1)
    return summed


def _full_variance(gate: _Array, rotated_first: _Array, rotated_second: _Array, one: _Array, two: _Array) -> _Array:
    """Return the variance, `[N]`, from ``a`` and ``b``, `[N, d]`, and the covariances `[N, d, d]`."""
    partners = _partners(one.shape[1])
    scale = np.tile([-1.0, 1.0], len(partners) // 2) * gate
    turned = scale[:, :, None] * one[:, partners][:, :, partners] * scale[:, None, :]
    variance: _Array = np.einsum("na,nab,nb->n", rotated_first, two, rotated_first)
    variance += np.einsum("na,nab,nb->n", rotated_second, one, rotated_second)
    variance += np.einsum("nab,nab->n", turned, two)
    return variance


def _partners(size: int) -> npt.NDArray[np.int64]:
    """Return for each coordinate the other one of its block."""
    return np.arange(size, dtype=np.int64) ^ 1


def _rotated(values: _Array) -> _Array:
    """Return every block `(a, b)` of ``values`` `[N, d]` as `(-b, a)`."""
    turned = values[:, _partners(values.shape[1])]
    turned[:, 0::2] *= -1.0
    return turned


# Strict arithmetic: contracted products would break the exact change of sign of a swapped pair.
@compiled_with
def _scores(first: _Array, second: _Array, multipliers: _Array, scores: _Array) -> None:
    """Write the score of each pair."""
    for pair in range(first.shape[0]):
        row = 0 if multipliers.shape[0] == 1 else pair
        total = 0.0
        for block in range(multipliers.shape[1]):
            low, high = 2 * block, 2 * block + 1
            turn = first[pair, low] * second[pair, high] - first[pair, high] * second[pair, low]
            total += multipliers[row, block] * turn
        scores[pair] = total


@compiled
def _pair_moments(
    means: _Array,
    seconds: _Array,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    multipliers: _Array,
    mean: _Array,
    variance: _Array,
) -> None:
    """Write the moments of each pair.

    With 0 and 1 the coordinates of a block, ``E s^2`` is the sum over blocks l and m of
    ``g_l g_m (A[l0,m0] B[l1,m1] + A[l1,m1] B[l0,m0] - A[l0,m1] B[l1,m0] - A[l1,m0] B[l0,m1])``.
    """
    blocks = multipliers.shape[1]
    for pair in range(first.shape[0]):
        i, j = first[pair], second[pair]
        row = 0 if multipliers.shape[0] == 1 else pair
        score, square, largest = 0.0, 0.0, 0.0
        for block in range(blocks):
            low, high = 2 * block, 2 * block + 1
            gate = multipliers[row, block]
            largest = max(largest, gate * gate)
            score += gate * (means[i, low] * means[j, high] - means[i, high] * means[j, low])
            inner = 0.0
            for other in range(block + 1):
                left, right = 2 * other, 2 * other + 1
                term = (
                    seconds[i, low, left] * seconds[j, high, right]
                    + seconds[i, high, right] * seconds[j, low, left]
                    - seconds[i, low, right] * seconds[j, high, left]
                    - seconds[i, high, left] * seconds[j, low, right]
                )
                inner += multipliers[row, other] * term * (1.0 if other == block else 2.0)
            square += gate * inner
        mean[pair] = score
        gap = square - score * score
        # No score on the sphere is larger than the largest multiplier, and rounding is relative to its square.
        variance[pair] = 0.0 if gap <= _ROUNDING * largest else gap
