import numpy as np
import pytest
import torch

from bayesgrid.studies.regression.optimiser import Moments, NAdam


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_steps_equal_torch_nadam(weight_decay: float) -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 37)).astype(np.float32)
    # In float64, where the reference has no rounding of its own.
    reference = torch.nn.Parameter(torch.from_numpy(start).double())
    optimiser = torch.optim.NAdam([reference], lr=3e-3, weight_decay=weight_decay)
    ours = start.copy()
    stacked = NAdam(Moments.zero(ours.shape), learning_rate=3e-3, weight_decay=weight_decay)
    for _ in range(60):
        gradient = (rng.standard_normal(ours.shape) * rng.choice([1e-6, 1e-2, 10.0], ours.shape)).astype(np.float32)
        reference.grad = torch.from_numpy(gradient).double()
        optimiser.step()
        stacked.step(ours, gradient)
    np.testing.assert_allclose(ours, reference.detach().numpy(), atol=1e-6)


def test_rows_with_values_of_their_own_equal_torch_nadam_with_these_values() -> None:
    rng = np.random.default_rng(4)
    start = rng.standard_normal((3, 11)).astype(np.float32)
    gradients = rng.standard_normal((25, 3, 11)).astype(np.float32)
    rates, decays = np.array([1e-3, 3e-2, 1e-2]), np.array([0.0, 0.1, 0.02])
    ours = start.copy()
    stacked = NAdam(Moments.zero(ours.shape), learning_rate=rates, weight_decay=decays)
    for number, gradient in enumerate(gradients):
        if number == 20:
            stacked.keep(np.array([1, 2]))
            ours = ours[1:].copy()
        stacked.step(ours, gradient if number < 20 else gradient[1:].copy())
    for row in (1, 2):
        reference = torch.nn.Parameter(torch.from_numpy(start[row]).double())
        optimiser = torch.optim.NAdam([reference], lr=rates[row], weight_decay=decays[row])
        for gradient in gradients:
            reference.grad = torch.from_numpy(gradient[row]).double()
            optimiser.step()
        np.testing.assert_allclose(ours[row - 1], reference.detach().numpy(), atol=1e-6)


def test_element_has_the_same_bits_wherever_it_lies() -> None:
    rng = np.random.default_rng(1)
    start = rng.standard_normal((1, 53)).astype(np.float32)
    gradients = rng.standard_normal((20, 1, 53)).astype(np.float32)
    results = []
    for offset in (0, 1, 7):
        parameters = np.zeros((1, 53 + offset), dtype=np.float32)
        parameters[:, offset:] = start
        optimiser = NAdam(Moments.zero(parameters.shape), learning_rate=1e-2, weight_decay=0.1)
        for gradient in gradients:
            padded = np.ones_like(parameters)
            padded[:, offset:] = gradient
            optimiser.step(parameters, padded)
        results.append(parameters[:, offset:].copy())
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_seeds_with_kept_moments_and_unequal_steps_equal_torch_nadam_each() -> None:
    rng = np.random.default_rng(2)
    start = rng.standard_normal((2, 11)).astype(np.float32)
    gradients = rng.standard_normal((30, 2, 11)).astype(np.float32)
    ours = start.copy()
    first = NAdam(Moments.zero(ours.shape), learning_rate=1e-2, weight_decay=0.01)
    for gradient in gradients[:10]:
        first.step(ours, gradient)
    # The second seed rests while the first goes on; both go on together with what each remembers.
    rests = first.moments.of(np.array([1]))
    first.keep(np.array([0]))
    alone = ours[:1].copy()
    for gradient in gradients[10:15]:
        first.step(alone, gradient[:1])
    merged = Moments.zero(ours.shape)
    merged.write(0, first.moments, 0)
    merged.write(1, rests, 0)
    ours[0] = alone[0]
    second = NAdam(merged.copy(), learning_rate=1e-2, weight_decay=0.01)
    for gradient in gradients[15:]:
        second.step(ours, gradient)
    assert second.moments.steps.tolist() == [30, 25]
    assert merged.steps.tolist() == [15, 10]
    for seed, used in ((0, gradients[:, 0]), (1, np.concatenate([gradients[:10, 1], gradients[15:, 1]]))):
        reference = torch.nn.Parameter(torch.from_numpy(start[seed]).double())
        optimiser = torch.optim.NAdam([reference], lr=1e-2, weight_decay=0.01)
        for gradient in used:
            reference.grad = torch.from_numpy(gradient).double()
            optimiser.step()
        np.testing.assert_allclose(ours[seed], reference.detach().numpy(), atol=1e-6)
