import itertools
import math

import numpy as np
import pytest
import torch
import zuko
from scipy import stats

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.errors import DataError
from bayesgrid.studies.regression.models.spline_flow import spline_knots
from bayesgrid.studies.regression.score_diagnostics import (
    batch_similarity,
    distinct_masks,
    grid_coverage,
    noise_floor,
    spread_correlations,
)


def gaussian_draws(draws: int, inputs: int, seed: int = 0) -> GaussianDraws:
    rng = np.random.default_rng(seed)
    return GaussianDraws(rng.normal(size=(draws, inputs)), rng.uniform(0.2, 2.0, (draws, inputs)))


def random_splines(draws: int, inputs: int, seed: int = 0) -> tuple[SplineDraws, np.ndarray]:
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((draws, inputs, 2, 23)).astype(np.float32)
    knots = np.empty((draws, inputs, 2, 3, 9), dtype=np.float32)
    for draw, transform in itertools.product(range(draws), range(2)):
        spline_knots(np.ascontiguousarray(raw[draw, :, transform]), 8, knots[draw, :, transform])
    return SplineDraws(knots), raw


def zuko_images(raw: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return where the flow of the unconstrained numbers `[2, 23]` puts targets `[G]`."""
    values = torch.from_numpy(targets)
    for numbers in torch.from_numpy(raw).double():
        values = zuko.transforms.MonotonicRQSTransform(numbers[:8], numbers[8:16], numbers[16:])(values)
    return values.numpy()


def test_correlations_of_gaussian_draws_are_scipys_with_the_spreads_of_the_parameters() -> None:
    draws = gaussian_draws(6, 40)
    scores = np.round(0.1 * np.random.default_rng(1).normal(size=40) + draws.standard_deviation.mean(axis=0), 1)
    assert len(np.unique(scores)) < 40
    aleatoric, epistemic = spread_correlations(scores, draws)
    assert aleatoric == pytest.approx(stats.spearmanr(scores, draws.standard_deviation.mean(axis=0)).statistic)
    assert epistemic == pytest.approx(stats.spearmanr(scores, draws.mean.std(axis=0)).statistic)
    assert aleatoric > epistemic + 0.2


def test_correlations_of_spline_draws_are_scipys_with_the_spreads_of_their_samples() -> None:
    draws, raw = random_splines(3, 12)
    # Draws by inverting zuko's maps at the quantiles of an even grid of probabilities.
    grid = np.linspace(-9.0, 9.0, 20_001)
    base = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    samples = np.array([[np.interp(base, zuko_images(one, grid), grid) for one in draw] for draw in raw])
    scores = np.random.default_rng(2).normal(size=12)
    aleatoric, epistemic = spread_correlations(scores, draws, quadrature_nodes=256)
    assert aleatoric == pytest.approx(stats.spearmanr(scores, samples.std(axis=2).mean(axis=0)).statistic)
    assert epistemic == pytest.approx(stats.spearmanr(scores, samples.mean(axis=2).std(axis=0)).statistic)


def test_candidates_without_a_finite_score_or_density_are_not_ranked() -> None:
    full = gaussian_draws(4, 20, seed=3)
    mean = full.mean.copy()
    mean[2, 7] = np.nan
    scores = np.random.default_rng(4).normal(size=20)
    scores[[0, 5]] = np.inf, np.nan
    rest = np.setdiff1d(np.arange(20), [0, 5, 7])
    few = GaussianDraws(full.mean[:, rest], full.standard_deviation[:, rest])
    got = spread_correlations(scores, GaussianDraws(mean, full.standard_deviation))
    assert got == pytest.approx(spread_correlations(scores[rest], few))
    assert np.isfinite(got).all()


@pytest.mark.parametrize("scores", [None, np.ones(5), np.array([1.0, 2.0, np.nan, np.nan, np.inf])])
def test_scores_that_rank_nothing_correlate_with_nothing(scores: np.ndarray | None) -> None:
    assert all(math.isnan(value) for value in spread_correlations(scores, gaussian_draws(3, 5)))


def test_identical_draws_leave_only_the_epistemic_correlation_undefined() -> None:
    draws = GaussianDraws(np.tile([0.0, 1.0, 2.0, 3.0], (3, 1)), np.tile([4.0, 3.0, 2.0, 1.0], (3, 1)))
    aleatoric, epistemic = spread_correlations(np.array([1.0, 2.0, 3.0, 4.0]), draws)
    assert aleatoric == pytest.approx(-1.0)
    assert math.isnan(epistemic)


def test_scores_of_other_candidates_are_refused() -> None:
    with pytest.raises(DataError, match="different candidates"):
        spread_correlations(np.zeros(4), gaussian_draws(3, 5))


def test_the_noise_floor_is_the_ratio_of_the_means_of_finite_scores() -> None:
    assert noise_floor(np.array([1.0, 2.0, np.nan]), np.array([6.0, np.inf, 2.0])) == pytest.approx(1.5 / 4.0)


def test_exact_scores_have_no_noise_floor_and_sampled_ones_do() -> None:
    rng = np.random.default_rng(5)
    posterior = gaussian_draws(8, 30)
    same = GaussianDraws(np.tile(posterior.mean[:1], (8, 1)), np.tile(posterior.standard_deviation[:1], (8, 1)))
    exact = [density_disagreement(draws).kl_consecutive for draws in (same, posterior)]
    assert noise_floor(*exact) == pytest.approx(0.0, abs=1e-12)

    def sampled(draws: GaussianDraws) -> np.ndarray:
        samples = rng.normal(draws.mean[..., None], draws.standard_deviation[..., None], (8, 30, 64))
        pairs = itertools.pairwise(samples)
        return sum(np.array([stats.wasserstein_distance(a, b) for a, b in zip(*pair, strict=True)]) for pair in pairs)

    assert noise_floor(sampled(same), sampled(posterior)) > 0.1


@pytest.mark.parametrize(
    ("without", "scores"),
    [(None, np.ones(3)), (np.ones(3), None), (np.ones(3), np.zeros(3)), (np.ones(2), np.full(2, np.nan))],
)
def test_there_is_no_noise_floor_without_a_level(without: np.ndarray | None, scores: np.ndarray | None) -> None:
    assert math.isnan(noise_floor(without, scores))


def test_coverage_of_gaussian_draws_is_that_of_scipys_distribution_function() -> None:
    draws = gaussian_draws(4, 7)
    lower, upper = np.linspace(-2.0, 0.0, 7), np.linspace(0.5, 1.5, 7)
    mass = stats.norm.cdf(upper, draws.mean, draws.standard_deviation) - stats.norm.cdf(
        lower, draws.mean, draws.standard_deviation
    )
    assert grid_coverage(draws, lower, upper) == pytest.approx(mass.mean(), rel=1e-12)
    assert grid_coverage(draws, -np.inf, np.inf) == pytest.approx(1.0)


@pytest.mark.parametrize(("lower", "upper"), [(-1.0, 0.8), (-7.0, 6.0), (2.0, 2.0), (-np.inf, 0.0)])
def test_coverage_of_spline_draws_is_that_of_zukos_map(lower: float, upper: float) -> None:
    draws, raw = random_splines(3, 5, seed=1)
    ends = np.array([lower, upper])
    mass = [np.diff(stats.norm.cdf(zuko_images(raw[index], ends)))[0] for index in np.ndindex(3, 5)]
    assert grid_coverage(draws, lower, upper) == pytest.approx(np.mean(mass), abs=1e-6)


def test_coverage_of_spline_draws_takes_the_bounds_of_each_candidate() -> None:
    draws, raw = random_splines(2, 4, seed=2)
    ends = np.sort(np.random.default_rng(3).normal(size=(4, 2)), axis=1)
    mass = [np.diff(stats.norm.cdf(zuko_images(raw[draw, c], ends[c])))[0] for draw, c in np.ndindex(2, 4)]
    assert grid_coverage(draws, ends[:, 0], ends[:, 1]) == pytest.approx(np.mean(mass), abs=1e-6)


def test_coverage_leaves_out_draws_that_are_not_finite() -> None:
    splines, _ = random_splines(2, 3)
    broken = splines.knots.copy()
    broken[0] = np.nan
    assert grid_coverage(SplineDraws(broken), -1.0, 1.0) == grid_coverage(SplineDraws(splines.knots[1:]), -1.0, 1.0)
    gaussians = GaussianDraws(np.array([[0.0, np.nan]]), np.ones((1, 2)))
    assert grid_coverage(gaussians, -1.0, 1.0) == pytest.approx(stats.norm.cdf(1) - stats.norm.cdf(-1))
    assert math.isnan(grid_coverage(GaussianDraws(np.full((1, 2), np.nan), np.ones((1, 2))), 0.0, 1.0))


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (np.nan, 1.0), (np.array([0.0, 2.0]), 1.0)])
def test_an_interval_that_ends_before_it_begins_is_refused(bounds: tuple) -> None:
    with pytest.raises(DataError, match="ends before it begins"):
        grid_coverage(gaussian_draws(2, 2), *bounds)


def test_batch_similarity_is_the_mean_cosine_over_pairs() -> None:
    rng = np.random.default_rng(6)
    candidates = rng.normal(3.0, 1.0, (50, 8)).astype(np.float32)
    chosen = candidates[rng.permutation(50)[:7]]
    centred = chosen.astype(float) - candidates.astype(float).mean(axis=0)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.combinations(centred, 2)]
    assert batch_similarity(chosen, candidates) == pytest.approx(np.mean(cosines))


def test_a_batch_from_one_corner_is_more_alike_than_a_random_one() -> None:
    rng = np.random.default_rng(7)
    candidates = rng.normal(size=(300, 16))
    corner = candidates[np.argsort(-candidates[:, 0] - candidates[:, 1])[:10]]
    assert batch_similarity(corner, candidates) > batch_similarity(candidates[:10], candidates) + 0.1
    assert batch_similarity(np.repeat(candidates[:1], 5, axis=0), candidates) == pytest.approx(1.0)


def test_a_batch_of_one_direction_or_none_has_no_similarity() -> None:
    candidates = np.array([[0.0, 0.0], [2.0, 2.0]])
    assert math.isnan(batch_similarity(candidates[:1], candidates))
    assert math.isnan(batch_similarity(np.array([[1.0, 1.0], [2.0, 2.0]]), candidates))
    assert math.isnan(batch_similarity(np.array([[np.nan, 1.0], [2.0, 2.0]]), candidates))
    assert batch_similarity(candidates, candidates) == pytest.approx(-1.0)


def test_masks_are_distinct_if_they_differ_in_any_layer() -> None:
    first = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    second = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    assert distinct_masks([first, second]) == 3
    assert distinct_masks([first]) == 2


def test_random_masks_are_counted_as_a_set_of_tuples_is() -> None:
    rng = np.random.default_rng(8)
    masks = [(rng.random((200, width)) < 0.8).astype(np.float32) / np.float32(0.8) for width in (2, 3)]
    expected = len({(*first.tolist(), *second.tolist()) for first, second in zip(*masks, strict=True)})
    assert distinct_masks(masks) == expected < 32
