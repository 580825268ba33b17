import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.acquisition.sampled_mutual_information import sampled_mutual_information
from bayesgrid.errors import ConfigurationError


def _gaussians(seed, draws=6, inputs=12):
    rng = np.random.default_rng(seed)
    return GaussianDraws(rng.normal(size=(draws, inputs)), rng.uniform(0.3, 1.5, (draws, inputs)))


def _errors(draws, exact, samples, repetitions=40):
    return np.array(
        [
            sampled_mutual_information(draws, np.random.default_rng(seed), samples=samples) - exact
            for seed in range(repetitions)
        ]
    )


def test_the_estimate_converges_to_the_mutual_information_of_splines(spline_draws):
    draws = spline_draws(1, 5, 6, shape=0.5)
    exact = density_disagreement(draws, grid_nodes=4000, tail_probability=1e-7).mutual_information
    estimate = sampled_mutual_information(draws, np.random.default_rng(0), samples=40_000)
    assert exact.min() > 0.01
    assert estimate == pytest.approx(exact, abs=4e-3)


def test_the_error_has_no_bias_and_falls_with_the_root_of_the_samples():
    draws = _gaussians(2)
    exact = density_disagreement(draws, grid_nodes=4000, tail_probability=1e-7).mutual_information
    few, many = _errors(draws, exact, 8), _errors(draws, exact, 512)
    standard_error = few.std(axis=0) / np.sqrt(len(few))
    assert (np.abs(few.mean(axis=0)) < 4 * standard_error + 1e-4).all()
    ratio = np.sqrt(np.mean(few**2) / np.mean(many**2))
    assert ratio == pytest.approx(8.0, rel=0.3)


def test_the_estimate_is_the_formula_on_the_same_samples():
    draws = _gaussians(3, draws=4, inputs=3)
    base = np.sort(np.random.default_rng(5).standard_normal((4, 10)), axis=1)
    expected = np.zeros(3)
    for h in range(4):
        y = draws.mean[h] + draws.standard_deviation[h] * base[h][:, None]  # [S, M]
        log_density = norm.logpdf(y[:, None], draws.mean, draws.standard_deviation)  # [S, T, M]
        expected += np.mean(log_density[:, h] - logsumexp(log_density, axis=1) + np.log(4), axis=0) / 4
    assert sampled_mutual_information(draws, np.random.default_rng(5), samples=10) == pytest.approx(expected, rel=1e-10)


def test_draws_that_agree_carry_no_information_and_disjoint_ones_all(spline_draws):
    agree = sampled_mutual_information(spline_draws(4, 5, 20, spread=0.0), np.random.default_rng(0))
    assert agree == pytest.approx(np.zeros(20), abs=1e-12)
    disjoint = GaussianDraws(np.arange(10.0)[:, None] * np.ones(3), np.full((10, 3), 1e-4))
    assert sampled_mutual_information(disjoint, np.random.default_rng(0)) == pytest.approx(np.full(3, np.log(10)))


def test_nan_draws_have_nan_scores(spline_draws):
    knots = spline_draws(5, 3, 4).knots.copy()
    knots[1, 2, 0, 1, 3] = np.nan
    scores = sampled_mutual_information(SplineDraws(knots), np.random.default_rng(0))
    assert np.isnan(scores).tolist() == [False, False, True, False]


def test_no_sample_is_refused():
    with pytest.raises(ConfigurationError, match="at least 1"):
        sampled_mutual_information(_gaussians(0), np.random.default_rng(0), samples=0)
