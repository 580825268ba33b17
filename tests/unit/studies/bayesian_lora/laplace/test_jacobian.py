import pytest
import torch

from bayesgrid.studies.bayesian_lora.laplace.jacobian import diagonal_logit_covariance, logit_covariance, row_kernel


def _blocks(outputs=2, type_=torch.float64):
    generator = torch.Generator().manual_seed(0)
    # The first module is wider than one slice of columns.
    return {
        name: torch.randn(4, outputs, width, generator=generator, dtype=type_)
        for name, width in {"wide": 20_001, "narrow": 7}.items()
    }


def test_the_kernel_is_that_of_all_columns_side_by_side():
    blocks = _blocks()
    dense = torch.cat(list(blocks.values()), 2).flatten(0, 1)
    assert torch.allclose(row_kernel(iter(blocks.items())), dense @ dense.T, rtol=1e-12, atol=1e-10)


def test_single_precision_products_are_summed_in_double_precision():
    blocks = _blocks(type_=torch.float32)
    dense = torch.cat(list(blocks.values()), 2).flatten(0, 1).double()
    fast = row_kernel(blocks.items(), product_type=torch.float32)
    assert fast.dtype == torch.float64
    assert float((fast - dense @ dense.T).abs().max()) < 1e-6 * float(fast.max())


def test_the_delta_method_is_the_covariance_of_linear_logits():
    blocks = _blocks(outputs=3)
    variances = {name: torch.rand(block.shape[2], dtype=torch.float64) for name, block in blocks.items()}
    dense = torch.cat(list(blocks.values()), 2)
    scaled = dense * torch.cat(list(variances.values())).sqrt()
    covariance = diagonal_logit_covariance(blocks.items(), variances, 3)
    assert torch.allclose(covariance, scaled @ scaled.mT, rtol=1e-11, atol=1e-9)


def test_differences_give_the_first_logit_no_variance():
    difference = torch.tensor([[[4.0, 1.0], [1.0, 2.0]]], dtype=torch.float64)
    covariance = logit_covariance(difference, 3)
    assert torch.equal(covariance[0, 0], torch.zeros(3, dtype=torch.float64))
    assert torch.allclose(covariance[0, 1:, 1:], difference[0])


def test_eigenvalues_below_zero_are_cut_off_and_others_stay():
    basis = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    values = torch.tensor([2.0, 0.5, -1e-3], dtype=torch.float64)
    fixed = logit_covariance((basis * values @ basis.T)[None], 3)[0]
    assert torch.allclose(torch.linalg.eigvalsh(fixed), torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64), atol=1e-12)


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="fit neither"):
        logit_covariance(torch.eye(2)[None], 4)
    with pytest.raises(ValueError, match="without modules"):
        row_kernel(iter({}.items()))
    with pytest.raises(ValueError, match="second: 2 Jacobian rows"):
        row_kernel({"first": torch.ones(3, 1, 4), "second": torch.ones(2, 1, 4)}.items())
