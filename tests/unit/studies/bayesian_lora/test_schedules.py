import math
from fractions import Fraction

import pytest
import torch

from bayesgrid.studies.bayesian_lora.divergences import gaussian_divergence
from bayesgrid.studies.bayesian_lora.schedules import (
    cycle_length,
    cycle_weight,
    divergence_weight,
    likelihood_rate_factor,
    reference_divergence_rate_factor,
    reference_warmup_and_decay,
    warmup_steps,
)

STEPS = 5000
TRAINING_EXAMPLES = (160, 640, 2558, 10234, 1119, 2251, 4957, 9427, 10000)
CYCLES = (183, 316, 544, 939, 393, 518, 706, 909, 930)
ACTIVE_STEPS = (216, 122, 70, 40, 97, 74, 53, 40, 40)
TOTAL_WEIGHTS = (13.6, 7.9, 4.4, 2.3, 6.25, 4.6, 3.2, 2.4, 2.35)


def test_the_likelihood_rate_peaks_at_step_299_ends_at_zero_and_sums_to_a_quarter():
    factors = [likelihood_rate_factor(step, STEPS) for step in range(STEPS)]
    assert warmup_steps(STEPS) == 300
    assert max(range(STEPS), key=factors.__getitem__) == 299
    assert factors[299] == 1.0
    assert factors[4999] == 0.0
    assert factors[0] == 1 / 300
    assert sum(1e-4 * factor for factor in factors) == pytest.approx(0.25, abs=5e-5)
    assert likelihood_rate_factor(STEPS + 10, STEPS) == 0.0


def test_the_likelihood_rate_is_piecewise_linear():
    factors = torch.tensor([likelihood_rate_factor(step, 200) for step in range(200)], dtype=torch.float64)
    warmup = warmup_steps(200)
    assert torch.allclose(factors[:warmup], torch.linspace(1 / warmup, 1, warmup, dtype=torch.float64))
    assert torch.allclose(factors[warmup - 1 :], torch.linspace(1, 0, 200 - warmup + 1, dtype=torch.float64))


def test_a_run_too_short_for_a_warmup_begins_at_nearly_the_full_rate():
    assert warmup_steps(10) == 0
    assert [likelihood_rate_factor(step, 10) for step in (0, 9)] == [0.9, 0.0]


@pytest.mark.parametrize(("examples", "cycle"), list(zip(TRAINING_EXAMPLES, CYCLES, strict=True)))
def test_cycle_lengths_are_those_of_the_reference(examples, cycle):
    assert cycle_length(examples, 4) == cycle


@pytest.mark.parametrize("length", [1, 2, 10, 183, 939, 2000])
def test_cycle_weights_are_the_exact_ratios_and_sum_to_nearly_one(length):
    denominator = 2 ** (length + 1) - 1
    for position in {1, 2, length // 2 + 1, length - 1, length} & set(range(1, length + 1)):
        assert cycle_weight(position, length) == pytest.approx(float(Fraction(2**position, denominator)), rel=1e-15)
    total = math.fsum(cycle_weight(position, length) for position in range(1, length + 1))
    assert total == pytest.approx(float(Fraction(2 ** (length + 1) - 2, denominator)), rel=1e-15)


def test_cycle_weights_do_not_overflow_for_a_cycle_of_a_million_steps():
    length = 10**6
    assert cycle_weight(length, length) == 0.5
    assert cycle_weight(length - 10, length) == 2.0**-11
    assert cycle_weight(1, length) == 0.0
    with pytest.raises(ValueError, match="no step 0"):
        cycle_weight(0, length)


@pytest.mark.parametrize(
    ("cycle", "active", "total"),
    list(zip(CYCLES, ACTIVE_STEPS, TOTAL_WEIGHTS, strict=True)),
)
def test_the_reference_divergence_acts_in_few_steps_with_the_recorded_total_weight(cycle, active, total):
    factors = [reference_divergence_rate_factor(step, STEPS, cycle) for step in range(STEPS)]
    assert factors[0] == 0.0
    assert sum(factor > 1e-3 for factor in factors) == active
    assert sum(factors) == pytest.approx(total, abs=0.051)


def test_the_reference_divergence_schedule_lags_the_likelihoods_by_one_step():
    ours = [reference_warmup_and_decay(step, STEPS) for step in range(STEPS)]
    likelihood = [likelihood_rate_factor(step, STEPS) for step in range(STEPS)]
    assert ours[0] == 0.0
    assert ours[1:] == likelihood[:-1]


def test_the_reference_divergence_rate_peaks_in_the_last_step_of_each_cycle():
    factors = [reference_divergence_rate_factor(step, STEPS, 316) for step in range(STEPS)]
    for cycle in range(1, 15):
        start = cycle * 316
        assert max(range(start, start + 316), key=factors.__getitem__) == start + 315
    assert factors[315] == pytest.approx(0.5 * (STEPS - 315) / (STEPS - 300), rel=1e-12)


def test_the_corrected_weight_reaches_temperature_over_examples_and_stays():
    weights = [divergence_weight(step, STEPS, 640, temperature=0.5) for step in range(STEPS)]
    assert weights[0] == pytest.approx(0.5 / 640 / 300)
    assert weights[149] == pytest.approx(0.25 / 640)
    assert set(weights[299:]) == {0.5 / 640}
    assert divergence_weight(0, STEPS, 640, warmup_fraction=0.0) == 1 / 640
    assert divergence_weight(400, STEPS, 640, temperature=0.0) == 0.0


def test_the_corrected_objective_is_the_evidence_bound_per_example():
    # Conjugate check: with weight 1 / N the minimiser over q of mean loss + weight * KL is the exact posterior.
    data = torch.tensor([0.3, 1.1, -0.4, 0.8], dtype=torch.float64)
    n = len(data)
    mean = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    log_deviation = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([mean, log_deviation], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def objective():
        optimiser.zero_grad()
        variance = log_deviation.exp() ** 2
        loss = (0.5 * ((data - mean[0, 0]) ** 2 + variance)).mean()
        divergence = gaussian_divergence(mean, log_deviation.exp(), 0.0, 1.0)
        loss = loss + divergence_weight(STEPS - 1, STEPS, n) * divergence.sum()
        loss.backward()
        return loss

    optimiser.step(objective)
    assert float(mean.detach()) == pytest.approx(float(data.sum()) / (n + 1), abs=1e-7)
    assert float(log_deviation.detach().exp()) == pytest.approx((n + 1) ** -0.5, abs=1e-7)


@pytest.mark.parametrize(
    "call",
    [
        lambda: warmup_steps(0),
        lambda: warmup_steps(10, 1.0),
        lambda: cycle_length(0, 4),
        lambda: divergence_weight(0, 10, 0),
        lambda: divergence_weight(0, 10, 5, temperature=-1.0),
    ],
)
def test_impossible_schedules_are_refused(call):
    with pytest.raises(ValueError, match="got"):
        call()
