import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from bayesgrid.studies.bayesian_lora.divergences import (
    gaussian_divergence,
    prior_energy,
    reference_blob_divergence,
)


def _random(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4)]


def _torch_divergence(mean, deviation, prior_mean, prior_deviation):
    return kl_divergence(Normal(mean, deviation), Normal(prior_mean, prior_deviation)).flatten(1).sum(1)


@pytest.mark.parametrize("spread", [1.0, 0.03, 3.0])
def test_both_directions_are_torchs_in_float32(spread):
    mean, prior_mean, log_deviation, log_prior = (value * spread for value in _random(0, 3, 8, 65))
    q = mean.float(), log_deviation.exp().float()
    p = prior_mean.float(), log_prior.exp().float()
    exact_q, exact_p = [v.double() for v in q], [v.double() for v in p]
    forward = gaussian_divergence(*q, *p)
    assert forward.dtype == torch.float32
    torch.testing.assert_close(forward.double(), _torch_divergence(*exact_q, *exact_p), rtol=1e-6, atol=0)
    backward = gaussian_divergence(*q, *p, direction="prior_to_posterior")
    torch.testing.assert_close(backward.double(), _torch_divergence(*exact_p, *exact_q), rtol=1e-6, atol=0)


def test_float32_stays_accurate_for_millions_of_values_and_close_to_the_prior():
    mean, _, offset, _ = _random(1, 1, 8, 100_000)
    start = 0.00125 + 0.00125 * torch.rand(1, 8, 100_000, dtype=torch.float64)
    close = 0.2 * (1 + 1e-3 * offset)
    for m, s in ((0.01 * mean, start), (2e-4 * mean, close)):
        m, s = m.float(), s.float()
        # The prior's deviation is a float32 number too: 0.2 is not one, and close to the prior that is visible.
        prior = torch.tensor(0.2).double()
        exact = _torch_divergence(m.double(), s.double(), torch.zeros((), dtype=torch.float64), prior)
        torch.testing.assert_close(gaussian_divergence(m, s, 0.0, 0.2).double(), exact, rtol=1e-6, atol=0)


@given(st.floats(1e-4, 1e4), st.floats(1e-4, 1e4), st.floats(-50, 50), st.floats(-50, 50))
@settings(deadline=None, max_examples=200)
def test_a_divergence_is_never_negative_and_agrees_with_torch(deviation, prior_deviation, mean, prior_mean):
    q = torch.tensor([[mean]], dtype=torch.float64), torch.tensor([[deviation]], dtype=torch.float64)
    value = gaussian_divergence(*q, prior_mean, prior_deviation)
    single = gaussian_divergence(q[0].float(), q[1].float(), prior_mean, prior_deviation)
    assert float(value) >= 0
    assert float(single) >= 0
    exact = _torch_divergence(*q, *torch.tensor([prior_mean, prior_deviation], dtype=torch.float64))
    assert float(value) == pytest.approx(float(exact), rel=1e-9, abs=1e-13)


def test_the_divergence_is_zero_only_for_the_prior_itself():
    mean, log_deviation, _, _ = _random(2, 2, 5)
    deviation = log_deviation.exp()
    assert gaussian_divergence(mean, deviation, mean, deviation).tolist() == [0.0, 0.0]
    assert (gaussian_divergence(mean + 1e-4, deviation, mean, deviation) > 0).all()
    assert (gaussian_divergence(mean, deviation * 1.0001, mean, deviation) > 0).all()


def test_the_prior_to_posterior_direction_punishes_narrow_posteriors_far_more():
    mean, deviation = torch.full((1, 8), 0.577), torch.full((1, 8), 0.04)
    forward = gaussian_divergence(mean, deviation, 0.0, 1.0)
    backward = gaussian_divergence(mean, deviation, 0.0, 1.0, direction="prior_to_posterior")
    assert float(backward) > 100 * float(forward)


def test_slots_do_not_mix():
    mean, prior_mean, log_deviation, _ = _random(3, 4, 2, 3)
    together = gaussian_divergence(mean, log_deviation.exp(), prior_mean, 0.7)
    for slot in range(4):
        alone = gaussian_divergence(
            mean[slot : slot + 1], log_deviation[slot : slot + 1].exp(), prior_mean[slot : slot + 1], 0.7
        )
        assert float(together[slot]) == float(alone)


@pytest.mark.parametrize("direction", ["posterior_to_prior", "prior_to_posterior"])
def test_gradients_hold_in_both_branches_and_where_they_meet(direction):
    ratio = torch.tensor([[1e-3, 0.5, 0.8999, 0.9001, 0.95, 1.0, 1.02, 1.0999, 1.1001, 7.0, 1e4]], dtype=torch.float64)
    mean = torch.linspace(-1, 1, ratio.numel(), dtype=torch.float64).reshape(1, -1).requires_grad_()
    deviation = (0.3 * ratio).requires_grad_()
    ours = torch.autograd.grad(gaussian_divergence(mean, deviation, 0.1, 0.3, direction).sum(), [mean, deviation])
    q, p = Normal(mean, deviation), Normal(torch.tensor(0.1).double(), torch.tensor(0.3).double())
    exact = kl_divergence(q, p) if direction == "posterior_to_prior" else kl_divergence(p, q)
    theirs = torch.autograd.grad(exact.sum(), [mean, deviation])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_the_reference_value_of_blob_is_slightly_biased_and_can_be_negative():
    mean, _, _, _ = (0.01 * value for value in _random(4, 2, 8, 50))
    deviation = 0.00125 + 0.00125 * torch.rand(2, 8, 50, dtype=torch.float64)
    ratio = reference_blob_divergence(mean, deviation) / gaussian_divergence(mean, deviation, 0.0, 0.2)
    assert ((ratio - 1).abs() < 3e-4).all()
    assert ((ratio - 1).abs() > 1e-5).all()
    assert float(reference_blob_divergence(torch.zeros(1, 1), torch.full((1, 1), 0.2))) < 0


def test_prior_energy_is_the_log_density_of_the_prior_up_to_its_constant():
    a, b, other_a, other_b = (value.float() for value in _random(5, 2, 3, 4))
    prior = Normal(0.0, 0.2)
    difference = prior_energy([a, b], 0.2) - prior_energy([other_a, other_b], 0.2)
    densities = [-(prior.log_prob(x) + prior.log_prob(y)).sum((1, 2)) for x, y in ((a, b), (other_a, other_b))]
    torch.testing.assert_close(difference, densities[0] - densities[1], rtol=1e-5, atol=1e-2)
    factor = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(prior_energy([factor], 0.2).sum(), [factor])
    torch.testing.assert_close(gradient, a / 0.04)


def test_prior_energy_refuses_what_has_no_meaning():
    with pytest.raises(ValueError, match="positive deviation"):
        prior_energy([torch.zeros(1, 2)], 0.0)
    with pytest.raises(ValueError, match="at least one"):
        prior_energy([], 1.0)
