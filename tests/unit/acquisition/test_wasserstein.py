import itertools

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import wasserstein_distance

from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.acquisition.wasserstein import wasserstein_disagreement
from bayesgrid.errors import ConfigurationError


def test_spline_distances_are_scipys_on_the_same_quantiles(spline_draws, reference_flow):
    draws = spline_draws(1, 5, 6)
    base = ndtri((np.arange(32) + 0.5) / 32)
    scores = wasserstein_disagreement(draws, quantile_nodes=32)
    for candidate in range(draws.inputs):
        samples = [reference_flow(knots).quantiles(base) for knots in draws.knots[:, candidate]]
        consecutive = sum(wasserstein_distance(a, b) for a, b in itertools.pairwise(samples))
        pairs = np.mean([wasserstein_distance(a, b) for a, b in itertools.combinations(samples, 2)])
        assert scores.consecutive[candidate] == pytest.approx(consecutive, rel=1e-8)
        assert scores.all_pairs[candidate] == pytest.approx(pairs, rel=1e-8)


def test_gaussian_distances_approach_the_closed_forms():
    # W1 of equal widths is the distance of the means; of equal means it is |s - s'| sqrt(2 / pi).
    mean, deviation = np.array([[0.0, 1.0], [3.0, 1.0]]), np.array([[0.7, 0.5], [0.7, 2.0]])
    scores = wasserstein_disagreement(GaussianDraws(mean, deviation), quantile_nodes=4096)
    assert scores.consecutive == pytest.approx([3.0, 1.5 * np.sqrt(2 / np.pi)], rel=1e-3)
    assert scores.all_pairs == pytest.approx(scores.consecutive)


def test_distances_of_draws_that_agree_are_exactly_zero(spline_draws):
    for draws in (
        spline_draws(2, 25, 10, spread=0.0),
        GaussianDraws(np.full((25, 10), 0.3), np.full((25, 10), 1.7)),
    ):
        scores = wasserstein_disagreement(draws)
        assert (scores.consecutive == 0).all()
        assert (scores.all_pairs == 0).all()


def test_distances_scale_with_the_target():
    rng = np.random.default_rng(3)
    mean, deviation = rng.normal(size=(6, 4)), rng.uniform(0.1, 2, (6, 4))
    once = wasserstein_disagreement(GaussianDraws(mean, deviation))
    tenfold = wasserstein_disagreement(GaussianDraws(10 * mean + 5, 10 * deviation))
    assert tenfold.all_pairs == pytest.approx(10 * once.all_pairs)
    assert tenfold.consecutive == pytest.approx(10 * once.consecutive)


def test_all_pairs_do_not_depend_on_the_order_of_draws(spline_draws):
    draws = spline_draws(4, 9, 12)
    shuffled = SplineDraws(draws.knots[np.random.default_rng(0).permutation(9)])
    before, after = wasserstein_disagreement(draws), wasserstein_disagreement(shuffled)
    assert after.all_pairs == pytest.approx(before.all_pairs, rel=1e-12)
    assert after.consecutive != pytest.approx(before.consecutive, rel=1e-3)


def test_candidates_with_nan_draws_score_nan(spline_draws):
    knots = spline_draws(5, 4, 3).knots.copy()
    knots[2, 1, 1, 1, 3] = np.nan
    scores = wasserstein_disagreement(SplineDraws(knots))
    assert np.isnan(scores.consecutive).tolist() == np.isnan(scores.all_pairs).tolist() == [False, True, False]


def test_one_quantile_is_refused():
    with pytest.raises(ConfigurationError):
        wasserstein_disagreement(GaussianDraws(np.zeros((2, 1)), np.ones((2, 1))), quantile_nodes=1)
