import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal, kl_divergence

from bayesgrid.studies.bayesian_lora.divergences import gaussian_divergence
from bayesgrid.studies.bayesian_lora.reference_initialisation import (
    aliased_prior,
    blob_start,
    deviation_of,
    parameter_of,
    reference_deviation_of,
    scalabl_start,
    scalabl_start_from,
)


def _reference_start_at_torch_seed_zero():
    # What the reference draws from torch's own generator: the weight of a linear layer, then the deviations.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weight = torch.nn.Linear(4096, 8, bias=False).weight.detach()
        deviation = torch.empty(8).uniform_(0.05 / math.sqrt(2), 0.05)
    return scalabl_start_from(weight.unsqueeze(0), deviation.unsqueeze(0))


def test_the_aliased_prior_gives_the_recorded_divergences_of_the_reference():
    start = _reference_start_at_torch_seed_zero()
    prior = aliased_prior(start.deviation)
    posterior = start.mean, start.deviation
    reference = gaussian_divergence(*posterior, prior.mean, prior.deviation, direction="prior_to_posterior")
    assert float(reference) == pytest.approx(2577.17, abs=0.005)
    assert float(gaussian_divergence(*posterior, prior.mean, prior.deviation)) == pytest.approx(21.98, abs=0.005)
    assert float(gaussian_divergence(*posterior, 0.0, 1.0)) == pytest.approx(21.92, abs=0.005)
    oracle = kl_divergence(
        Normal(prior.mean.double(), prior.deviation.double()), Normal(*(v.double() for v in posterior))
    )
    assert float(reference) == pytest.approx(float(oracle.sum()), rel=1e-6)
    assert prior.mean[0, :4].tolist() == pytest.approx([0.045, 0.039, 0.048, 0.049], abs=6e-4)
    assert prior.deviation[0, :2].tolist() == pytest.approx([1.045, 1.039], abs=6e-4)


def test_our_starts_have_the_reference_range_of_divergences():
    # The reference's divergence varies with its random start; 2577 lies inside the range of ours.
    start = scalabl_start(range(40), "layers.0.self_attn.q_proj", 8, 1024)
    prior = aliased_prior(start.deviation)
    reversed_ = gaussian_divergence(start.mean, start.deviation, prior.mean, prior.deviation, "prior_to_posterior")
    assert float(reversed_.min()) < 2577.17 < float(reversed_.max())
    # E[1/σ²] = 1 / (low · high) for σ uniform on [low, high]; (σ_p² + Δ²) is 1.0418² + (0.577 − 0.0427)² to 1 %.
    expected = 8 * ((1.0427**2 + (0.577 - 0.0427) ** 2) / 2 * math.sqrt(2) / 0.05**2 + math.log(0.0427 / 1.0427) - 0.5)
    error = float(reversed_.std()) / math.sqrt(40)
    assert float(reversed_.mean()) == pytest.approx(expected, abs=0.01 * expected + 4 * error)
    assert gaussian_divergence(start.mean, start.deviation, 0.0, 1.0).mean().item() == pytest.approx(22.2, abs=1.0)


def test_scalabl_directions_are_orthonormal_and_carry_the_singular_values_of_a_layer():
    start = scalabl_start([3, 4], "layers.1.self_attn.v_proj", 8, 4096)
    gram = start.directions @ start.directions.transpose(1, 2)
    torch.testing.assert_close(gram, torch.eye(8).expand(2, 8, 8), atol=1e-5, rtol=0)
    assert (start.mean - 1 / math.sqrt(3)).abs().max() < 0.03
    assert start.mean.square().sum(1).tolist() == pytest.approx([8 / 3, 8 / 3], rel=0.02)
    assert (start.deviation >= 0.05 / math.sqrt(2)).all()
    assert (start.deviation <= 0.05).all()


def test_scalabl_directions_rebuild_the_weight_up_to_a_rotation():
    weight = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = scalabl_start_from(weight, torch.ones(2, 3))
    scaled = start.mean.unsqueeze(-1) * start.directions
    torch.testing.assert_close(scaled.transpose(1, 2) @ scaled, weight.transpose(1, 2) @ weight)
    flipped = scalabl_start_from(-weight, torch.ones(2, 3))
    torch.testing.assert_close(flipped.directions, start.directions)


def test_blob_starts_as_a_linear_layer_with_roots_in_their_range():
    start = blob_start([0, 1], "layers.0.self_attn.q_proj", 8, 400)
    bound = 400**-0.5
    for slot in range(2):
        values = start.mean[slot].flatten().numpy()
        assert stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3
        roots = start.root[slot].flatten().numpy()
        assert stats.kstest(roots, stats.uniform(0.05 / np.sqrt(2), 0.05 * (1 - 1 / np.sqrt(2))).cdf).pvalue > 1e-3
    deviation = reference_deviation_of(start.root)
    assert 0.00125 <= float(deviation.min()) <= float(deviation.max()) <= 0.0025
    assert not torch.equal(start.mean[0], start.mean[1])


@pytest.mark.parametrize("start", [scalabl_start, blob_start])
def test_a_start_depends_on_seed_and_layer_alone(start):
    def tensors(*arguments):
        return list(vars(start(*arguments)).values())

    block, alone = tensors([5, 6, 7], "layer", 4, 32), tensors([6], "layer", 4, 32)
    other = tensors([6], "another layer", 4, 32)
    for a, b, c in zip(block, alone, other, strict=True):
        assert torch.equal(a[1], b[0])
        assert not torch.equal(b, c)


def test_deviations_come_back_from_their_parameters():
    deviation = torch.tensor([1.1e-6, 1e-4, 0.0018, 0.04, 1.0, 30.0, 500.0], dtype=torch.float64)
    torch.testing.assert_close(deviation_of(parameter_of(deviation)), deviation, rtol=1e-9, atol=0)
    single = deviation[1:].float()
    torch.testing.assert_close(deviation_of(parameter_of(single)), single, rtol=1e-5, atol=0)
    parameter = torch.tensor([-40.0, 0.0, 40.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(deviation_of(parameter).sum(), [parameter])
    assert (gradient > 0).all()
    assert float(deviation_of(torch.tensor(-1e4))) == pytest.approx(1e-6)
    with pytest.raises(ValueError, match="above"):
        parameter_of(torch.tensor([0.0]))
