from dataclasses import astuple, fields

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.stats import norm

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.acquisition.reference_scores import ReferenceGridScores, reference_entropies, reference_grid_scores
from bayesgrid.errors import ConfigurationError

SCORES = [field.name for field in fields(ReferenceGridScores)]
DIVERGENCES = ["kl_grid", "kl_grid_normalised", "kl_pairs", "kl_difference"]


def _entropy(density, step):
    return -np.trapezoid(density * np.log(density), dx=step, axis=-1)


def _brute_force(density, step):
    """All scores of one candidate from densities `[T, G]`, in single precision from the formulas alone."""
    p = density.astype(np.float32)
    with np.errstate(all="ignore"):
        mean = p.mean(axis=0)
        normalised = p / np.trapezoid(p, dx=step, axis=1)[:, None]
        pool = np.exp(np.log(p[:-1]).mean(axis=0))
        return {
            "kl_grid": (p * np.log(p / mean)).sum(),
            "kl_grid_normalised": (normalised * np.log(normalised / normalised.mean(axis=0))).sum(),
            "kl_pairs": (p[:-1] * np.log(p[:-1] / p[1:])).sum(),
            "kl_difference": rel_entr(p[:-1], p[1:]).sum() - rel_entr(p[:-1], mean).sum(),
            "bald_entropy": (_entropy(mean / np.trapezoid(mean, dx=step), step) - _entropy(p, step)).sum(),
            "pool_entropy": (_entropy(p[:-1], step) - _entropy(pool, step)).sum(),
        }


def _assert_as_brute_force(scores, densities, step):
    for candidate, density in enumerate(densities):
        expected = _brute_force(density, step)
        size = 1e-5 * float(np.sum(density))
        for name in SCORES:
            value = getattr(scores, name)[candidate]
            assert value == pytest.approx(float(expected[name]), rel=1e-4, abs=size, nan_ok=True), name


@pytest.mark.parametrize("widths", [(0.08, 0.5), (0.02, 0.2), (0.002, 0.06)])
@pytest.mark.parametrize(("location", "scale"), [(0.0, 1.0), (0.4, 0.15)])
def test_gaussian_scores_are_those_of_the_formulas_with_their_underflow(widths, location, scale):
    rng = np.random.default_rng(0)
    mean, deviation = rng.uniform(-0.1, 1.1, (4, 60)), np.exp(rng.uniform(*np.log(widths), (4, 60)))
    draws = GaussianDraws((mean - location) / scale, deviation / scale)
    scores = reference_grid_scores(draws, location=location, scale=scale, grid_nodes=200)
    nodes = np.linspace(0.1, 0.9, 200, dtype=np.float32).astype(np.float64)
    densities = [norm(mean[:, [i]], deviation[:, [i]]).pdf(nodes) for i in range(60)]
    _assert_as_brute_force(scores, densities, 0.8 / 200)
    missing = np.mean([np.isnan(score) for score in astuple(scores)[:3]])
    assert {0.08: missing == 0, 0.02: 0.05 < missing < 0.95, 0.002: missing > 0.95}[widths[0]]


def test_a_wide_draw_over_a_narrow_one_is_infinitely_far():
    draws = GaussianDraws(np.full((2, 1), 0.5), np.array([[0.2], [0.01]]))
    scores = reference_grid_scores(draws, location=0.0, scale=1.0)
    assert scores.kl_pairs[0] == scores.kl_difference[0] == np.inf
    assert np.isnan(scores.kl_grid[0])
    backwards = GaussianDraws(draws.mean, draws.standard_deviation[::-1])
    assert np.isnan(reference_grid_scores(backwards, location=0.0, scale=1.0).kl_pairs[0])
    assert np.isfinite(reference_grid_scores(backwards, location=0.0, scale=1.0).kl_difference[0])


def test_a_ratio_beyond_single_precision_is_infinite_though_no_density_is_zero():
    mean, deviation = np.full((2, 1), 0.5), np.array([[0.2], [0.4 / 13.7]])
    nodes = np.linspace(0.1, 0.9, 200, dtype=np.float32)
    density = norm(mean, deviation).pdf(nodes).astype(np.float32)
    assert density.min() > 0
    assert reference_grid_scores(GaussianDraws(mean, deviation), location=0.0, scale=1.0).kl_pairs[0] == np.inf
    assert _brute_force(density, 0.004)["kl_pairs"] == np.inf


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("location", "scale"), [(0.0, 1.0), (0.45, 0.2)])
def test_flow_scores_are_those_of_the_formulas(spline_draws, reference_flow, seed, location, scale):
    draws = spline_draws(seed, 5, 8)
    scores = reference_grid_scores(draws, location=location, scale=scale, grid_nodes=50)
    nodes = (np.linspace(0.1, 0.9, 50, dtype=np.float32).astype(np.float64) - location) / scale
    flows = [[reference_flow(draws.knots[h, i]) for h in range(5)] for i in range(8)]
    densities = [np.array([np.exp(flow.log_density(nodes)) / scale for flow in row]) for row in flows]
    _assert_as_brute_force(scores, densities, 0.8 / 50)
    entropies = reference_entropies(draws, location=location, scale=scale, grid_nodes=50)
    expected = np.array([_entropy(density, 0.8 / 50) for density in densities]).T
    assert entropies == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_densities_within_the_interval_have_scores_of_t_times_the_mutual_information():
    rng = np.random.default_rng(1)
    draws = GaussianDraws(rng.uniform(0.46, 0.54, (6, 30)), rng.uniform(0.04, 0.06, (6, 30)))
    scores = reference_grid_scores(draws, location=0.0, scale=1.0)
    exact = 6 * density_disagreement(draws, grid_nodes=400).mutual_information
    # The width of a step is wrong by 1/200, which adds nearly the same to every candidate.
    assert np.abs(scores.bald_entropy - exact).max() < 0.1
    assert np.ptp(scores.bald_entropy - exact) < 0.02
    assert scores.kl_grid_normalised * 0.8 / 200 == pytest.approx(exact, rel=0.01)
    assert scores.kl_grid * 0.8 / 199 == pytest.approx(exact, rel=0.01)


def test_a_density_outside_the_interval_is_hardly_seen():
    rng = np.random.default_rng(2)
    mean, deviation = rng.normal(0.5, 0.05, (6, 1)), rng.uniform(0.08, 0.12, (6, 1))
    inside = reference_grid_scores(GaussianDraws(mean, deviation), location=0.0, scale=1.0)
    outside = reference_grid_scores(GaussianDraws(mean - 0.7, deviation), location=0.0, scale=1.0)
    assert outside.kl_grid < 0.1 * inside.kl_grid


def test_draws_that_agree_have_divergences_of_zero(spline_draws):
    mean, deviation = np.tile(np.linspace(0, 1, 20), (5, 1)), np.tile(np.geomspace(0.08, 1, 20), (5, 1))
    for draws in (GaussianDraws(mean, deviation), spline_draws(0, 5, 20, spread=0.0)):
        scores = reference_grid_scores(draws, location=0.0, scale=1.0)
        for name in DIVERGENCES:
            assert getattr(scores, name) == pytest.approx(np.zeros(20), abs=1e-9)


def test_draws_that_agree_are_far_apart_in_entropy_where_the_interval_cuts_them_off():
    draws = GaussianDraws(np.full((5, 2), [0.5, 0.95]), np.full((5, 2), 0.1))
    bald = reference_grid_scores(draws, location=0.0, scale=1.0).bald_entropy
    assert abs(bald[0]) < 0.05
    assert abs(bald[1]) > 1


def test_units_of_the_network_do_not_matter():
    rng = np.random.default_rng(3)
    mean, deviation = rng.uniform(0.2, 0.8, (4, 9)), rng.uniform(0.06, 0.3, (4, 9))
    unit = reference_grid_scores(GaussianDraws(mean, deviation), location=0.0, scale=1.0)
    standard = reference_grid_scores(GaussianDraws((mean - 0.3) / 0.17, deviation / 0.17), location=0.3, scale=0.17)
    for one, other in zip(astuple(unit), astuple(standard), strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9)


def test_the_last_draw_counts_in_pairs_and_not_in_the_pool_of_entropies():
    rng = np.random.default_rng(4)
    mean, deviation = rng.uniform(0.3, 0.7, (4, 9)), rng.uniform(0.1, 0.3, (4, 9))
    before = reference_grid_scores(GaussianDraws(mean, deviation), location=0.0, scale=1.0)
    mean[-1] += 0.05
    after = reference_grid_scores(GaussianDraws(mean, deviation), location=0.0, scale=1.0)
    assert (before.pool_entropy == after.pool_entropy).all()
    assert (before.kl_pairs != after.kl_pairs).all()


def test_draws_that_are_not_finite_have_no_score(spline_draws):
    draws = spline_draws(5, 3, 6)
    draws.knots[1, 4, 0, 2, 3] = np.nan
    gaussian = GaussianDraws(np.full((3, 6), 0.5), np.full((3, 6), 0.2))
    gaussian.mean[2, 4] = np.inf
    for given in (draws, gaussian):
        for score in astuple(reference_grid_scores(given, location=0.0, scale=1.0)):
            assert np.flatnonzero(np.isnan(score)).tolist() == [4]
    assert np.argwhere(np.isnan(reference_entropies(draws, location=0.0, scale=1.0))).tolist() == [[1, 4]]


def test_few_nodes_are_refused():
    draws = SplineDraws(np.zeros((2, 1, 2, 3, 5), dtype=np.float32))
    for score in (reference_grid_scores, reference_entropies):
        with pytest.raises(ConfigurationError, match="at least 8"):
            score(draws, location=0.0, scale=1.0, grid_nodes=7)
