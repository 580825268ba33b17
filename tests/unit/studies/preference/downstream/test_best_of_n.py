import itertools
import math

import numpy as np
import pytest
from scipy.special import expit

from bayesgrid.acquisition.response_bounds import difference_moments
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.studies.preference.downstream.best_of_n import (
    best_of_n,
    best_within_subsets,
    gold_values,
    mean_curve,
    over_optimisation,
    selection_probabilities,
)
from bayesgrid.studies.preference.downstream.response_values import borda_values, lower_bounds_of_moments


def game(count, seed=0):
    """Scores and probabilities of a game with circles."""
    upper = np.triu(np.random.default_rng(seed).standard_normal((count, count)), 1)
    return upper - upper.T, expit(upper - upper.T)


def brute_force(scores, gold, size):
    """Mean score, gold value and best gold value over all subsets, equally high scores in equal shares."""
    found = []
    for subset in itertools.combinations(range(len(scores)), size):
        best = [place for place in subset if scores[place] == max(scores[other] for other in subset)]
        found.append((scores[best[0]], np.mean([gold[place] for place in best]), max(gold[place] for place in subset)))
    return np.mean(found, axis=0)


@pytest.mark.parametrize("ties", [False, True])
def test_curve_is_that_of_all_subsets(ties):
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 3, 7).astype(float) if ties else rng.standard_normal(7)
    _, probability = game(7)
    curve = best_of_n(scores, probability)
    expected = np.array([brute_force(scores, gold_values(probability), size) for size in range(1, 8)])
    np.testing.assert_allclose(np.stack([curve.score, curve.gold, curve.ideal], axis=1), expected)
    np.testing.assert_allclose(curve.regret, expected[:, 2] - expected[:, 1], atol=1e-12)


def test_selection_probabilities_are_distributions_from_uniform_to_the_best():
    chances = selection_probabilities([0.3, 2.0, 2.0, -1.0, 0.1])
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    np.testing.assert_allclose(chances[0], 0.2)
    np.testing.assert_allclose(chances[-1], [0, 0.5, 0.5, 0, 0], atol=1e-12)


def test_divergence_of_many_responses_is_the_published_one():
    count = 1000
    chances = selection_probabilities(np.arange(count, dtype=float))
    for size in (1, 2, 4, 16):
        own = chances[size - 1]
        divergence = (own[own > 0] * np.log(count * own[own > 0])).sum()
        assert divergence == pytest.approx(math.log(size) - (size - 1) / size, abs=size / count)
    _, probability = game(6)
    assert best_of_n(np.arange(6.0), probability).divergence[-1] == pytest.approx(math.log(6))


def test_gold_scores_have_no_regret_and_reversed_ones_have_the_most():
    _, probability = game(8)
    gold = gold_values(probability)
    assert gold.mean() == pytest.approx(0.5)
    np.testing.assert_allclose(best_of_n(gold, probability).regret, 0, atol=1e-12)
    worst = best_of_n(-gold, probability)
    assert worst.regret[-1] == pytest.approx(gold.max() - gold.min())
    some = best_of_n(np.random.default_rng(0).standard_normal(8), probability)
    assert (some.regret <= worst.regret + 1e-12).all()


def test_score_that_is_fooled_by_one_response_peaks_before_the_end():
    rewards = np.arange(10.0)
    probability = expit(rewards[:, None] - rewards)
    scores = rewards.copy()
    scores[0] = 100.0
    curve = best_of_n(scores, probability)
    assert (np.diff(curve.score) > 0).all()
    gold = gold_values(probability)
    # The worst one is in a subset of n with chance n / 10; else the best of the nine others is taken.
    others = [np.mean([gold[max(own)] for own in itertools.combinations(range(1, 10), n)]) for n in range(1, 10)]
    expected = [n / 10 * gold[0] + (1 - n / 10) * others[n - 1] for n in range(1, 10)] + [gold[0]]
    found = over_optimisation(curve)
    assert found.size == int(np.argmax(expected)) + 1
    assert 1 < found.size < 10
    assert found.loss == pytest.approx(max(expected) - gold[0])
    honest = over_optimisation(best_of_n(rewards, probability))
    assert (honest.size, honest.loss) == (10, 0.0)


def test_rules_that_see_the_subset_alone_agree_with_order_statistics_for_rewards():
    rng = np.random.default_rng(1)
    rewards = rng.standard_normal(7)
    table = rewards[:, None] - rewards
    _, probability = game(7)
    curve = best_of_n(borda_values(table), probability)
    for size in (2, 4, 7):
        found = best_within_subsets(
            lambda own: borda_values(table[np.ix_(own, own)]), probability, size, most=100, generator=rng
        )
        assert found.exact
        assert found.subsets == math.comb(7, size)
        assert found.gold == pytest.approx(curve.gold[size - 1])
        assert found.ideal == pytest.approx(curve.ideal[size - 1])


def test_in_a_circle_what_the_subset_prefers_differs_from_what_all_prefer():
    # 0 beats 1 narrowly, and loses against nobody else; 1 beats 2 and 3 by far.
    scores = np.array([[0, 1, 0.5, 0.5], [-1, 0, 9, 9], [-0.5, -9, 0, 0], [-0.5, -9, 0, 0]], dtype=float)
    probability = expit(scores)
    found = best_within_subsets(
        lambda own: borda_values(scores[np.ix_(own, own)]), probability, 2, most=6, generator=np.random.default_rng(0)
    )
    gold = gold_values(probability)
    # Of two responses the preferred one is picked: {0,1}, {0,2}, {0,3} give 0, {1,2}, {1,3} give 1.
    expected = (3 * gold[0] + 2 * gold[1] + (gold[2] + gold[3]) / 2) / 6
    assert found.gold == pytest.approx(expected)
    assert found.gold < best_of_n(borda_values(scores), probability).gold[1]


def test_drawn_subsets_come_near_to_all_of_them():
    scores, probability = game(9)

    def rule(own):
        return borda_values(scores[np.ix_(own, own)])

    every = best_within_subsets(rule, probability, 3, most=84, generator=np.random.default_rng(0))
    drawn = best_within_subsets(rule, probability, 3, most=83, generator=np.random.default_rng(0))
    assert every.exact
    assert not drawn.exact
    assert drawn.subsets == 83
    assert drawn.gold == pytest.approx(every.gold, abs=0.05)


def test_lower_bounds_of_differences_lose_less_to_estimates_that_are_only_noisy():
    rng = np.random.default_rng(5)
    noise = np.where(np.arange(16) < 8, 0.3, 3.0)
    by_mean, by_bound = [], []
    for _ in range(200):
        rewards = rng.standard_normal(16)
        probability = expit(rewards[:, None] - rewards)
        estimate = rewards + noise * rng.standard_normal(16)
        moments = difference_moments(estimate, np.diag(noise**2))
        by_mean.append(best_of_n(lower_bounds_of_moments(*moments, 0.0), probability))
        by_bound.append(best_of_n(lower_bounds_of_moments(*moments, 1.0), probability))
    mean, bound = mean_curve(by_mean), mean_curve(by_bound)
    # The noisy half wins the maximum of many estimates, the more the more there are.
    assert mean.regret[-1] > mean.regret[3]
    saved = np.array([one.regret[-1] - other.regret[-1] for one, other in zip(by_mean, by_bound, strict=True)])
    assert saved.mean() > 3 * saved.std(ddof=1) / np.sqrt(saved.size)
    assert over_optimisation(mean).loss > over_optimisation(bound).loss


def test_mean_curve_averages_prompts():
    curves = [best_of_n(np.random.default_rng(seed).standard_normal(5), game(5, seed)[1]) for seed in range(3)]
    mean = mean_curve(curves)
    np.testing.assert_allclose(mean.regret, np.mean([curve.regret for curve in curves], axis=0))
    with pytest.raises(DataError, match="no mean"):
        mean_curve([curves[0], best_of_n(np.zeros(4), game(4)[1])])


def test_wrong_tables_and_sizes_are_refused():
    _, probability = game(4)
    with pytest.raises(DataError, match="do not add up to 1"):
        best_of_n(np.zeros(4), probability * 0.9)
    with pytest.raises(DataError, match="different shapes"):
        best_of_n(np.zeros(3), probability)
    with pytest.raises(ConfigurationError, match="not a size"):
        best_within_subsets(np.zeros, probability, 5, most=9, generator=np.random.default_rng(0))
