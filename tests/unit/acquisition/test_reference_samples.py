from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm, spearmanr, wasserstein_distance

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.acquisition.reference_samples import (
    DensitySamples,
    density_samples,
    earth_mover_all_pairs,
    earth_mover_consecutive,
    last_less_first,
    mean_of_means_difference,
    mixture_anomaly,
    noisy_modes,
    sample_deviations,
    sampled_peaks,
)


def _samples(seed, candidates=5, draws=6, count=64):
    rng = np.random.default_rng(seed)
    targets = np.sort(rng.normal(rng.normal(size=(1, draws, 1)), 1, (candidates, draws, count)), axis=2)
    return DensitySamples(targets.astype(np.float32), rng.normal(size=targets.shape).astype(np.float32))


def _all(draws, seed=0, location=0.0, scale=1.0):
    parts = list(density_samples(draws, np.random.default_rng(seed), location=location, scale=scale))
    return DensitySamples(
        np.concatenate([part.targets for part in parts]), np.concatenate([part.log_density for part in parts])
    )


@pytest.mark.parametrize(("location", "scale"), [(0.0, 1.0), (0.4, 0.2)])
def test_samples_of_flows_follow_their_densities(spline_draws, reference_flow, location, scale):
    draws = spline_draws(0, 3, 3)
    samples = _all(SplineDraws(np.tile(draws.knots, (1, 100, 1, 1, 1, 1)[:5])), location=location, scale=scale)
    assert samples.targets.shape == (300, 3, 64)
    assert (np.diff(samples.targets, axis=2) >= 0).all()
    for candidate in range(3):
        for draw in range(3):
            flow = reference_flow(draws.knots[draw, candidate])
            own = (samples.targets[candidate::3, draw].astype(np.float64) - location) / scale
            assert kstest(norm.cdf(flow.forward(own.ravel())[0]), "uniform").pvalue > 1e-4
            expected = flow.log_density(own) - np.log(scale)
            # Rounding a target moves its density where the flow is steep.
            error = np.abs(samples.log_density[candidate::3, draw] - expected)
            assert np.quantile(error, 0.99) < 1e-3


@pytest.mark.parametrize(("location", "scale"), [(0.0, 1.0), (0.4, 0.2)])
def test_samples_of_gaussians_follow_their_densities(location, scale):
    mean, deviation = np.array([[0.2, 0.9, 0.5], [0.5, 0.4, 0.1]]), np.array([[0.1, 0.02, 0.2], [0.3, 1.0, 0.5]])
    standard = GaussianDraws((mean - location) / scale, deviation / scale)
    repeated = GaussianDraws(np.tile(standard.mean, 300), np.tile(standard.standard_deviation, 300))
    samples = _all(repeated, location=location, scale=scale)
    for candidate in range(3):
        for draw in range(2):
            member = norm(mean[draw, candidate], deviation[draw, candidate])
            own = samples.targets[candidate::3, draw]
            assert kstest(own.ravel(), member.cdf).pvalue > 1e-4
            assert samples.log_density[candidate::3, draw] == pytest.approx(member.logpdf(own), abs=1e-3)


def test_every_draw_of_every_candidate_has_its_own_samples_whatever_else_is_scored():
    many = GaussianDraws(np.zeros((3, 600)), np.ones((3, 600)))
    few = GaussianDraws(np.zeros((3, 300)), np.ones((3, 300)))
    samples = _all(many)
    assert (_all(few).targets == samples.targets[:300]).all()
    assert len(np.unique(samples.targets)) > 0.98 * samples.targets.size
    assert abs(np.corrcoef(samples.targets[:, 0].mean(axis=1), samples.targets[:, 1].mean(axis=1))[0, 1]) < 0.2


def test_samples_of_a_draw_that_is_not_finite_are_missing(spline_draws):
    flows = spline_draws(1, 3, 4)
    flows.knots[2, 1, 0, 0, 0] = np.nan
    gaussians = GaussianDraws(np.zeros((3, 4)), np.ones((3, 4)))
    gaussians.mean[2, 1] = np.inf
    for draws in (flows, gaussians):
        samples = _all(draws)
        for values in (samples.targets, samples.log_density):
            assert np.unique(np.argwhere(~np.isfinite(values))[:, :2], axis=0).tolist() == [[1, 2]]
        assert np.flatnonzero(np.isnan(earth_mover_consecutive(samples))).tolist() == [1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_distances_are_those_of_scipy(seed, draws):
    samples = _samples(seed, candidates=2, draws=draws)
    for candidate, rows in enumerate(samples.targets):
        pairs = {(a, b): wasserstein_distance(rows[a], rows[b]) for a, b in combinations(range(draws), 2)}
        consecutive = sum(distance for (a, b), distance in pairs.items() if b == a + 1)
        assert earth_mover_consecutive(samples)[candidate] == pytest.approx(consecutive, rel=1e-5)
        assert earth_mover_all_pairs(samples)[candidate] == pytest.approx(sum(pairs.values()), rel=1e-5, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(6)))
def test_all_pairs_do_not_depend_on_the_order_of_the_masks(order):
    samples = _samples(3)
    permuted = DensitySamples(samples.targets[:, order], samples.log_density[:, order])
    assert earth_mover_all_pairs(permuted) == pytest.approx(earth_mover_all_pairs(samples), rel=1e-12)
    assert mixture_anomaly(permuted) == pytest.approx(mixture_anomaly(samples), rel=1e-12)


def test_equal_draws_are_apart_by_a_floor_that_grows_with_their_width():
    deviation = np.geomspace(0.01, 1, 200)
    draws = GaussianDraws(np.tile(np.random.default_rng(0).uniform(size=200), (25, 1)), np.tile(deviation, (25, 1)))
    samples = _all(draws)
    for score in (earth_mover_consecutive(samples), earth_mover_all_pairs(samples)):
        assert score.min() > 0
        assert spearmanr(score, deviation).statistic > 0.99
    # The mean distance of two samples of 64 from one standard Gaussian, by simulation.
    rng = np.random.default_rng(1)
    pairs = np.sort(rng.normal(size=(2, 4000, 64)), axis=2)
    floor = np.abs(pairs[0] - pairs[1]).mean()
    assert (earth_mover_consecutive(samples) / deviation).mean() == pytest.approx(24 * floor, rel=0.03)


def test_moments_and_modes_are_those_of_the_samples():
    samples = _samples(4)
    for i in range(5):
        for h in range(6):
            targets, log_density = samples.targets[i, h].astype(float), samples.log_density[i, h]
            mean = sum(targets) / 64
            deviation = (sum((t - mean) ** 2 for t in targets) / 63) ** 0.5
            assert sample_deviations(samples)[i, h] == pytest.approx(deviation, rel=1e-6)
            assert noisy_modes(samples)[i, h] == max(zip(log_density, targets, strict=True))[1]
            assert sampled_peaks(samples)[i, h] == max(log_density)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_sums_of_consecutive_differences_telescope(values):
    steps = sum(values[h + 1] - values[h] for h in range(len(values) - 1))
    assert last_less_first(np.array([values]))[0] == pytest.approx(steps, abs=1e-9)


def test_the_anomaly_is_the_sum_of_the_formula():
    samples = _samples(5)
    density = np.exp(samples.log_density.astype(np.float64))
    for i in range(5):
        mixture = [sum(density[i, h, s] for h in range(6)) / 6 for s in range(64)]
        expected = -sum(np.log(density[i, h, s] / mixture[s]) for h in range(6) for s in range(64))
        assert mixture_anomaly(samples)[i] == pytest.approx(expected, rel=1e-9)


def test_a_mean_of_means_less_itself_is_rounding_and_knows_no_disagreement():
    rng = np.random.default_rng(6)
    spread = rng.uniform(0, 0.3, 400)
    draws = GaussianDraws(rng.normal(0.5, spread, (25, 400)), rng.uniform(0.05, 0.3, (25, 400)))
    scores = mean_of_means_difference(_all(draws))
    assert 0 < np.abs(scores).max() < 1e-4
    information = density_disagreement(draws).mutual_information
    assert abs(spearmanr(scores, information).statistic) < 0.15
    one_order = _all(draws).log_density.astype(np.float64)
    assert one_order.mean(axis=2).mean(axis=1) == pytest.approx(one_order.mean(axis=1).mean(axis=1), rel=1e-12)


def test_rounding_is_larger_where_log_densities_are_so_the_narrowest_densities_rank_first():
    rng = np.random.default_rng(7)
    deviations = 10 ** rng.uniform(-3, -0.5, 4000)
    draws = GaussianDraws(*(np.tile(values, (25, 1)) for values in (rng.random(4000), deviations)))
    scores = mean_of_means_difference(_all(draws))
    highest = deviations[np.argsort(-scores)[:50]]
    # A random batch of 50 has its median within a factor of two of that of all, nearly always.
    assert np.median(highest) < np.median(deviations) / 3
