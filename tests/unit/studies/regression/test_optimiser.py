import numpy as np
import pytest
import torch

from bayesgrid.studies.regression.optimiser import NAdam


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_steps_equal_torch_nadam(weight_decay: float) -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 37)).astype(np.float32)
    # In float64, where the reference has no rounding of its own.
    reference = torch.nn.Parameter(torch.from_numpy(start).double())
    optimiser = torch.optim.NAdam([reference], lr=3e-3, weight_decay=weight_decay)
    ours = start.copy()
    stacked = NAdam(ours.shape, learning_rate=3e-3, weight_decay=weight_decay)
    for _ in range(60):
        gradient = (rng.standard_normal(ours.shape) * rng.choice([1e-6, 1e-2, 10.0], ours.shape)).astype(np.float32)
        reference.grad = torch.from_numpy(gradient).double()
        optimiser.step()
        stacked.step(ours, gradient)
    np.testing.assert_allclose(ours, reference.detach().numpy(), atol=1e-6)


def test_element_has_the_same_bits_wherever_it_lies() -> None:
    rng = np.random.default_rng(1)
    start = rng.standard_normal((1, 53)).astype(np.float32)
    gradients = rng.standard_normal((20, 1, 53)).astype(np.float32)
    results = []
    for offset in (0, 1, 7):
        parameters = np.zeros((1, 53 + offset), dtype=np.float32)
        parameters[:, offset:] = start
        optimiser = NAdam(parameters.shape, learning_rate=1e-2, weight_decay=0.1)
        for gradient in gradients:
            padded = np.ones_like(parameters)
            padded[:, offset:] = gradient
            optimiser.step(parameters, padded)
        results.append(parameters[:, offset:].copy())
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
