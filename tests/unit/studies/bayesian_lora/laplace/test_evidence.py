import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar, root_scalar

from bayesgrid.errors import NumericalError
from bayesgrid.studies.bayesian_lora.laplace.evidence import (
    adam_prior_precision,
    effective_parameters,
    log_determinant_ratio,
    log_evidence,
    maximise_evidence,
)


def _dense_evidence(curvature, log_precision, squared_norm, log_likelihood):
    """Return the evidence from determinants of whole matrices, differentiable in the log precision."""
    identity = torch.eye(len(curvature), dtype=torch.float64)
    prior = log_precision.exp() * identity
    difference = torch.logdet(curvature + prior) - torch.logdet(prior)
    return log_likelihood - (difference + log_precision.exp() * squared_norm) / 2


def _dense_slope(curvature, log_precision, squared_norm):
    position = torch.tensor(log_precision, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(_dense_evidence(curvature, position, squared_norm, 0.0), position)
    return float(slope)


@pytest.mark.parametrize("seed", range(4))
def test_determinant_and_evidence_are_those_of_the_dense_matrices(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(5, 9, generator=generator, dtype=torch.float64) * 10 ** (seed - 2)
    eigenvalues = torch.linalg.eigvalsh(rows @ rows.T)
    for precision in (1e-3, 0.7, 40.0):
        position = torch.tensor(precision, dtype=torch.float64).log()
        dense = float(_dense_evidence(rows.T @ rows, position, 3.0, -2.0))
        assert log_evidence(eigenvalues, precision, 3.0, -2.0) == pytest.approx(dense, rel=1e-11, abs=1e-11)
        prior = precision * torch.eye(9, dtype=torch.float64)
        expected = torch.linalg.slogdet(rows.T @ rows + prior)[1] - 9 * math.log(precision)
        assert log_determinant_ratio(eigenvalues, precision) == pytest.approx(float(expected), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("seed", range(6))
def test_the_fixed_point_is_the_optimum_that_scipy_finds(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(6, 8, generator=generator, dtype=torch.float64) * 10.0 ** (seed / 2 - 1)
    curvature, squared_norm = rows.T @ rows, 2.5
    found = maximise_evidence(torch.linalg.eigvalsh(rows @ rows.T), squared_norm, -1.0)
    root = root_scalar(lambda u: _dense_slope(curvature, u, squared_norm), bracket=(-12, 6), xtol=1e-14, rtol=1e-14)
    assert math.log(found.precision) == pytest.approx(root.root, abs=1e-8)
    # A search in the values alone is only good to the root of the rounding error in the position.
    searched = minimize_scalar(
        lambda u: -float(_dense_evidence(curvature, torch.tensor(u, dtype=torch.float64), squared_norm, -1.0)),
        bounds=(-12, 6),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert found.log_evidence == pytest.approx(-searched.fun, abs=1e-8)
    assert math.log(found.precision) == pytest.approx(searched.x, abs=1e-5)


@settings(deadline=None)
@given(
    st.lists(st.floats(-12, 12), min_size=1, max_size=30),
    st.floats(-10, 10),
)
def test_every_curvature_has_a_fixed_point(exponents, exponent):
    eigenvalues = 10 ** torch.tensor(exponents, dtype=torch.float64)
    squared_norm = 10**exponent
    found = maximise_evidence(eigenvalues, squared_norm, 0.0)
    gamma = effective_parameters(eigenvalues, found.precision)
    assert found.precision * squared_norm == pytest.approx(gamma, rel=1e-11)
    assert found.effective_parameters == pytest.approx(gamma, rel=1e-12)
    assert found.iterations <= 10
    for factor in (0.5, 2.0):
        assert log_evidence(eigenvalues, found.precision * factor, squared_norm, 0.0) <= found.log_evidence


def test_adam_comes_to_the_same_place_when_it_may():
    eigenvalues = torch.tensor([30.0, 4.0, 0.5, 0.0], dtype=torch.float64)
    exact = maximise_evidence(eigenvalues, 6.0, 0.0).precision
    assert adam_prior_precision(eigenvalues, 6.0, steps=3000) == pytest.approx(exact, rel=1e-6)
    assert adam_prior_precision(eigenvalues, 6.0) == pytest.approx(exact, rel=0.1)


def test_hundred_steps_of_adam_cannot_reach_a_far_optimum():
    eigenvalues = torch.tensor([1e9], dtype=torch.float64)
    assert maximise_evidence(eigenvalues, 1e-8, 0.0).precision > 1e7
    assert adam_prior_precision(eigenvalues, 1e-8) < math.exp(10.5)


@pytest.mark.parametrize(
    ("eigenvalues", "norm"), [([0.0, 0.0], 1.0), ([1.0], 0.0), ([math.inf], 1.0), ([1.0], math.nan)]
)
def test_an_evidence_without_maximum_is_an_error(eigenvalues, norm):
    with pytest.raises(NumericalError, match="no maximum"):
        maximise_evidence(torch.tensor(eigenvalues), norm, 0.0)
