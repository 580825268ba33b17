import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesgrid.studies.bayesian_lora.laplace.softmax_curvature import curvature_factors, present_options


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 6), st.integers(0, 1000), st.sampled_from([0.1, 3.0, 30.0]))
def test_the_factor_is_a_square_root_of_the_softmax_hessian(classes, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(7, classes, generator=generator, dtype=torch.float64)
    options = torch.randint(1, classes + 1, (7,), generator=generator)
    factors = curvature_factors(logits, options)
    for row, count, factor in zip(logits, options.tolist(), factors, strict=True):
        hessian = torch.zeros(classes, classes, dtype=torch.float64)
        hessian[:count, :count] = torch.func.hessian(lambda f: -f.log_softmax(0)[0])(row[:count])
        assert torch.allclose(factor @ factor.T, hessian, rtol=0, atol=2e-15)
        assert torch.all(factor[count:] == 0)


def test_small_probabilities_keep_their_relative_precision():
    # p of the second class is 1e-26: the curvature is p itself, far below the rounding of 1 - p.
    logits = torch.tensor([[60.0, 0.0], [0.0, 60.0]], dtype=torch.float64)
    for factor in curvature_factors(logits, differences=True):
        assert float(factor.square().sum()) == pytest.approx(math.exp(-60.0), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_differences_to_the_first_logit_carry_all_the_curvature(classes):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(6, classes, generator=generator, dtype=torch.float64)
    jacobian = torch.randn(6, classes, 9, generator=generator, dtype=torch.float64)
    whole = curvature_factors(logits).mT @ jacobian
    differences = curvature_factors(logits, differences=True).mT @ (jacobian[:, 1:] - jacobian[:, :1])
    assert differences.shape == (6, classes - 1, 9)
    assert torch.allclose(whole, differences, rtol=0, atol=1e-13)


def test_logits_of_absent_options_are_ignored():
    options = torch.tensor([2])
    some = curvature_factors(torch.tensor([[0.3, -1.0, 5.0]]), options)
    other = curvature_factors(torch.tensor([[0.3, -1.0, torch.nan]]), options)
    assert torch.equal(some, other)


def test_impossible_option_counts_are_refused():
    for counts in ([0, 2], [1, 4], [1]):
        with pytest.raises(ValueError, match="option counts"):
            present_options(torch.tensor(counts), 2, 3)
