"""CoreGCN: k-centre on what a graph network learns when it tells labelled from unlabelled examples.

Candidates and labelled examples are the nodes of a graph. A graph network of two layers is trained, on all nodes at
once, to say which are labelled; its hidden layer and its logit are then the features of the greedy k-centre choice.

With X the features, each row scaled to unit length, S the cosine similarities of neighbours and D the sums of S:
``A = S D^-1 + I``, ``H = relu(A X W1 + b1)``, ``logit = A H W2 + b2``, and the loss
``-(1/l) sum_labelled log sigma(logit) - (1.2/n) sum_candidates log(1 - sigma(logit))``.

Source: Caramalau, Bhattarai, Kim (2021), Sequential Graph Convolutional Network for Active Learning, arXiv 2006.10219.
What differs: there S holds the similarities of all pairs, 400 MB in single precision for 10,000 nodes; here those of
each node's nearest neighbours, in either direction, and none below zero, so that memory is O(n k) and D never vanishes
by cancellation. With as many neighbours as there are other nodes it is the same graph. The optimiser is Adam with the
penalty coupled, as there; initial weights are Glorot's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import expit
from sklearn.neighbors import NearestNeighbors

from bayesgrid.acquisition.feature_space import feature_space
from bayesgrid.acquisition.selection import Choice, k_centre_greedy

__all__ = ["GraphNetworkSettings", "core_gcn", "graph_features", "propagation_matrix"]

_Array = npt.NDArray[Any]
_FIRST_DECAY, _SECOND_DECAY, _STABILISER = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class GraphNetworkSettings:
    """How the graph network is built and trained; the values are the paper's, but for the neighbours.

    Args:
        neighbours: k, of each node. None for all pairs, as in the paper: similarities below zero count too, and the
            graph takes n^2 numbers.
        hidden: units of the first layer.
        steps: of Adam, each on all nodes.
        learning_rate: per step.
        weight_decay: coupled L2 penalty.
        dropout: probability, between the layers.
        candidate_weight: of the candidates' part of the loss.
    """

    neighbours: int | None = 10
    hidden: int = 128
    steps: int = 200
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    dropout: float = 0.3
    candidate_weight: float = 1.2


def propagation_matrix(points: npt.NDArray[np.floating], neighbours: int) -> sparse.csr_array:
    """Return ``S D^-1 + I`` `[n, n]` with at most ``2 neighbours n`` similarities, O(n k) memory.

    Args:
        points: `[n, h]`, finite; rows of zeros have no neighbours.
        neighbours: k; at most the n - 1 others count.
    """
    count = len(points)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    units = points / np.where(lengths > 0.0, lengths, 1.0)
    wanted = min(neighbours, count - 1)
    identity = sparse.eye_array(count, format="csr", dtype=points.dtype)
    if wanted < 1:
        return identity
    # Between unit vectors the nearest are the most similar. A node is its own neighbour, unless others repeat it.
    near = (
        NearestNeighbors(n_neighbors=wanted + 1, algorithm="brute").fit(units).kneighbors(units, return_distance=False)
    )
    superfluous = near == np.arange(count)[:, np.newaxis]
    superfluous[~superfluous.any(axis=1), -1] = True
    near = near[~superfluous].reshape(count, wanted)
    similarities = np.empty(near.shape, dtype=points.dtype)
    for place in range(wanted):
        similarities[:, place] = np.einsum("ij,ij->i", units, units[near[:, place]])
    rows = np.repeat(np.arange(count), wanted)
    directed = sparse.csr_array((np.maximum(similarities, 0.0).ravel(), (rows, near.ravel())), shape=(count, count))
    mutual = directed.maximum(directed.T).tocsr()
    sums = np.asarray(mutual.sum(axis=0)).ravel()
    inverse = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0.0)
    return (mutual @ sparse.diags_array(inverse) + identity).tocsr()


def _propagation_of_all_pairs(units: _Array) -> _Array:
    """Return ``S D^-1 + I`` `[n, n]` with ``S = U U^T - I`` and D the sums of its columns, which may be near zero.

    Args:
        units: `[n, h]`, of unit length.
    """
    matrix = units @ units.T
    diagonal = np.diag_indices(len(units))
    matrix[diagonal] -= 1.0
    sums = matrix.sum(axis=0)
    matrix *= np.divide(1.0, sums, out=np.zeros_like(sums), where=sums != 0.0)
    matrix[diagonal] += 1.0
    return matrix


def _loss_and_gradients(
    weights: list[_Array],
    spread_features: _Array,
    propagation: sparse.csr_array | _Array,
    labelled: npt.NDArray[np.bool_],
    kept: _Array,
    candidate_weight: float,
) -> tuple[float, list[_Array]]:
    """Return the loss and its gradient by each of the ``weights`` W1 `[h, u]`, b1 `[u]`, W2 `[u]` and b2 `[1]`.

    Args:
        weights: of the two layers.
        spread_features: `[n, h]`, A X.
        propagation: `[n, n]`, A.
        labelled: `[n]`, which nodes are; at least one is and one is not.
        kept: `[n, u]`, zero where a unit is dropped, else one over the probability of staying.
        candidate_weight: of the candidates' part of the loss.
    """
    first, first_bias, second, second_bias = weights
    hidden = spread_features @ first
    hidden += first_bias
    gate = kept * (hidden > 0.0)
    hidden *= gate
    # Propagation after the product with W2 moves one number per node instead of u.
    logit = propagation @ (hidden @ second) + second_bias
    count = int(np.count_nonzero(labelled))
    share = np.where(labelled, 1.0 / count, candidate_weight / (len(labelled) - count)).astype(logit.dtype)
    signed = np.where(labelled, -logit, logit)  # both parts are log(1 + exp(signed))
    loss = float(np.sum(share * np.logaddexp(0.0, signed)))
    by_logit = share * expit(signed) * np.where(labelled, -1.0, 1.0).astype(logit.dtype)
    by_product = propagation.T @ by_logit
    gate *= by_product[:, np.newaxis]
    gate *= second
    gradients = [spread_features.T @ gate, gate.sum(axis=0), hidden.T @ by_product, by_logit.sum(keepdims=True)]
    return loss, gradients


def _trained(
    points: _Array,
    propagation: sparse.csr_array | _Array,
    labelled: npt.NDArray[np.bool_],
    settings: GraphNetworkSettings,
    rng: np.random.Generator,
) -> list[_Array]:
    """Return the weights after ``settings.steps`` steps, in the precision of ``points`` `[n, h]`."""
    precision = points.dtype
    spread_features = propagation @ points
    bounds = [(points.shape[1], settings.hidden), (settings.hidden, 1)]
    drawn = [rng.uniform(-1.0, 1.0, shape) * np.sqrt(6.0 / sum(shape)) for shape in bounds]
    weights: list[_Array] = [
        drawn[0].astype(precision),
        np.zeros(settings.hidden, dtype=precision),
        drawn[1][:, 0].astype(precision),
        np.zeros(1, dtype=precision),
    ]
    first_moments = [np.zeros_like(weight) for weight in weights]
    second_moments = [np.zeros_like(weight) for weight in weights]
    for step in range(1, settings.steps + 1):
        stays = rng.random((len(points), settings.hidden), dtype=np.float32) >= settings.dropout
        kept = stays.astype(precision) * precision.type(1.0 / (1.0 - settings.dropout))
        _, gradients = _loss_and_gradients(
            weights, spread_features, propagation, labelled, kept, settings.candidate_weight
        )
        for weight, gradient, first, second in zip(weights, gradients, first_moments, second_moments, strict=True):
            gradient += settings.weight_decay * weight
            first += (1.0 - _FIRST_DECAY) * (gradient - first)
            second += (1.0 - _SECOND_DECAY) * (gradient * gradient - second)
            scale = np.sqrt(second / (1.0 - _SECOND_DECAY**step)) + _STABILISER
            weight -= settings.learning_rate / (1.0 - _FIRST_DECAY**step) * first / scale
    return weights


def graph_features(
    points: npt.NDArray[np.floating],
    labelled: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    settings: GraphNetworkSettings,
) -> npt.NDArray[np.floating]:
    """Return the hidden layer and the logit of the trained network, `[n, u + 1]`, without dropout.

    Args:
        points: `[n, h]`, finite, in the precision to compute in; scaled to unit length here.
        labelled: `[n]`, which of them are labelled; at least one is and one is not.
        rng: the stream of initial weights and dropout.
        settings: of the network.
    """
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    units = points / np.where(lengths > 0.0, lengths, 1.0)
    propagation = (
        _propagation_of_all_pairs(units)
        if settings.neighbours is None
        else propagation_matrix(units, settings.neighbours)
    )
    first, first_bias, second, second_bias = _trained(units, propagation, labelled, settings, rng)
    hidden = np.maximum((propagation @ units) @ first + first_bias, 0.0)
    logit = propagation @ (hidden @ second) + second_bias
    return np.column_stack([hidden, logit])


def core_gcn(
    candidates: npt.NDArray[np.floating],
    labelled: npt.NDArray[np.floating],
    query_size: int,
    rng: np.random.Generator,
    *,
    settings: GraphNetworkSettings | None = None,
) -> Choice:
    """Choose by greedy k-centre among the features of a graph network trained to tell labelled from unlabelled.

    Training is in single precision. O(n (k + h + u)) memory, O(n^2 h) time for the graph and O(n h u) for each step.

    Args:
        candidates: `[n, h]`. Rows that are not finite are chosen last.
        labelled: `[l, h]`, at least one finite row; others are left out.
        query_size: q.
        rng: the stream of initial weights and dropout.
        settings: of the network; the defaults if None.

    Raises:
        DataError: if q is not within 1 .. n, the numbers of features differ, or no labelled row is finite.
    """
    space = feature_space(candidates, labelled, query_size, needs_labelled=True)
    count = len(space.candidates)
    if count == 0:
        return space.choice([], query_size)
    points = np.concatenate([space.candidates, space.labelled]).astype(np.float32)
    known = np.arange(len(points)) >= count
    features = graph_features(points, known, rng, settings or GraphNetworkSettings())
    choice = k_centre_greedy(features[:count], features[count:], min(query_size, count))
    return space.choice(choice.positions, query_size)
