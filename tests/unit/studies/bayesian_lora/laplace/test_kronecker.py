import math
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bayesgrid.errors import NumericalError, StateError
from bayesgrid.studies.bayesian_lora.laplace.evidence import maximise_evidence
from bayesgrid.studies.bayesian_lora.laplace.kronecker import (
    KroneckerBlock,
    KroneckerLaplace,
    eigenvalue_corrected_block,
    fit_kronecker_laplace,
    token_summed_block,
)
from bayesgrid.studies.bayesian_lora.laplace.softmax_curvature import curvature_factors

HIDDEN, CLASSES = 5, 3


class _TokenNetwork:
    """Two matrices applied to every token, an attention that pools the tokens, an answer: all from one seed."""

    def __init__(self, tokens: int, seed: int = 0, examples: int = 40) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.inputs = normal(examples, tokens, HIDDEN)
        self.weights = {"first": normal(HIDDEN, HIDDEN) / HIDDEN**0.5, "second": normal(HIDDEN, HIDDEN) / HIDDEN**0.5}
        self.head, self.query = normal(CLASSES, HIDDEN), normal(HIDDEN)
        self.zeros = {name: torch.zeros(tokens, HIDDEN, dtype=torch.float64) for name in self.weights}

    def __call__(
        self, weights: dict[str, Tensor], shifts: dict[str, Tensor], row: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        code = torch.tanh(row @ weights["first"].T + shifts["first"])
        final = torch.tanh(code @ weights["second"].T + shifts["second"])
        pooled = (4 * final @ self.query).softmax(0) @ final
        return self.head @ pooled, {"first": row, "second": code}

    def weight_jacobian(self) -> dict[str, Tensor]:
        """Return [N, C, o, d] by matrix, by differentiating in the matrix itself."""
        rows = [
            torch.func.jacrev(lambda weights, row=row: self(weights, self.zeros, row)[0])(self.weights)
            for row in self.inputs
        ]
        return {name: torch.stack([row[name] for row in rows]) for name in self.weights}

    def curvature_gradients(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return inputs [N, T, d] and gradients [N, C - 1, T, o] of the curvature outputs, by matrix."""
        factors = self.factors()
        activations, gradients = [], []
        for row, factor in zip(self.inputs, factors, strict=True):
            jacobian = torch.func.jacrev(lambda shifts, row=row: self(self.weights, shifts, row)[0])(self.zeros)
            gradients.append({name: torch.einsum("ck,cto->kto", factor, block) for name, block in jacobian.items()})
            activations.append(self(self.weights, self.zeros, row)[1])
        return tuple(
            {name: torch.stack([example[name] for example in examples]) for name in self.weights}
            for examples in (activations, gradients)
        )

    def matrix_gradients(self) -> dict[str, Tensor]:
        """Return the gradients [N, C - 1, o, d] of the curvature outputs in each matrix."""
        return {
            name: torch.einsum("nck,ncod->nkod", self.factors(), jacobian)
            for name, jacobian in self.weight_jacobian().items()
        }

    def factors(self) -> Tensor:
        return curvature_factors(torch.stack([self(self.weights, self.zeros, row)[0] for row in self.inputs]))

    def exact_curvature(self, name: str) -> Tensor:
        """Return sum_n J_n^T (diag(p) - p p^T) J_n of one matrix, dense."""
        jacobian = self.weight_jacobian()[name].flatten(2)
        probabilities = torch.stack([self(self.weights, self.zeros, row)[0].softmax(0) for row in self.inputs])
        hessians = torch.diag_embed(probabilities) - probabilities[:, :, None] * probabilities[:, None, :]
        return torch.einsum("ncp,ncd,ndq->pq", jacobian, hessians, jacobian)


def _dense(block: KroneckerBlock) -> Tensor:
    basis = torch.kron(block.output_basis, block.input_basis)
    return basis @ torch.diag(block.eigenvalues.flatten()) @ basis.T


def _ratios(tokens, make):
    network = _TokenNetwork(tokens)
    return [
        float(block.eigenvalues.sum() / torch.trace(network.exact_curvature(name)))
        for name, block in make(network).items()
    ]


def _corrected(network):
    return {name: eigenvalue_corrected_block(gradients) for name, gradients in network.matrix_gradients().items()}


def _token_summed(network):
    activations, gradients = network.curvature_gradients()
    return {name: token_summed_block(activations[name], gradients[name]) for name in network.weights}


@pytest.mark.parametrize("tokens", [1, 8, 64])
def test_the_corrected_trace_is_that_of_the_exact_curvature(tokens):
    assert _ratios(tokens, _corrected) == pytest.approx([1.0, 1.0], abs=1e-10)


def test_token_sums_overcount_more_the_longer_the_sequence():
    short, middle, long = (_ratios(tokens, _token_summed) for tokens in (1, 8, 64))
    assert short == pytest.approx([1.0, 1.0], abs=0.3)
    assert min(middle) > 2.5
    assert min(long) > 5.0
    assert all(two > 2 * one for one, two in zip(middle, long, strict=True))


def test_corrected_predictions_are_nearer_to_the_exact_ones():
    network = _TokenNetwork(8)
    jacobian = network.weight_jacobian()["first"]
    flat = jacobian.flatten(2)
    curvature = network.exact_curvature("first")
    exact = flat @ torch.linalg.solve(curvature + torch.eye(len(curvature), dtype=torch.float64), flat.mT)
    errors = []
    for block in (_corrected(network)["first"], _token_summed(network)["first"]):
        found = KroneckerLaplace(1.0, {"first": block}, 1.0, 0.0).logit_covariance([("first", jacobian)], CLASSES)
        errors.append(float((found - exact).norm() / exact.norm()))
    assert errors[0] < 0.6 * errors[1]


def test_padding_is_counted_by_the_reference():
    network = _TokenNetwork(6, examples=7)
    activations, gradients = (values["first"] for values in network.curvature_gradients())
    padded = torch.cat([torch.full((7, 3, HIDDEN), 9.0, dtype=torch.float64), activations], 1)
    longer = torch.cat([torch.zeros(7, CLASSES - 1, 3, HIDDEN, dtype=torch.float64), gradients], 2)
    before, after = (
        token_summed_block(a, g).eigenvalues.sum() for a, g in ((activations, gradients), (padded, longer))
    )
    assert after > 2 * before


def _posterior(precision=0.3, examples=3):
    network = _TokenNetwork(4, seed=2, examples=examples)
    blocks = {
        name: eigenvalue_corrected_block(gradients[:, :1]) for name, gradients in network.matrix_gradients().items()
    }
    return network, KroneckerLaplace(precision, blocks, 4.0, -1.5)


def test_prediction_and_evidence_are_those_of_the_dense_blocks():
    network, posterior = _posterior()
    # Three gradients of rank 4 and less leave directions without curvature outside the bases.
    assert any(min(block.eigenvalues.shape) <= HIDDEN for block in posterior.blocks.values())
    expected, determinant = 0.0, 0.0
    for name, jacobian in network.weight_jacobian().items():
        dense = _dense(posterior.blocks[name])
        prior = 0.3 * torch.eye(len(dense), dtype=torch.float64)
        flat = jacobian.flatten(2)
        expected = expected + flat @ torch.linalg.solve(dense + prior, flat.mT)
        determinant += float(torch.logdet(dense + prior) - torch.logdet(prior))
    found = posterior.logit_covariance(network.weight_jacobian().items(), CLASSES)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert posterior.log_evidence == pytest.approx(-1.5 - (determinant + 0.3 * 4.0) / 2, abs=1e-10)


def test_differences_to_the_first_logit_suffice():
    network, posterior = _posterior()
    jacobian = network.weight_jacobian()
    whole = posterior.logit_covariance(jacobian.items(), CLASSES)
    less = posterior.logit_covariance(((name, j[:, 1:] - j[:, :1]) for name, j in jacobian.items()), CLASSES)
    contrast = torch.eye(CLASSES, dtype=torch.float64)
    contrast[:, 0] -= 1
    assert torch.allclose(less, contrast @ whole @ contrast.T, atol=1e-10)


def test_a_basis_narrower_than_the_matrix_keeps_the_prior_outside():
    direction = torch.zeros(3, 4, dtype=torch.float64)
    direction[1, 2] = 2.0
    block = eigenvalue_corrected_block(direction[None, None])
    assert block.eigenvalues.shape == (1, 1)
    posterior = KroneckerLaplace(0.5, {"w": block}, 1.0, 0.0)
    rows = torch.eye(12, dtype=torch.float64).view(12, 1, 3, 4)
    variances = posterior.logit_covariance([("w", rows)], 1).flatten()
    expected = torch.full((12,), 2.0, dtype=torch.float64)
    expected[6] = 1 / 4.5
    assert torch.allclose(variances, expected, atol=1e-14)


def test_draws_have_the_covariance_of_the_dense_blocks():
    _, posterior = _posterior(examples=2)
    offsets = posterior.weight_offsets(range(6000), 5)
    for name, block in posterior.blocks.items():
        precision = _dense(block) + 0.3 * torch.eye(HIDDEN**2, dtype=torch.float64)
        white = offsets[name].flatten(1) @ torch.linalg.cholesky(precision)
        identity = torch.eye(HIDDEN**2, dtype=torch.float64)
        assert float((white.T @ white / 6000 - identity).abs().max()) < 9 / math.sqrt(6000)
        assert torch.allclose(posterior.weight_offsets([11], 5)[name][0], offsets[name][11], atol=1e-14)


def test_the_precision_is_the_maximum_or_where_adam_stops():
    _, posterior = _posterior()
    spectrum = torch.cat([block.eigenvalues.flatten() for block in posterior.blocks.values()])
    exact = maximise_evidence(spectrum, 1e-7, 0.0).precision
    assert fit_kronecker_laplace(posterior.blocks, 1e-7, 0.0).precision == exact
    # From 1 with steps of at most 0.1 in the logarithm the reference stops short of a far optimum.
    assert fit_kronecker_laplace(posterior.blocks, 1e-7, 0.0, faithful=True).precision < 0.5 * exact
    assert fit_kronecker_laplace(posterior.blocks, 1e-7, 0.0, precision=2.0).precision == 2.0


def test_the_file_gives_back_the_posterior(tmp_path):
    network, posterior = _posterior()
    save_file(posterior.tensors(), tmp_path / "posterior.safetensors")
    again = KroneckerLaplace.from_tensors(load_file(tmp_path / "posterior.safetensors"))
    jacobian = network.weight_jacobian()
    assert again.log_evidence == posterior.log_evidence
    assert torch.equal(
        again.logit_covariance(jacobian.items(), CLASSES), posterior.logit_covariance(jacobian.items(), CLASSES)
    )
    with pytest.raises(StateError, match="no Kronecker posterior"):
        KroneckerLaplace.from_tensors({name: t for name, t in posterior.tensors().items() if "basis" not in name})


def test_other_matrices_and_broken_gradients_are_refused():
    network, posterior = _posterior()
    jacobian = network.weight_jacobian()
    with pytest.raises(StateError, match="third"):
        posterior.logit_covariance([("third", jacobian["first"])], CLASSES)
    with pytest.raises(StateError, match="lacks matrices"):
        posterior.logit_covariance([("first", jacobian["first"])], CLASSES)
    with pytest.raises(NumericalError, match="not finite"):
        eigenvalue_corrected_block(torch.full((2, 1, 3, 3), torch.nan))


def test_laplace_torch_has_the_same_blocks_for_single_tokens():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        laplace = pytest.importorskip("laplace")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 3, bias=False), torch.nn.Tanh(), torch.nn.Linear(3, CLASSES, bias=False)
    ).double()
    inputs, answers = torch.randn(20, 4, dtype=torch.float64), torch.randint(CLASSES, (20,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, answers), batch_size=20)
    oracle = laplace.Laplace(
        model,
        "classification",
        subset_of_weights="all",
        hessian_structure="kron",
        prior_precision=0.4,
        backend=laplace.curvature.BackPackGGN,
    )
    oracle.fit(loader)
    others = torch.randn(6, 4, dtype=torch.float64)
    _, expected = oracle._glm_predictive_distribution(others)

    with torch.no_grad():
        code = torch.tanh(model[0](inputs))
        factors = curvature_factors(model(inputs))
        last = factors.mT
        first = (last @ model[2].weight) * (1 - code.square())[:, None, :]
    blocks = {
        "0.weight": token_summed_block(inputs[:, None], first[:, :, None]),
        "2.weight": token_summed_block(code[:, None], last[:, :, None]),
    }
    weights = {name: value.detach() for name, value in model.named_parameters()}
    single = torch.func.jacrev(lambda values, row: torch.func.functional_call(model, values, (row,)))
    jacobian = torch.func.vmap(single, (None, 0))(weights, others)
    found = KroneckerLaplace(0.4, blocks, 1.0, 0.0).logit_covariance(jacobian.items(), CLASSES)
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-8)
