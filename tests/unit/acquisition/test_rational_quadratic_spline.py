import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import ndtri
from zuko.transforms import MonotonicRQSTransform

from bayesgrid.acquisition.rational_quadratic_spline import spline_log_density, spline_quantiles


def _log_density(knots, nodes):
    out, images = np.empty(len(nodes)), np.empty(len(nodes))
    spline_log_density(knots, nodes, out, images)
    return out, images


def _quantiles(knots, base):
    out = np.empty(len(base))
    spline_quantiles(knots, base, out)
    return out


@pytest.mark.parametrize("seed", range(3))
def test_log_density_equals_zukos_spline(seed):
    rng = np.random.default_rng(seed)
    nodes = np.sort(rng.uniform(-7, 7, 300))
    value, log_slope, knots = torch.tensor(nodes), 0.0, []
    for _ in range(2):
        raw = [torch.tensor(rng.normal(0, 1, size)) for size in (8, 8, 7)]
        transform = MonotonicRQSTransform(*raw, bound=5.0)
        knots.append(np.stack([transform.horizontal, transform.vertical, transform.derivatives]))
        value, ladj = transform.call_and_ladj(value)
        log_slope = log_slope + ladj
    # float64 knots, so that the comparison is of the formulas and not of the rounding of knots
    log_density, images = _log_density(np.stack(knots), nodes)
    assert images == pytest.approx(value.numpy(), abs=1e-9)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(value) + log_slope
    assert log_density == pytest.approx(expected.numpy(), abs=1e-7)


def test_log_density_equals_the_reference_at_float32_knots(spline_draws, reference_flow):
    nodes = np.linspace(-7, 7, 501)
    for knots in spline_draws(3, 1, 20).knots[0]:
        assert _log_density(knots, nodes)[0] == pytest.approx(reference_flow(knots).log_density(nodes), abs=1e-10)


def test_density_integrates_to_one(spline_draws):
    for knots in spline_draws(5, 1, 3).knots[0]:
        density = lambda y, knots=knots: np.exp(_log_density(knots, np.array([y]))[0][0])  # noqa: E731
        edges = sorted({-9.0, 9.0, *knots[0, 0].tolist(), *_quantiles(knots, ndtri([0.01, 0.5, 0.99])).tolist()})
        total = sum(quad(density, a, b, epsabs=1e-9)[0] for a, b in itertools.pairwise(edges))
        assert total == pytest.approx(1.0, abs=1e-5)


def test_quantiles_are_those_found_by_bisection(spline_draws, reference_flow):
    base = np.linspace(-6.5, 6.5, 101)
    for knots in spline_draws(7, 1, 20).knots[0]:
        assert _quantiles(knots, base) == pytest.approx(reference_flow(knots).quantiles(base), abs=1e-9)


def test_quantiles_and_images_are_inverse(spline_draws):
    base = np.linspace(-6.5, 6.5, 101)
    for knots in spline_draws(11, 1, 20, shape=2.0).knots[0]:
        assert _log_density(knots, _quantiles(knots, base))[1] == pytest.approx(base, abs=1e-7)


def test_bins_without_width_or_height_give_finite_numbers(spline_draws):
    knots = spline_draws(13, 1, 1).knots[0, 0].copy()
    knots[0, 0, 3] = knots[0, 0, 4]  # no width in the first spline
    knots[1, 1, 5] = knots[1, 1, 6]  # no height in the second
    nodes = np.sort(np.concatenate([np.linspace(-6, 6, 400), knots[0, 0].astype(float)]))
    quantiles = _quantiles(knots, np.linspace(-6, 6, 400))
    assert np.isfinite(_log_density(knots, nodes)[0]).all()
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles) >= -1e-9).all()
