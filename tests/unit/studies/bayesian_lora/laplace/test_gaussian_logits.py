import math

import numpy as np
import pytest
import torch
from scipy.integrate import nquad, quad
from scipy.special import expit
from scipy.stats import norm

from bayesgrid.errors import NumericalError
from bayesgrid.studies.bayesian_lora.laplace.gaussian_logits import (
    expected_probabilities,
    expected_sigmoid,
    gaussian_logit_draws,
    probit_sigmoid,
    quasi_random_normals,
)

MEANS = (-20.0, -3.0, -0.4, 0.0, 1.5, 8.0)


def _sigmoid_integral(mean, variance):
    deviation = math.sqrt(variance)
    middle = -mean / deviation
    return quad(
        lambda z: expit(mean + deviation * z) * norm.pdf(z),
        -14,
        14,
        points=[middle] if abs(middle) < 14 else None,
        limit=500,
        epsabs=1e-14,
        epsrel=1e-13,
    )[0]


def _covariance(size, seed, scale=1.0):
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * root @ root.T


@pytest.mark.parametrize("variance", [1e-4, 0.25, 0.999, 1.001, 4.0, 25.0, 400.0, 1e4])
def test_the_expected_sigmoid_is_that_of_adaptive_quadrature(variance):
    means = torch.tensor(MEANS, dtype=torch.float64)
    found = expected_sigmoid(means, torch.full_like(means, variance))
    expected = [_sigmoid_integral(mean, variance) for mean in MEANS]
    assert found.tolist() == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_thirty_two_nodes_alone_would_fail_at_large_variances():
    points, weights = np.polynomial.hermite.hermgauss(32)
    plain = expit(3.0 + math.sqrt(200) * points) @ weights / math.sqrt(math.pi)
    assert abs(plain - _sigmoid_integral(3.0, 100.0)) > 1e-3


def test_without_variance_the_sigmoid_is_left():
    means = torch.tensor(MEANS, dtype=torch.float64)
    assert torch.allclose(expected_sigmoid(means, torch.zeros_like(means)), torch.sigmoid(means), rtol=1e-13)
    assert torch.equal(probit_sigmoid(means, torch.zeros_like(means)), torch.sigmoid(means))


def test_the_probit_approximation_is_near_but_not_exact():
    means = torch.tensor(MEANS, dtype=torch.float64)
    errors = [
        float(
            (probit_sigmoid(means, torch.full_like(means, v)) - expected_sigmoid(means, torch.full_like(means, v)))
            .abs()
            .max()
        )
        for v in (0.1, 1.0, 10.0)
    ]
    assert errors[0] < 1e-3
    assert 1e-3 < errors[2] < 2e-2


def test_two_classes_take_the_variance_of_the_difference():
    covariance = _covariance(2, 0)
    mean = torch.tensor([[0.2, 1.0]], dtype=torch.float64)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    second = _sigmoid_integral(0.8, variance)
    found = expected_probabilities(mean, covariance[None])
    assert found[0].tolist() == pytest.approx([1 - second, second], abs=1e-8)


def test_three_classes_come_near_to_the_integral_in_two_dimensions():
    mean, covariance = torch.tensor([[0.5, -0.2, 1.0]], dtype=torch.float64), _covariance(3, 1)
    contrast = torch.tensor([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    root = torch.linalg.cholesky(contrast @ covariance @ contrast.T).numpy()
    centre = (contrast @ mean[0]).numpy()

    def integrand(x, y, option):
        shifted = np.concatenate([[0.0], centre + root @ np.array([x, y])])
        exponentials = np.exp(shifted - shifted.max())
        return exponentials[option] / exponentials.sum() * norm.pdf(x) * norm.pdf(y)

    limits = {"epsabs": 1e-6, "epsrel": 1e-6}
    exact = [nquad(integrand, [(-7, 7), (-7, 7)], args=(option,), opts=limits)[0] for option in (0, 1)]
    exact.append(1 - sum(exact))
    errors = {
        draws: np.mean(
            [
                (expected_probabilities(mean, covariance[None], draws=draws, seed=seed)[0] - torch.tensor(exact))
                .abs()
                .max()
                for seed in range(10)
            ]
        )
        for draws in (64, 1024)
    }
    # Independent draws would have errors near 0.3 / sqrt(S), 1e-2 with 1024, and gain a factor 4 from 16 times as many.
    assert errors[1024] < 1e-3
    assert errors[64] > 6 * errors[1024]


def test_draws_have_the_moments_asked_for_in_differences():
    mean, covariance = torch.tensor([[1.0, -2.0, 0.5, 0.0]], dtype=torch.float64), _covariance(4, 2)
    draws = gaussian_logit_draws(mean, covariance[None], 8192, 0)[:, 0]
    differences = draws[:, 1:] - draws[:, :1]
    contrast = torch.cat([-torch.ones(3, 1), torch.eye(3)], 1).double()
    assert torch.allclose(differences.mean(0), contrast @ mean[0], atol=5e-3)
    expected = contrast @ covariance @ contrast.T
    assert torch.allclose(torch.cov(differences.T), expected, atol=0.01 * float(expected.max()))


def test_a_common_shift_and_singular_covariances_change_no_probability():
    mean, covariance = (
        torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        _covariance(4, 3),
    )
    shifted = covariance + 5.0
    one = gaussian_logit_draws(mean, covariance.expand(3, 4, 4), 32, 1).softmax(-1)
    other = gaussian_logit_draws(mean, shifted.expand(3, 4, 4), 32, 1).softmax(-1)
    assert torch.allclose(one, other, atol=1e-9)
    certain = gaussian_logit_draws(mean, torch.full((3, 4, 4), 7.0), 8, 1)
    assert torch.allclose(certain.softmax(-1), mean.softmax(-1).expand(8, 3, 4), atol=1e-6)
    line = torch.outer(torch.tensor([0.0, 1.0, -2.0, 3.0]), torch.tensor([0.0, 1.0, -2.0, 3.0])).double()
    moved = gaussian_logit_draws(mean, line.expand(3, 4, 4), 16, 1) - mean
    assert torch.linalg.matrix_rank(moved[:, 0], atol=1e-6) == 1


def test_absent_options_neither_count_nor_move():
    mean = torch.tensor([[0.3, 1.0, 9.0], [0.1, 0.2, 0.3], [2.0, 1.0, 0.0]], dtype=torch.float64)
    covariance = _covariance(3, 4).expand(3, 3, 3).clone()
    covariance[0, 2, :] = covariance[0, :, 2] = torch.nan
    options = torch.tensor([2, 3, 1])
    found = expected_probabilities(mean, covariance, options=options)
    alone = expected_probabilities(mean[:1, :2], covariance[:1, :2, :2])
    assert torch.allclose(found[0], torch.cat([alone[0], torch.zeros(1, dtype=torch.float64)]), atol=1e-14)
    assert torch.equal(found[1], expected_probabilities(mean[1:2], covariance[1:2])[0])
    assert found[2].tolist() == [1.0, 0.0, 0.0]
    draws = gaussian_logit_draws(mean, covariance, 16, 0, options=options)
    assert torch.equal(draws[:, 0, 2], torch.full((16,), 9.0, dtype=torch.float64))
    assert draws[:, 0, 1].std() > 0


def test_a_draw_depends_on_seed_and_number_alone():
    mean = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    covariance = torch.stack([_covariance(3, seed) for seed in range(5)])
    many = gaussian_logit_draws(mean, covariance, 20, 4)
    assert torch.equal(gaussian_logit_draws(mean, covariance, 7, 4), many[:7])
    assert torch.allclose(gaussian_logit_draws(mean[2:3], covariance[2:3], 20, 4)[:, 0], many[:, 2], atol=1e-14)
    assert not torch.allclose(gaussian_logit_draws(mean, covariance, 20, 5), many)


@pytest.mark.parametrize("draws", [1, 2, 3, 100, 128])
def test_quasi_random_normals_are_finite_for_any_number(draws):
    points = quasi_random_normals(draws, 4, 0)
    assert points.shape == (draws, 4)
    assert bool(torch.isfinite(points).all())


def test_each_power_of_two_of_points_fills_every_stratum_once():
    strata = (torch.special.ndtr(quasi_random_normals(64, 5, 3)) * 64).floor().long()
    assert torch.equal(strata.sort(0).values, torch.arange(64)[:, None].expand(64, 5))


def test_covariances_that_are_none_are_errors():
    mean = torch.zeros(2, 3)
    covariance = torch.eye(3).repeat(2, 1, 1)
    covariance[1, 1, 1] = -2.0
    with pytest.raises(NumericalError, match=r"example 1.*semi-definite"):
        gaussian_logit_draws(mean, covariance, 4, 0)
    covariance[1, 1, 1] = torch.inf
    with pytest.raises(NumericalError, match=r"example 1.*not finite"):
        expected_probabilities(mean, covariance)
