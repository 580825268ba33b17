import numpy as np
import pytest
import torch

from bayesgrid.acquisition import graph_coreset
from bayesgrid.acquisition.graph_coreset import GraphNetworkSettings, core_gcn, graph_features, propagation_matrix
from bayesgrid.acquisition.selection import k_centre_greedy

SETTINGS = GraphNetworkSettings(neighbours=3, hidden=6, steps=40, dropout=0.0)


def _dense(points):
    """Return the graph of all pairs as the paper has it."""
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    similarity = units @ units.T - np.eye(len(points))
    return similarity / similarity.sum(axis=0) + np.eye(len(points))


def _torch_loss(weights, points, propagation, labelled, kept, candidate_weight):
    first, first_bias, second, second_bias = weights
    hidden = torch.relu(propagation @ points @ first + first_bias)
    logit = (propagation @ ((hidden * kept) @ second)) + second_bias
    known = torch.nn.functional.logsigmoid(logit[labelled]).mean()
    unknown = torch.nn.functional.logsigmoid(-logit[~labelled]).mean()
    return -known - candidate_weight * unknown


def test_with_all_neighbours_the_graph_is_that_of_all_pairs():
    points = np.random.default_rng(0).uniform(0.1, 1, (12, 4))
    assert propagation_matrix(points, 11).toarray() == pytest.approx(_dense(points), abs=1e-12)
    assert propagation_matrix(points, 99).toarray() == pytest.approx(_dense(points), abs=1e-12)


def test_a_sparse_graph_keeps_the_most_similar_neighbours_in_either_direction():
    points = np.random.default_rng(1).uniform(0.1, 1, (30, 4))
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    similarity = units @ units.T
    np.fill_diagonal(similarity, -np.inf)
    near = similarity >= np.sort(similarity, axis=1)[:, -3][:, None]
    kept = np.where(near | near.T, similarity, 0.0)
    expected = kept / kept.sum(axis=0) + np.eye(30)
    graph = propagation_matrix(points, 3)
    assert graph.toarray() == pytest.approx(expected, abs=1e-12)
    assert graph.nnz <= 30 * (2 * 3 + 1)


def test_repeated_and_empty_points_make_a_graph_of_finite_numbers():
    points = np.zeros((9, 2))
    points[:6] = [1.0, 2.0]
    graph = propagation_matrix(points, 3).toarray()
    assert np.isfinite(graph).all()
    assert np.diag(graph) == pytest.approx(np.ones(9))
    assert graph[6:] == pytest.approx(np.eye(9)[6:])
    assert (graph[:6, :6].sum(axis=0) == pytest.approx(np.full(6, 2.0))) and (graph[:6, 6:] == 0).all()


def test_opposite_points_are_no_neighbours():
    graph = propagation_matrix(np.array([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]), 2).toarray()
    assert (graph >= 0).all()
    assert graph[2].tolist() == [0.0, 0.0, 1.0]


def test_loss_and_gradients_are_those_of_automatic_differentiation():
    rng = np.random.default_rng(2)
    points, labelled = rng.uniform(0, 1, (20, 5)), np.arange(20) >= 14
    propagation = propagation_matrix(points, 4)
    weights = [rng.normal(size=shape) for shape in ((5, 6), (6,), (6,), (1,))]
    kept = (rng.random((20, 6)) < 0.7) / 0.7
    loss, gradients = graph_coreset._loss_and_gradients(weights, propagation @ points, propagation, labelled, kept, 1.2)
    leaves = [torch.tensor(weight, requires_grad=True) for weight in weights]
    expected = _torch_loss(
        leaves,
        torch.tensor(points),
        torch.tensor(propagation.toarray()),
        torch.tensor(labelled),
        torch.tensor(kept),
        1.2,
    )
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-12)
    for gradient, leaf in zip(gradients, leaves, strict=True):
        assert gradient == pytest.approx(leaf.grad.numpy(), rel=1e-9, abs=1e-12)


def test_training_is_that_of_torchs_adam():
    rng = np.random.default_rng(3)
    points, labelled = rng.uniform(0, 1, (25, 4)), np.arange(25) >= 20
    settings = GraphNetworkSettings(neighbours=4, hidden=6, steps=60, dropout=0.0, learning_rate=0.02)
    features = graph_features(points, labelled, np.random.default_rng(9), settings)

    units = torch.tensor(points / np.linalg.norm(points, axis=1, keepdims=True))
    propagation = torch.tensor(propagation_matrix(units.numpy(), 4).toarray())
    stream = np.random.default_rng(9)
    first = stream.uniform(-1, 1, (4, 6)) * np.sqrt(6 / 10)
    second = stream.uniform(-1, 1, (6, 1))[:, 0] * np.sqrt(6 / 7)
    leaves = [torch.tensor(w, requires_grad=True) for w in (first, np.zeros(6), second, np.zeros(1))]
    optimiser = torch.optim.Adam(leaves, lr=0.02, weight_decay=5e-4)
    for _ in range(60):
        optimiser.zero_grad()
        _torch_loss(leaves, units, propagation, torch.tensor(labelled), 1.0, 1.2).backward()
        optimiser.step()
    with torch.no_grad():
        hidden = torch.relu(propagation @ units @ leaves[0] + leaves[1])
        logit = propagation @ (hidden @ leaves[2]) + leaves[3]
    assert features[:, :-1] == pytest.approx(hidden.numpy(), abs=1e-8)
    assert features[:, -1] == pytest.approx(logit.numpy(), abs=1e-8)


def test_the_network_tells_a_labelled_region_from_the_rest():
    rng = np.random.default_rng(4)
    points = np.concatenate([[1, 0.1] + 0.1 * rng.random((40, 2)), [0.1, 1] + 0.1 * rng.random((40, 2))])
    labelled = np.zeros(80, dtype=bool)
    labelled[:20] = True
    settings = GraphNetworkSettings(hidden=16, learning_rate=0.02)
    logit = graph_features(points, labelled, np.random.default_rng(0), settings)[:, -1]
    assert logit[20:40].min() > logit[40:].max()
    candidates, known = points[~labelled], points[labelled]
    choice = core_gcn(candidates, known, 1, np.random.default_rng(0), settings=settings)
    assert choice.positions[0] >= 20


def test_the_choice_is_k_centre_among_the_features():
    rng = np.random.default_rng(5)
    candidates, known = rng.uniform(0, 1, (30, 4)).astype(np.float32), rng.uniform(0, 1, (5, 4)).astype(np.float32)
    features = graph_features(
        np.concatenate([candidates, known]), np.arange(35) >= 30, np.random.default_rng(6), SETTINGS
    )
    expected = k_centre_greedy(features[:30], features[30:], 10)
    chosen = core_gcn(candidates, known, 10, np.random.default_rng(6), settings=SETTINGS).positions
    assert chosen.tolist() == expected.positions.tolist()


def test_all_pairs_are_the_graph_of_the_paper_with_similarities_below_zero():
    points = np.random.default_rng(6).normal(0.3, 1, (30, 4))
    dense = graph_coreset._propagation_of_all_pairs(points / np.linalg.norm(points, axis=1, keepdims=True))
    assert dense == pytest.approx(_dense(points), rel=1e-9)
    assert dense.min() < 0


def test_a_graph_of_all_pairs_gives_the_features_of_all_neighbours_where_no_similarity_is_below_zero():
    rng = np.random.default_rng(7)
    points, labelled = rng.uniform(0.1, 1, (30, 4)), np.arange(30) >= 25
    features = [
        graph_features(points, labelled, np.random.default_rng(8), GraphNetworkSettings(neighbours, hidden=6, steps=40))
        for neighbours in (None, 29)
    ]
    assert features[0] == pytest.approx(features[1], rel=1e-8)
