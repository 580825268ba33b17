import pytest
import torch

from bayesgrid.studies.bayesian_lora.singular_basis import rotate_to_singular_basis


def _factors(slots, rank, inputs, outputs, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(slots, rank, inputs, generator=generator, dtype=torch.float64)
    b = torch.randn(slots, outputs, rank, generator=generator, dtype=torch.float64)
    return a.to(dtype), b.to(dtype)


def _noise_covariance(basis, width, slot):
    # Columns of the noise on the update are b' · (Ω ∘ e), e standard normal, so their covariance is b' diag(Ω²) b'ᵀ.
    deviation = basis.noise_deviation(width)[slot, :, 0]
    return basis.b[slot] @ torch.diag(deviation.square()) @ basis.b[slot].T


@pytest.mark.parametrize(("rank", "inputs", "outputs"), [(8, 40, 96), (8, 40, 8), (8, 40, 2), (8, 40, 5), (1, 6, 3)])
def test_the_product_stays_the_same_also_for_heads_with_fewer_labels_than_the_rank(rank, inputs, outputs):
    a, b = _factors(3, rank, inputs, outputs)
    basis = rotate_to_singular_basis(a, b)
    assert basis.a.shape == a.shape
    assert basis.b.shape == b.shape
    torch.testing.assert_close(basis.b @ basis.a, b @ a, atol=1e-5, rtol=1e-5)
    assert basis.reached.sum(1).tolist() == [min(rank, outputs)] * 3


def test_columns_of_b_are_orthogonal_with_the_singular_values_as_lengths():
    a, b = _factors(2, 8, 20, 50, torch.float64)
    basis = rotate_to_singular_basis(a, b)
    gram = basis.b.transpose(1, 2) @ basis.b
    torch.testing.assert_close(gram, torch.diag_embed(torch.linalg.svdvals(b).square()), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("outputs", [30, 3])
def test_the_columns_of_the_noise_have_the_same_width_in_every_direction_b_can_reach(outputs):
    a, b = _factors(2, 8, 20, outputs, torch.float64)
    basis = rotate_to_singular_basis(a, b)
    widths = torch.tensor([0.05, 0.2], dtype=torch.float64)
    for slot in range(2):
        projector = b[slot] @ torch.linalg.pinv(b[slot])
        covariance = _noise_covariance(basis, widths, slot)
        torch.testing.assert_close(covariance, widths[slot] ** 2 * projector, atol=1e-12, rtol=1e-8)


def test_a_direction_that_b_does_not_reach_carries_no_noise():
    a, b = _factors(1, 4, 10, 12)
    b[:, :, 3] = b[:, :, 0] - 2 * b[:, :, 1]
    basis = rotate_to_singular_basis(a, b)
    assert basis.reached.tolist() == [[True, True, True, False]]
    deviation = basis.noise_deviation(0.1)
    assert deviation[0, 3, 0] == 0
    covariance = _noise_covariance(basis, 0.1, 0)
    projector = b[0].double() @ torch.linalg.pinv(b[0].double(), rtol=1e-5)
    torch.testing.assert_close(covariance.double(), 0.01 * projector, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(basis.b @ basis.a, b @ a, atol=1e-5, rtol=1e-5)


def test_weak_directions_above_rounding_error_keep_their_noise():
    a, b = _factors(1, 3, 10, 12)
    left, _, right = torch.linalg.svd(b.double(), full_matrices=False)
    b = (left @ torch.diag(torch.tensor([1.0, 1e-2, 1e-4]).double()) @ right).float()
    basis = rotate_to_singular_basis(a, b)
    assert basis.reached.all()
    torch.testing.assert_close(
        basis.noise_deviation(0.1).flatten(), torch.tensor([0.1, 10.0, 1000.0]), rtol=2e-3, atol=0
    )


def test_an_untrained_adapter_carries_no_noise_at_all():
    a, b = _factors(2, 4, 10, 12)
    basis = rotate_to_singular_basis(a, torch.zeros_like(b))
    assert not basis.reached.any()
    assert basis.noise_deviation(0.3).abs().max() == 0
    assert torch.isfinite(basis.a).all()


def test_slots_are_rotated_one_by_one():
    a, b = _factors(3, 4, 10, 12)
    together, alone = rotate_to_singular_basis(a, b), rotate_to_singular_basis(a[1:2], b[1:2])
    torch.testing.assert_close(together.a[1], alone.a[0], rtol=0, atol=0)
    torch.testing.assert_close(together.b[1], alone.b[0], rtol=0, atol=0)
