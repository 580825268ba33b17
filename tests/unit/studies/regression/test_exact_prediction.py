import numpy as np
import pytest
import scoringrules
import torch
import zuko
from scipy import integrate, stats

from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.studies.regression.models.exact_prediction import exact_prediction, mode_of_samples
from bayesgrid.studies.regression.models.spline_flow import spline_knots


def random_flow(rows: int, spread: float, seed: int = 0) -> tuple[SplineDraws, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    raw = [(spread * rng.standard_normal((rows, 23))).astype(np.float32) for _ in range(2)]
    knots = np.empty((1, rows, 2, 3, 9), dtype=np.float32)
    for transform in range(2):
        spline_knots(raw[transform], 8, knots[0, :, transform])
    return SplineDraws(knots), raw


def zuko_splines(raw: list[np.ndarray], row: int) -> list[zuko.transforms.MonotonicRQSTransform]:
    tensors = [torch.from_numpy(values[row]).double() for values in raw]
    return [zuko.transforms.MonotonicRQSTransform(v[:8], v[8:16], v[16:]) for v in tensors]


def test_splines_without_effect_give_the_standard_normal() -> None:
    rows = 200
    knots = np.empty((1, rows, 2, 3, 9), dtype=np.float32)
    for transform in range(2):
        spline_knots(np.zeros((rows, 23), dtype=np.float32), 8, knots[0, :, transform])
    targets = np.linspace(-9.0, 9.0, rows)
    prediction = exact_prediction(SplineDraws(knots), targets)
    np.testing.assert_allclose(prediction.log_density, stats.norm.logpdf(targets), atol=1e-6)
    np.testing.assert_allclose(prediction.probability_integral, stats.norm.cdf(targets), atol=1e-6)
    np.testing.assert_allclose(prediction.crps, scoringrules.crps_normal(targets, 0.0, 1.0), atol=1e-6)
    np.testing.assert_allclose(prediction.median, 0.0, atol=1e-6)
    np.testing.assert_allclose(prediction.mean, 0.0, atol=1e-6)
    np.testing.assert_allclose(prediction.standard_deviation, 1.0, atol=1e-6)
    np.testing.assert_allclose(prediction.lower, stats.norm.ppf(0.05), atol=1e-6)
    np.testing.assert_allclose(prediction.upper, stats.norm.ppf(0.95), atol=1e-6)


def test_random_flows_agree_with_numerical_integration_of_zuko() -> None:
    rows = 12
    densities, raw = random_flow(rows, 0.7)
    targets = np.random.default_rng(5).normal(0, 1.5, rows)
    targets[0] = 6.5
    prediction = exact_prediction(densities, targets)
    # A fine trapezoid in y, where the code integrates over z; the grid reaches far into the identity tails.
    grid = np.linspace(-9.0, 9.0, 180_001)
    for row in range(rows):
        first, second = zuko_splines(raw, row)
        middle, log_first = first.call_and_ladj(torch.from_numpy(grid))
        image, log_second = second.call_and_ladj(middle)
        density = stats.norm.pdf(image.numpy()) * np.exp((log_first + log_second).numpy())
        probability = stats.norm.cdf(image.numpy())
        assert integrate.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-5)
        mean = integrate.trapezoid(density * grid, grid)
        variance = integrate.trapezoid(density * (grid - mean) ** 2, grid)
        crps = integrate.trapezoid((probability - (grid >= targets[row])) ** 2, grid)
        assert prediction.mean[row] == pytest.approx(mean, abs=1e-4)
        assert prediction.standard_deviation[row] == pytest.approx(np.sqrt(variance), rel=1e-3)
        assert prediction.crps[row] == pytest.approx(crps, rel=1e-3, abs=1e-4)
        at_target = np.interp(targets[row], grid, probability)
        assert prediction.probability_integral[row] == pytest.approx(at_target, abs=1e-5)
        for field, level in (("lower", 0.05), ("median", 0.5), ("upper", 0.95)):
            assert getattr(prediction, field)[row] == pytest.approx(np.interp(level, probability, grid), abs=1e-4)


def test_crps_of_flows_is_the_energy_form_of_their_samples() -> None:
    densities, _ = random_flow(3, 1.0, seed=2)
    targets = np.array([-1.0, 0.3, 2.0])
    prediction = exact_prediction(densities, targets)
    uniform = (np.arange(20_000) + 0.5) / 20_000
    for row in range(3):
        one = SplineDraws(np.repeat(densities.knots[:, row : row + 1], len(uniform), axis=1))
        samples = mode_of_samples(one, stats.norm.ppf(uniform)[:, None])
        energy = scoringrules.crps_ensemble(targets[row], samples)
        assert prediction.crps[row] == pytest.approx(energy, rel=2e-3)
        assert prediction.mean[row] == pytest.approx(samples.mean(), abs=2e-3)


def test_gaussian_quantities_are_closed_forms() -> None:
    rng = np.random.default_rng(1)
    mean, deviation = rng.normal(size=(1, 40)), rng.uniform(0.01, 3, (1, 40))
    targets = rng.normal(size=40)
    prediction = exact_prediction(GaussianDraws(mean, deviation), targets)
    np.testing.assert_allclose(prediction.log_density, stats.norm.logpdf(targets, mean[0], deviation[0]))
    np.testing.assert_allclose(prediction.crps, scoringrules.crps_normal(targets, mean[0], deviation[0]), atol=1e-12)
    np.testing.assert_allclose(prediction.upper, stats.norm.ppf(0.95, mean[0], deviation[0]))
    np.testing.assert_allclose(prediction.probability_integral, stats.norm.cdf(targets, mean[0], deviation[0]))


def test_rescaling_moves_a_gaussian_as_it_should() -> None:
    targets = np.array([0.2, -0.4])
    narrow = exact_prediction(GaussianDraws(np.array([[0.5, 0.1]]), np.array([[0.3, 2.0]])), targets)
    moved = narrow.rescaled(location=4.0, scale=0.5)
    direct = exact_prediction(GaussianDraws(np.array([[4.25, 4.05]]), np.array([[0.15, 1.0]])), 4.0 + 0.5 * targets)
    for field in ("log_density", "crps", "median", "mean", "standard_deviation", "lower", "upper"):
        np.testing.assert_allclose(getattr(moved, field), getattr(direct, field), atol=1e-12, err_msg=field)


def test_mode_is_the_densest_sample() -> None:
    rows = 30
    densities, raw = random_flow(rows, 1.0, seed=3)
    normal = np.random.default_rng(0).standard_normal((rows, 64))
    modes = mode_of_samples(densities, normal)
    for row in range(rows):
        first, second = zuko_splines(raw, row)
        samples = first.inv(second.inv(torch.from_numpy(normal[row])))
        middle, log_first = first.call_and_ladj(samples)
        image, log_second = second.call_and_ladj(middle)
        log_density = -0.5 * image**2 + log_first + log_second
        assert modes[row] == pytest.approx(float(samples[log_density.argmax()]), abs=1e-4)
    mean, deviation = np.array([[2.0]]), np.array([[0.5]])
    gaussian = mode_of_samples(GaussianDraws(mean, deviation), np.array([[1.0, -0.2, 0.4]]))
    assert gaussian[0] == pytest.approx(1.9)
