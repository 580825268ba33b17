import numpy as np
import pytest
from scipy import special
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from bayesgrid.acquisition.prompt_entropy import neighbour_distances, prompt_entropy_batch, prompt_entropy_terms
from bayesgrid.errors import ConfigurationError, DataError


def _pool(seed, prompts=30, pairs=80):
    rng = np.random.default_rng(seed)
    return rng.gamma(1.0, size=pairs), rng.integers(prompts, size=pairs), rng.normal(size=(prompts, 3)), rng


@pytest.mark.parametrize("neighbours", [1, 4, 29])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_distances_are_those_of_a_tree(neighbours, offset):
    features = _pool(0)[2] + offset
    expected = cKDTree(features).query(features, k=neighbours + 1)[0][:, neighbours]
    np.testing.assert_allclose(neighbour_distances(features, neighbours), expected, rtol=1e-6)


def test_distances_of_a_pool_of_several_blocks():
    features = np.random.default_rng(1).normal(size=(1100, 4))
    expected = np.sort(cdist(features, features), axis=1)[:, 5]
    np.testing.assert_allclose(neighbour_distances(features, 5), expected, rtol=1e-10)


def test_the_terms_estimate_the_entropy_of_a_known_distribution():
    # Kraskov: H = psi(N) - mean psi(n + 1) + log c_d + d mean log(2 eps), n those strictly nearer than the k-th.
    rng = np.random.default_rng(2)
    points = rng.normal(size=(3000, 2)) * [1.0, 3.0]
    distances = neighbour_distances(points, 5)
    nearer = np.full(3000, 4)  # the points strictly nearer than the fifth
    terms = prompt_entropy_terms(distances, nearer, 2.0)
    disc = np.log(np.pi / 4)  # of diameter 1
    found = special.digamma(3000) + disc + 2.0 * terms.mean()
    assert found == pytest.approx(np.log(2 * np.pi * np.e * 3.0), abs=0.05)


def _expected(uncertainty, prompts, features, asked, query_size, weight, neighbours, dimension, limit):
    distances = cdist(features, features)
    eps = np.sort(distances, axis=1)[:, neighbours]
    chosen, asked = [], list(asked)
    for _ in range(query_size):
        nearby = np.array(
            [sum(distances[x, other] < (1 - 1e-9) * eps[x] for other in asked) for x in range(len(features))]
        )
        terms = (np.log(2 * eps + 1e-4) - special.digamma(nearby + 1.0) / dimension)[prompts]
        free = [i for i in range(len(prompts)) if i not in chosen]
        terms = (terms - terms[free].mean()) / terms[free].std()
        taken = [prompts[i] for i in chosen]
        allowed = [i for i in free if limit is None or taken.count(prompts[i]) < limit] or free
        chosen.append(max(allowed, key=lambda i, t=terms: uncertainty[i] + weight * t[i]))
        asked.append(prompts[chosen[-1]])
    return chosen


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("asked", [0, 25])
def test_choices_are_those_of_counts_taken_anew(limit, asked):
    uncertainty, prompts, features, rng = _pool(3)
    known = rng.integers(30, size=asked)
    settings = {"weight": 0.7, "neighbours": 4, "dimension": 2.0, "limit": limit}
    choice = prompt_entropy_batch(uncertainty, prompts, features, known, 20, **settings)
    assert choice.positions.tolist() == _expected(uncertainty, prompts, features, known, 20, **settings)


def test_without_a_weight_the_most_uncertain_pairs_are_chosen():
    uncertainty, prompts, features, _ = _pool(4)
    found = prompt_entropy_batch(
        uncertainty, prompts, features, prompts[:0], 15, weight=0.0, neighbours=3, dimension=1.0
    )
    assert found.positions.tolist() == np.argsort(-uncertainty)[:15].tolist()


def test_a_batch_does_not_stay_where_it_has_been():
    # Two groups of prompts, and the tenth neighbour is in the other: after a choice in one the other is next.
    features = np.concatenate([np.linspace(0, 1, 10), np.linspace(100, 101, 10)])[:, None]
    uncertainty = np.full(20, 0.5)
    settings = {"weight": 1.0, "neighbours": 10, "dimension": 1.0}
    batch = prompt_entropy_batch(uncertainty, np.arange(20), features, np.arange(0), 2, **settings).positions
    assert sorted(batch // 10) == [0, 1]
    asked = prompt_entropy_batch(uncertainty, np.arange(20), features, np.array([3, 4, 5]), 3, **settings).positions
    assert (asked >= 10).all()


def test_uncertainties_that_are_not_finite_come_last():
    uncertainty, prompts, features, _ = _pool(5)
    uncertainty[[2, 9]] = np.nan, np.inf
    settings = {"weight": 1.0, "neighbours": 3, "dimension": 1.0}
    choice = prompt_entropy_batch(uncertainty, prompts, features, prompts[:0], 80, **settings)
    assert choice.positions[78:].tolist() == [2, 9]
    assert sorted(choice.positions.tolist()) == list(range(80))
    assert choice.nonfinite == 2


def test_equal_prompts_are_at_no_distance():
    features = np.zeros((6, 3)) + 1 / 3
    assert neighbour_distances(features, 2).tolist() == [0.0] * 6
    settings = {"weight": 1.0, "neighbours": 2, "dimension": 1.0}
    batch = prompt_entropy_batch(np.arange(6.0), np.arange(6), features, np.arange(3), 3, **settings)
    assert batch.positions.tolist() == [5, 4, 3]


def test_impossible_input_is_refused():
    uncertainty, prompts, features, _ = _pool(6)
    settings = {"weight": 1.0, "neighbours": 3, "dimension": 1.0}
    with pytest.raises(DataError, match="not there"):
        prompt_entropy_batch(uncertainty, prompts + 30, features, prompts[:0], 2, **settings)
    with pytest.raises(DataError, match="not there"):
        prompt_entropy_batch(uncertainty, prompts, features, np.array([-1]), 2, **settings)
    with pytest.raises(DataError, match="do not belong together"):
        prompt_entropy_batch(uncertainty, prompts[:-1], features, prompts[:0], 2, **settings)
    with pytest.raises(DataError, match="from 1 to 80"):
        prompt_entropy_batch(uncertainty, prompts, features, prompts[:0], 81, **settings)
    features[7, 0] = np.nan
    with pytest.raises(DataError, match="prompt 7"):
        neighbour_distances(features, 3)
    for wrong in ({"weight": -1.0}, {"neighbours": 30}, {"neighbours": 0}, {"dimension": 0.0}):
        with pytest.raises(ConfigurationError):
            prompt_entropy_batch(uncertainty, prompts, np.nan_to_num(features), prompts[:0], 2, **{**settings, **wrong})
