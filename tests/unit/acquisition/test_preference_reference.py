import numpy as np
import pytest
from scipy.stats import spearmanr

from bayesgrid.acquisition.bernoulli_uncertainty import bald
from bayesgrid.acquisition.preference_reference import (
    reference_bald,
    reference_cluster_diverse,
    reference_features,
    reference_greedy_coreset,
    reference_max_variance,
    reference_ucb,
)
from bayesgrid.acquisition.skew_preference import pair_score, projected_normal_moments, sphere_pair_moments
from bayesgrid.errors import ConfigurationError, DataError


def _pairs(seed, count, size=6, variance=0.03, spread=0.3):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(2, count, size))
    means /= np.linalg.norm(means, axis=-1, keepdims=True)
    variances = variance * np.exp(spread * rng.normal(size=means.shape))
    return means[0], variances[0], means[1], variances[1]


def test_scores_are_the_sums_of_the_reference():
    mu_i, var_i, mu_j, var_j = _pairs(0, 20)
    for n in range(20):
        variance = mean = 0.0
        for low in range(0, 6, 2):
            high = low + 1
            variance += mu_i[n, low] ** 2 * var_j[n, high] + mu_i[n, high] ** 2 * var_j[n, low]
            variance += mu_j[n, low] ** 2 * var_i[n, high] + mu_j[n, high] ** 2 * var_i[n, low]
            variance += var_i[n, low] * var_j[n, high] + var_i[n, high] * var_j[n, low]
            mean += mu_i[n, low] * mu_j[n, high] - mu_i[n, high] * mu_j[n, low]
        assert reference_max_variance(mu_i, var_i, mu_j, var_j)[n] == pytest.approx(variance, rel=1e-12)
        for kappa in (1.0, 2.5):
            expected = abs(mean) + kappa * variance**0.5
            assert reference_ucb(mu_i, var_i, mu_j, var_j, kappa)[n] == pytest.approx(expected, rel=1e-12)


def test_equal_variances_leave_the_reference_variance_without_a_ranking():
    mu_i, var_i, mu_j, var_j = _pairs(1, 300, size=12, spread=0.0)
    scores = reference_max_variance(mu_i, var_i, mu_j, var_j)
    assert np.ptp(scores) < 1e-12
    assert scores[0] == pytest.approx(0.0708)


def test_bald_is_the_mean_over_the_given_draws():
    mu_i, var_i, mu_j, var_j = _pairs(2, 5)
    normals = np.random.default_rng(3).normal(size=(20, 2, 5, 6))
    scores = reference_bald(mu_i, var_i, mu_j, var_j, normals)

    def entropy(p):
        p = min(max(p, 1e-7), 1 - 1e-7)
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    for n in range(5):
        probabilities = []
        for draw in normals:
            one, two = mu_i[n] + draw[0, n] * var_i[n] ** 0.5, mu_j[n] + draw[1, n] * var_j[n] ** 0.5
            one, two = one / np.linalg.norm(one), two / np.linalg.norm(two)
            score = sum(one[k] * two[k + 1] - one[k + 1] * two[k] for k in (0, 2, 4))
            probabilities.append(1 / (1 + np.exp(-score / 0.1)))
        expected = entropy(np.mean(probabilities)) - np.mean([entropy(p) for p in probabilities])
        assert scores[n] == pytest.approx(expected, abs=1e-12)


def test_bald_of_many_draws_comes_near_that_of_the_exact_moments():
    mu_i, var_i, mu_j, var_j = _pairs(4, 400, size=12)
    normals = np.random.default_rng(5).normal(size=(800, 2, 400, 12))
    many = reference_bald(mu_i, var_i, mu_j, var_j, normals)
    few = reference_bald(mu_i, var_i, mu_j, var_j, normals[:20])
    moments = projected_normal_moments(np.concatenate([mu_i, mu_j]), np.concatenate([var_i, var_j]))
    mean, variance = sphere_pair_moments(moments, np.arange(400), np.arange(400, 800))
    exact = bald(mean / 0.1, variance / 0.01)
    assert spearmanr(exact, many).statistic > 0.96
    # Twenty draws rank worse, and are biased downwards.
    assert spearmanr(few, many).statistic < 0.95
    assert (few - many).mean() < 0.0


def test_the_upper_bound_asks_for_the_pairs_that_are_surest():
    mu_i, var_i, mu_j, var_j = _pairs(6, 500)
    assert spearmanr(reference_ucb(mu_i, var_i, mu_j, var_j), np.abs(pair_score(mu_i, mu_j))).statistic > 0.95


def _clusters_by_broadcasting(features, count):
    centres = features[np.random.default_rng(42).choice(len(features), size=count, replace=False)].copy()
    labels = np.zeros(len(features), dtype=int)
    for _ in range(50):
        moved = np.linalg.norm(features[:, None] - centres[None], axis=2).argmin(axis=1)
        if (moved == labels).all():
            break
        labels = moved
        for cluster in range(count):
            if (labels == cluster).any():
                centres[cluster] = features[labels == cluster].mean(axis=0)
    return labels


def _expected_batch(scores, features, query_size, count):
    scores, features = scores.astype(np.float32), features.astype(np.float32)
    labels = _clusters_by_broadcasting(features, count)
    masses = [scores[labels == cluster].sum() for cluster in range(count)]
    shares = [max(1, round(query_size * float(mass) / (float(sum(masses)) + 1e-8))) for mass in masses]
    while sum(shares) > query_size:
        shares[shares.index(max(shares))] -= 1
    while sum(shares) < query_size:
        shares[shares.index(min(shares))] += 1
    chosen = set()
    for cluster, share in enumerate(shares):
        members = sorted(np.flatnonzero(labels == cluster), key=lambda i: scores[i])
        chosen |= set(members[max(0, len(members) - share) :]) if share else set()
    rest = sorted(set(range(len(scores))) - chosen, key=lambda i: -scores[i])
    return sorted(int(i) for i in [*chosen, *rest[: query_size - len(chosen)]])


@pytest.mark.parametrize(("query_size", "clusters"), [(3, None), (30, None), (30, 12), (17, 17), (120, 5)])
def test_a_batch_by_clusters_is_that_of_the_rules(query_size, clusters):
    features = reference_features(*_pairs(7, 120))
    assert features.shape == (120, 24)
    scores = np.random.default_rng(8).gamma(0.5, size=120)
    choice = reference_cluster_diverse(scores, features, query_size, clusters)
    count = min(clusters or max(2, int(np.sqrt(query_size))), query_size)
    assert sorted(choice.positions.tolist()) == _expected_batch(scores, features, query_size, count)
    assert (
        choice.positions.tolist()
        == reference_cluster_diverse(scores, features, query_size, clusters).positions.tolist()
    )


def test_two_questions_are_the_highest_scores():
    features = reference_features(*_pairs(9, 10))
    assert reference_cluster_diverse(np.arange(10.0), features, 2).positions.tolist() == [9, 8]


def test_scores_of_mixed_signs_still_give_a_batch():
    features = reference_features(*_pairs(10, 60))
    scores = np.random.default_rng(11).normal(size=60)
    scores -= scores.mean()
    assert len(set(reference_cluster_diverse(scores, features, 20).positions.tolist())) == 20


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_coreset_is_that_of_distances_taken_anew(weight):
    rng = np.random.default_rng(12)
    scores, features = rng.normal(size=50).astype(np.float32), rng.normal(size=(50, 8)).astype(np.float32)
    unit = features / (np.linalg.norm(features, axis=1, keepdims=True) + np.float32(1e-8))
    wanted = (scores - scores.min()) / (scores.max() - scores.min() + np.float32(1e-8))
    chosen = [int(scores.argmax())]
    while len(chosen) < 50:
        nearest = np.linalg.norm(unit[:, None] - unit[chosen][None], axis=2).min(axis=1)
        nearest[chosen] = -np.inf
        with np.errstate(invalid="ignore"):
            combined = weight * wanted + (1 - weight) * nearest / (nearest.max() + 1e-8)
        combined[chosen] = -np.inf
        chosen.append(int(combined.argmax()))
    assert reference_greedy_coreset(scores, features, 50, weight).positions.tolist() == chosen


def test_impossible_input_is_refused():
    pairs = _pairs(13, 4)
    with pytest.raises(DataError, match="normal numbers"):
        reference_bald(*pairs, np.zeros((20, 4, 6)))
    with pytest.raises(ConfigurationError, match="temperature"):
        reference_bald(*pairs, np.zeros((20, 2, 4, 6)), temperature=0.0)
    features = reference_features(*pairs)
    with pytest.raises(DataError, match="candidate 2"):
        reference_cluster_diverse(np.array([1.0, 2.0, np.nan, 0.0]), features, 2)
    with pytest.raises(DataError, match="from 1 to 4"):
        reference_greedy_coreset(np.ones(4), features, 5)
    with pytest.raises(ConfigurationError, match="cluster"):
        reference_cluster_diverse(np.ones(4), features, 3, clusters=0)
    with pytest.raises(ConfigurationError, match="share"):
        reference_greedy_coreset(np.ones(4), features, 3, score_weight=2.0)
