import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

from bayesgrid.acquisition.geometric_pool import geometric_pool_divergence
from bayesgrid.acquisition.predictive_draws import GaussianDraws
from bayesgrid.errors import ConfigurationError


def _reverse_divergence(log_densities, weights):
    """``sum_h KL(g || p_h)`` from normalised log-densities `[T, G]`; ``sum_h (H[p_h] - H[g])`` with what it lacks."""
    log_pool = log_densities.mean(axis=0)
    log_pool -= logsumexp(log_pool, b=weights)
    pool = weights * np.exp(log_pool)
    mass = weights * np.exp(log_densities)
    divergence = (pool * (log_pool - log_densities)).sum()
    entropies = -(mass * log_densities).sum() + len(log_densities) * (pool * log_pool).sum()
    rest = ((mass - pool) * log_densities).sum()
    return divergence, entropies + rest


def test_gaussian_scores_are_the_divergence_from_the_pool_by_integration():
    rng = np.random.default_rng(0)
    mean, deviation = rng.normal(size=(5, 12)), rng.uniform(0.3, 2, (5, 12))
    scores = geometric_pool_divergence(GaussianDraws(mean, deviation))
    for i in range(12):
        members = norm(mean[:, i], deviation[:, i])
        mass, _ = quad(lambda y, members=members: np.exp(members.logpdf(y).mean()), -20, 20, epsabs=1e-13, points=[0])
        assert scores[i] == pytest.approx(-5 * np.log(mass), rel=1e-7)
        nodes = np.linspace(-20, 20, 40_001)
        table = norm(mean[:, [i]], deviation[:, [i]]).logpdf(nodes)
        divergence, identity = _reverse_divergence(table, np.full(40_001, 40 / 40_000))
        assert scores[i] == pytest.approx(divergence, rel=1e-7)
        assert scores[i] == pytest.approx(identity, rel=1e-7)


# The pool of flows far apart is high where none of them is, and none of them asks for nodes there.
@pytest.mark.parametrize(("spread", "grid_nodes"), [(0.2, 400), (0.5, 6400)])
def test_flow_scores_are_the_divergence_from_the_pool_by_integration(spline_draws, reference_flow, spread, grid_nodes):
    draws = spline_draws(1, 5, 12, spread=spread)
    scores = geometric_pool_divergence(draws, grid_nodes=grid_nodes)
    nodes = np.linspace(-8, 8, 60_001)
    for i in range(12):
        table = np.array([reference_flow(draws.knots[h, i]).log_density(nodes) for h in range(5)])
        divergence, _ = _reverse_divergence(table, np.full(60_001, 16 / 60_000))
        assert scores[i] == pytest.approx(divergence, rel=0.01, abs=1e-3)


def test_a_coarse_grid_ranks_flows_as_a_fine_one(spline_draws):
    draws = spline_draws(2, 8, 200)
    coarse, fine = (geometric_pool_divergence(draws, grid_nodes=nodes) for nodes in (64, 800))
    assert np.corrcoef(np.argsort(np.argsort(coarse)), np.argsort(np.argsort(fine)))[0, 1] > 0.99


def test_draws_that_agree_have_no_divergence(spline_draws):
    same = GaussianDraws(np.tile(np.linspace(-1, 1, 9), (4, 1)), np.tile(np.geomspace(1e-4, 3, 9), (4, 1)))
    for draws in (same, spline_draws(3, 4, 9, spread=0.0)):
        assert geometric_pool_divergence(draws) == pytest.approx(np.zeros(9), abs=1e-9)


def test_draws_of_one_width_are_told_apart_by_their_places():
    draws = GaussianDraws(np.array([[-1.0, 0.0], [1.0, 0.0]]), np.ones((2, 2)))
    # g is N(0, 1) in both, one apart from each draw: twice 1/2.
    assert geometric_pool_divergence(draws) == pytest.approx([1.0, 0.0])


def test_flows_far_apart_stay_finite_and_missing_ones_are_missing(spline_draws):
    draws = spline_draws(4, 3, 5, spread=3.0)
    draws.knots[1, 2, 0, 0, 0] = np.nan
    assert np.isnan(geometric_pool_divergence(draws)).tolist() == [False, False, True, False, False]
    gaussian = GaussianDraws(np.array([[0.0, np.nan], [1e3, 0.0]]), np.full((2, 2), 1e-3))
    scores = geometric_pool_divergence(gaussian)
    assert np.isfinite(scores).tolist() == [True, False]


def test_settings_out_of_range_are_refused():
    draws = GaussianDraws(np.zeros((2, 2)), np.ones((2, 2)))
    with pytest.raises(ConfigurationError):
        geometric_pool_divergence(draws, grid_nodes=7)
    with pytest.raises(ConfigurationError):
        geometric_pool_divergence(draws, tail_probability=0.5)
