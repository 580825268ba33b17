import pytest
import torch

from bayesgrid.adapters.low_rank import LowRankPair
from bayesgrid.errors import StateError
from bayesgrid.studies.bayesian_lora.laplace.adapter_offsets import factor_matrices, shift_adapter
from bayesgrid.studies.bayesian_lora.laplace.dual import fit_dual_laplace


def test_a_vector_is_the_first_factor_row_by_row_then_the_second():
    a, b = torch.randn(6, 2, 5), torch.randn(6, 3, 2)
    pair = LowRankPair(a[0], b[0])
    vectors = torch.cat([a.flatten(1), b.flatten(1)], 1)
    assert vectors.shape == (6, 16)
    first, second = factor_matrices(vectors, pair)
    assert torch.equal(first, a)
    assert torch.equal(second, b)
    with pytest.raises(StateError, match="another length"):
        factor_matrices(vectors[:, 1:], pair)


def test_a_shifted_adapter_moves_the_logits_as_the_jacobian_says(toy):
    model = toy(3, masked=False)
    n = model.trained
    posterior = fit_dual_laplace(
        {name: block[:n] for name, block in model.jacobian.items()},
        model.logits[:n],
        model.answers[:n],
        model.squared_norm,
        precision=1.0,
    )
    small = {name: 1e-5 * draws[0] for name, draws in posterior.weight_offsets([0], 1).items()}
    shifted = shift_adapter(model.adapter, small)
    weights = {name: torch.cat([pair.a.flatten(), pair.b.flatten()]) for name, pair in shifted.pairs.items()}
    moved = torch.stack([model.function(weights, row) for row in model.inputs]) - model.logits
    linear = sum(model.jacobian[name] @ small[name] for name in small)
    assert shifted.scaling == model.adapter.scaling
    assert float(moved.abs().max()) > 1e-6
    assert torch.allclose(moved, linear, rtol=0, atol=1e-8)


def test_offsets_of_other_modules_are_refused(toy):
    with pytest.raises(StateError, match=r"other modules"):
        shift_adapter(toy(2).adapter, {"layers.0": torch.zeros(18, dtype=torch.float64)})
