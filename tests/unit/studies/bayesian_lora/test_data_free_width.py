import pytest
import torch
from torch.distributions import Normal, kl_divergence

from bayesgrid.studies.bayesian_lora.data_free_width import data_free_width, joint_data_free_width
from bayesgrid.studies.bayesian_lora.reference_initialisation import (
    aliased_prior,
    blob_start,
    parameter_of,
    reference_deviation_of,
    scalabl_start,
)
from bayesgrid.studies.bayesian_lora.schedules import (
    cycle_length,
    divergence_weight,
    likelihood_rate_factor,
    reference_divergence_rate_factor,
)

CYCLE = cycle_length(640, 4)


def test_scalabl_follows_the_recorded_path_to_its_aliased_prior():
    start = scalabl_start([0, 1], "layer", 8, 512)
    widths = data_free_width("scalabl", start.mean, start.deviation, 5000, CYCLE)
    assert widths[0].tolist() == pytest.approx(start.deviation.mean(1).tolist())
    for step, recorded in ((316, 0.740), (1000, 0.946), (4999, 1.064)):
        assert widths[step].tolist() == pytest.approx([recorded, recorded], rel=0.01)


def test_blob_follows_the_recorded_path_towards_its_prior():
    start = blob_start([0, 1], "layer", 8, 64)
    widths = data_free_width("blob", start.mean, reference_deviation_of(start.root), 5000, CYCLE)
    for step, recorded in ((0, 0.0018), (316, 0.048), (5000, 0.187)):
        assert widths[step].tolist() == pytest.approx([recorded, recorded], rel=0.03)


@pytest.mark.parametrize("method", ["scalabl", "blob"])
def test_the_path_is_torchs_gradient_descent_on_torchs_divergence(method):
    steps, cycle = 120, 40
    if method == "scalabl":
        start = scalabl_start([2], "layer", 4, 64)
        mean, deviation, rate = start.mean.double(), start.deviation.double(), 0.2
        prior = aliased_prior(deviation)
        first, second = mean.log().requires_grad_(), deviation.log().requires_grad_()

        def divergence():
            return kl_divergence(Normal(prior.mean, prior.deviation), Normal(first.exp(), second.exp())).sum()

        def width():
            return second.exp()
    else:
        blob = blob_start([2], "layer", 4, 16)
        mean, deviation, rate = blob.mean.double(), blob.root.double().square(), 0.01
        first, second = mean.clone().requires_grad_(), deviation.sqrt().requires_grad_()

        def divergence():
            zero = torch.zeros((), dtype=torch.float64)
            return kl_divergence(Normal(first, second.square()), Normal(zero, zero + 0.2)).sum()

        def width():
            return second.square()

    optimiser = torch.optim.SGD([first, second], lr=rate)
    expected = [width().mean().item()]
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * reference_divergence_rate_factor(step, steps, cycle)
        optimiser.zero_grad()
        divergence().backward()
        optimiser.step()
        expected.append(width().mean().item())
    widths = data_free_width(method, mean, deviation, steps, cycle)
    torch.testing.assert_close(widths[:, 0], torch.tensor(expected, dtype=torch.float64), rtol=1e-8, atol=0)


def test_a_part_of_the_path_needs_the_length_of_the_whole_schedule():
    start = scalabl_start([0], "layer", 8, 64)
    whole = data_free_width("scalabl", start.mean, start.deviation, 1000, CYCLE)
    part = data_free_width("scalabl", start.mean, start.deviation, 400, CYCLE, schedule_steps=1000)
    assert torch.equal(part, whole[:401])


def test_the_joint_path_is_torchs_adamw_on_torchs_divergence_and_ends_at_the_prior():
    steps, examples = 150, 640
    deviation = torch.tensor([[0.04, 0.05], [0.9, 1.3]])
    parameter = parameter_of(deviation).requires_grad_()
    optimiser = torch.optim.AdamW([parameter], lr=1e-2, eps=1e-6, weight_decay=0.0)
    expected = []
    for step in range(steps):
        sigma = torch.nn.functional.softplus(parameter) + 1e-6
        expected.append(sigma.detach().mean(1))
        optimiser.param_groups[0]["lr"] = 1e-2 * likelihood_rate_factor(step, steps)
        optimiser.zero_grad()
        # Means away from zero: they must not matter.
        divergence = kl_divergence(Normal(torch.full((2, 2), 0.6), sigma), Normal(0.0, 1.0)).sum()
        (divergence_weight(step, steps, examples, 0.5, 0.2) * divergence).backward()
        optimiser.step()
    widths = joint_data_free_width(deviation, 1.0, steps, examples, temperature=0.5, divergence_warmup_fraction=0.2)
    torch.testing.assert_close(widths[:-1], torch.stack(expected), rtol=1e-4, atol=1e-6)
    ends = joint_data_free_width(deviation, 1.0, 1500, examples, record=[0, 1500])
    assert ends[0].tolist() == pytest.approx([0.045, 1.1], rel=1e-5)
    assert ends[1].tolist() == pytest.approx([1.0, 1.0], rel=1e-3)
