"""How the reference code of BGPM scores and chooses pairs, defects included; read by faithful modes alone.

With unit means ``mu``, variances ``V`` (diagonal) and ``S`` the swap of the two coordinates of each block:

- ``mv``: ``<mu_i^2, S V_j> + <mu_j^2, S V_i> + <V_i, S V_j>``. The variance for embeddings that are not projected to
  the sphere, though the model projects them, and without the gate. For equal variances it is the same for every pair.
- ``ucb``: ``|E s| + kappa sqrt(mv)``. Grows with the margin, so that it asks for what the model is surest of.
- ``bald``: 20 draws, other ones for every pair, and probabilities cut off at 1e-7 on both sides, which makes pairs that
  all draws agree on equal.

A batch is chosen by clusters whose k-means starts at the same rows for every seed, on features that mix unit means with
standard deviations far smaller; shares of the clusters are rounded and then corrected at the largest or the smallest.

Source: the rules of github.com/muhd-umer/b-gpm (b_gpm/active_learning) at commit 206d6ae; arithmetic in float64 where
the result can differ by rounding alone.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from bayesgrid.acquisition.selection import Choice, check_query_size
from bayesgrid.acquisition.skew_preference import euclidean_variance, pair_score
from bayesgrid.errors import ConfigurationError, DataError

__all__ = [
    "reference_bald",
    "reference_cluster_diverse",
    "reference_features",
    "reference_greedy_coreset",
    "reference_max_variance",
    "reference_ucb",
]

_Array = npt.NDArray[np.float64]
_Single = npt.NDArray[np.float32]

_CUT = 1e-7
_SHORTEST = 1e-12
_SOFTENING = 1e-8
_CLUSTER_SEED = 42
_CLUSTER_STEPS = 50


def reference_max_variance(mean_1: _Array, var_1: _Array, mean_2: _Array, var_2: _Array) -> _Array:
    """Return ``mv``, `[N]`, of pairs with means and variances `[N, d]`.

    Raises:
        DataError: if the shapes do not fit, or d is odd; so do all scores of this module.
    """
    return euclidean_variance(mean_1, var_1, mean_2, var_2)


def reference_ucb(mean_1: _Array, var_1: _Array, mean_2: _Array, var_2: _Array, kappa: float = 1.0) -> _Array:
    """Return ``ucb``, `[N]`, of pairs with means and variances `[N, d]`."""
    return np.abs(pair_score(mean_1, mean_2)) + kappa * np.sqrt(euclidean_variance(mean_1, var_1, mean_2, var_2))


def reference_bald(
    mean_1: _Array,
    var_1: _Array,
    mean_2: _Array,
    var_2: _Array,
    normals: npt.NDArray[np.floating],
    temperature: float = 0.1,
) -> _Array:
    """Return ``bald`` in nats, `[N]`, of pairs with means and variances `[N, d]`; noise may take it below 0.

    Args:
        mean_1: of the first responses.
        var_1: their variances.
        mean_2: of the second responses.
        var_2: their variances.
        normals: `[S, 2, N, d]` standard normal numbers, for the first and the second response of each draw; the
            reference has S = 20.
        temperature: tau, 0.1 in the reference whatever the model was trained with.

    Raises:
        ConfigurationError: if the temperature is not positive.
    """
    if not temperature > 0.0:
        raise ConfigurationError("the temperature must be positive", given=temperature, allowed="greater than 0")
    if normals.ndim != 4 or normals.shape[1:] != (2, *mean_1.shape) or not len(normals):
        raise DataError(
            "the normal numbers do not belong to the pairs",
            given=normals.shape,
            allowed=f"[S, 2, {mean_1.shape[0]}, {mean_1.shape[-1]}], S at least 1",
        )
    deviation_1, deviation_2 = np.sqrt(var_1), np.sqrt(var_2)
    total, entropies = np.zeros(len(mean_1)), np.zeros(len(mean_1))
    for first, second in normals:
        score = pair_score(_projected(mean_1 + first * deviation_1), _projected(mean_2 + second * deviation_2))
        probability = special.expit(score / temperature)
        total += probability
        entropies += _cut_entropy(probability)
    return _cut_entropy(total / len(normals)) - entropies / len(normals)


def reference_features(mean_1: _Array, var_1: _Array, mean_2: _Array, var_2: _Array) -> _Single:
    """Return the features of the choice, `[N, 4 d]`: both means, then both standard deviations."""
    return np.concatenate([mean_1, mean_2, np.sqrt(var_1), np.sqrt(var_2)], axis=1).astype(np.float32)


def reference_cluster_diverse(
    scores: npt.NDArray[np.floating],
    features: npt.NDArray[np.floating],
    query_size: int,
    clusters: int | None = None,
) -> Choice:
    """Choose the highest scores of each cluster, as many as the cluster's share of the sum of scores.

    Deterministic. A query of one or two takes the highest scores. O(n C) memory, O(n C h) time per step of k-means.

    Args:
        scores: `[n]`; a negative sum gives shares without meaning, as in the reference.
        features: `[n, h]`, see :func:`reference_features`.
        query_size: q.
        clusters: C; the square root of q, at least 2, where not given. At most q.

    Raises:
        DataError: if q is not within 1 .. n, the lengths differ, or a score is not finite.
        ConfigurationError: if there is no cluster.
    """
    values, points = _checked(scores, features, query_size)
    if clusters is not None and clusters < 1:
        raise ConfigurationError("a choice by clusters needs one", given=clusters, allowed="at least 1")
    if query_size <= 2:
        return _choice(np.argsort(-values, kind="stable")[:query_size])
    count = min(clusters or max(2, math.isqrt(query_size)), query_size)
    labels = _k_means(points, count)
    masses = [float(values[labels == cluster].sum(dtype=np.float32)) for cluster in range(count)]
    chosen: list[int] = []
    for cluster, share in enumerate(_shares(masses, query_size)):
        members = np.flatnonzero(labels == cluster)
        taken = min(share, len(members))
        if taken > 0:
            chosen.extend(members[np.argsort(values[members], kind="stable")[-taken:]].tolist())
    if len(chosen) < query_size:
        rest = np.setdiff1d(np.arange(len(values)), chosen)
        chosen.extend(rest[np.argsort(-values[rest], kind="stable")].tolist())
    return _choice(chosen[:query_size])


def reference_greedy_coreset(
    scores: npt.NDArray[np.floating],
    features: npt.NDArray[np.floating],
    query_size: int,
    score_weight: float = 0.5,
) -> Choice:
    """Choose one after another by a weighted sum of the score and the distance to what has been chosen.

    Scores are scaled to [0, 1], features to length 1 and distances by the largest one left. O(n h) memory, O(q n h)
    time: the distances are lowered with every choice, which the reference takes anew (O(q^2 n h)).

    Args:
        scores: `[n]`; the highest is chosen first.
        features: `[n, h]`.
        query_size: q.
        score_weight: 1 for the scores alone, 0 for the distances alone.

    Raises:
        DataError: as :func:`reference_cluster_diverse`.
        ConfigurationError: if the weight is not within 0 .. 1.
    """
    values, points = _checked(scores, features, query_size)
    if not 0.0 <= score_weight <= 1.0:
        raise ConfigurationError("the weight of the scores is a share", given=score_weight, allowed="from 0 to 1")
    points = points / (np.linalg.norm(points, axis=1, keepdims=True) + np.float32(_SOFTENING))
    wanted = (values - values.min()) / (values.max() - values.min() + np.float32(_SOFTENING))
    distances = np.full(len(values), np.inf, dtype=np.float32)
    chosen = [int(np.argmax(values))]
    while len(chosen) < query_size:
        distances = np.minimum(distances, np.linalg.norm(points - points[chosen[-1]], axis=1))
        combined = score_weight * wanted + (1.0 - score_weight) * distances / (distances.max() + _SOFTENING)
        combined[chosen] = -np.inf
        chosen.append(int(np.argmax(combined)))
    return _choice(chosen)


def _projected(values: _Array) -> _Array:
    unit: _Array = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), _SHORTEST)
    return unit


def _cut_entropy(probability: _Array) -> _Array:
    cut = np.clip(probability, _CUT, 1.0 - _CUT)
    return -cut * np.log(cut) - (1.0 - cut) * np.log(1.0 - cut)


def _checked(
    scores: npt.NDArray[np.floating], features: npt.NDArray[np.floating], query_size: int
) -> tuple[_Single, _Single]:
    check_query_size(query_size, scores.shape[0])
    if scores.ndim != 1 or features.ndim != 2 or features.shape[0] != scores.shape[0]:
        raise DataError(
            "scores and features do not belong together",
            given=f"{scores.shape} and {features.shape}",
            allowed="[n] and [n, h]",
        )
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise DataError("a score is not finite", where=f"candidate {int(wrong[0])}", given=float(scores[wrong[0]]))
    return scores.astype(np.float32), features.astype(np.float32)


def _choice(chosen: list[int] | npt.NDArray[np.int64]) -> Choice:
    return Choice(positions=np.asarray(chosen, dtype=np.int64), nonfinite=0)


def _shares(masses: list[float], query_size: int) -> list[int]:
    total = sum(masses) + _SOFTENING
    # Sums of mixed signs make shares of any size; none beyond q changes what the corrections below end with.
    shares = [min(query_size, max(1, round(query_size * mass / total))) for mass in masses]
    while sum(shares) > query_size:
        shares[int(np.argmax(shares))] -= 1
    while sum(shares) < query_size:
        shares[int(np.argmin(shares))] += 1
    return shares


def _k_means(points: _Single, clusters: int) -> npt.NDArray[np.int64]:
    """Return the cluster of each row, `[n]`; a cluster that runs empty keeps its centre."""
    drawn = np.random.default_rng(_CLUSTER_SEED).choice(len(points), size=clusters, replace=False)
    centres = points[drawn].copy()
    labels = np.zeros(len(points), dtype=np.int64)
    for _ in range(_CLUSTER_STEPS):
        distances = np.stack([np.linalg.norm(points - centre, axis=1) for centre in centres], axis=1)
        moved = np.argmin(distances, axis=1)
        if np.array_equal(moved, labels):
            break
        labels = moved
        for cluster in range(clusters):
            members = labels == cluster
            if members.any():
                centres[cluster] = points[members].mean(axis=0)
    return labels
