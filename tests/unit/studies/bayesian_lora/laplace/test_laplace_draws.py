"""Weights drawn from a Laplace posterior: the map from noise to weights gives the dense covariance, exactly."""

import dataclasses

import pytest
import torch
from torch import Tensor

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.errors import StateError
from bayesgrid.studies.bayesian_lora.laplace import dual, kronecker
from bayesgrid.studies.bayesian_lora.laplace.adapter_offsets import factor_matrices
from bayesgrid.studies.bayesian_lora.laplace.kronecker import eigenvalue_corrected_block, fit_kronecker_laplace
from bayesgrid.studies.bayesian_lora.laplace.softmax_curvature import curvature_factors
from bayesgrid.studies.bayesian_lora.laplace_draws import draw_laplace_adapter, share_as_wide_as_prior

PRECISION = 0.3


class _UnitNoise:
    """Stands in for the random streams: draw k is the k-th unit vector of the noise of all modules together."""

    def __init__(self) -> None:
        self.starts: dict[str, int] = {}
        self.total = 0

    def __call__(self, _seed: int, name: str, draw: int) -> "_UnitNoise":
        self.name, self.draw = name, draw
        return self

    def standard_normal(self, shape):
        values = torch.zeros(shape, dtype=torch.float64)
        if self.name not in self.starts:
            self.starts[self.name] = self.total
            self.total += values.numel()
        place = self.draw - self.starts[self.name]
        if 0 <= place < values.numel():
            values.view(-1)[place] = 1.0
        return values.numpy()


def _flat(weights: AdapterWeights) -> Tensor:
    return torch.cat([factor.flatten() for pair in weights.pairs.values() for factor in (pair.a, pair.b)]).double()


def _drawn_covariance(posterior: AdapterPosterior, monkeypatch) -> Tensor:
    """Return M M^T for the linear map M from noise to weights, whose columns are the draws of unit vectors."""
    noise = _UnitNoise()
    for module in (dual, kronecker):
        monkeypatch.setattr(module, "random_stream", noise)
    mean = _flat(posterior.mean)
    columns = [_flat(draw_laplace_adapter(posterior, index, seed=0)) - mean for index in range(len(mean))]
    assert noise.total == len(mean), "as much noise as weights"
    found = torch.stack(columns, 1)
    return found @ found.T


def _dual(model, **settings) -> AdapterPosterior:
    jacobian = {name: block[: model.trained].clone() for name, block in model.jacobian.items()}
    n = model.trained
    fitted = dual.fit_dual_laplace(
        jacobian,
        model.logits[:n],
        model.answers[:n],
        model.squared_norm,
        options=model.options[:n],
        precision=PRECISION,
        **settings,
    )
    return AdapterPosterior("laplace", model.adapter, fitted.tensors(), {"structure": "dual"})


@pytest.mark.parametrize("classes", [2, 4])
def test_the_dual_map_gives_the_dense_covariance(toy, classes, monkeypatch):
    model = toy(classes, trained=25)
    curvature = model.dense_curvature()
    dense = torch.linalg.inv(curvature + PRECISION * torch.eye(len(curvature), dtype=torch.float64))
    found = _drawn_covariance(_dual(model), monkeypatch)
    assert float((found - dense).abs().max()) < 1e-10
    prior = torch.eye(len(curvature), dtype=torch.float64) / PRECISION
    assert float((prior - dense).abs().max()) > 0.5, "the data have narrowed the prior"


def _blocks(model):
    factors = curvature_factors(model.logits, model.options)[: model.trained]
    blocks, dense = {}, []
    for name, jacobian in model.jacobian.items():
        curved = torch.einsum("ndk,ndp->nkp", factors, jacobian[: model.trained])
        for letter, gradients in zip("ab", factor_matrices(curved, model.adapter.pairs[name]), strict=True):
            block = eigenvalue_corrected_block(gradients)
            blocks[f"{name}.{letter}"] = block
            basis = torch.kron(block.output_basis, block.input_basis)
            dense.append(basis @ torch.diag(block.eigenvalues.flatten()) @ basis.T)
    return blocks, torch.block_diag(*dense)


def _kronecker(model) -> AdapterPosterior:
    fitted = fit_kronecker_laplace(_blocks(model)[0], model.squared_norm, -1.0, precision=PRECISION)
    return AdapterPosterior("laplace", model.adapter, fitted.tensors(), {"structure": "kronecker"})


@pytest.mark.parametrize("classes", [2, 4])
def test_the_kronecker_map_gives_the_dense_covariance(toy, classes, monkeypatch):
    model = toy(classes, trained=25)
    curvature = _blocks(model)[1]
    dense = torch.linalg.inv(curvature + PRECISION * torch.eye(len(curvature), dtype=torch.float64))
    found = _drawn_covariance(_kronecker(model), monkeypatch)
    assert float((found - dense).abs().max()) < 1e-10
    prior = torch.eye(len(curvature), dtype=torch.float64) / PRECISION
    assert float((prior - dense).abs().max()) > 0.5


@pytest.mark.parametrize("make", [_dual, _kronecker])
def test_a_draw_depends_on_seed_and_number_alone(toy, make):
    posterior = make(toy(3))
    one = draw_laplace_adapter(posterior, 2, seed=5)
    assert torch.equal(_flat(one), _flat(draw_laplace_adapter(posterior, 2, seed=5)))
    for index, seed in ((1, 5), (2, 6)):
        assert not torch.allclose(_flat(one), _flat(draw_laplace_adapter(posterior, index, seed=seed)))


@pytest.mark.parametrize("make", [_dual, _kronecker])
def test_layers_without_curvature_keep_their_mean(toy, make):
    posterior = make(toy(3))
    mean = posterior.mean
    more = {**mean.pairs, "layers.9": LowRankPair(torch.ones(2, 5), torch.ones(4, 2))}
    drawn = draw_laplace_adapter(dataclasses.replace(posterior, mean=AdapterWeights(more, mean.scaling)), 0, seed=0)
    assert drawn.pairs["layers.9"] is more["layers.9"]
    assert drawn.scaling == mean.scaling
    assert not torch.equal(drawn.pairs["layers.0"].b, mean.pairs["layers.0"].b)


@pytest.mark.parametrize("make", [_dual, _kronecker])
def test_the_curvature_of_another_adapter_is_refused(toy, make):
    posterior = make(toy(3))
    mean = posterior.mean
    fewer = AdapterWeights({"layers.0": mean.pairs["layers.0"]}, mean.scaling)
    with pytest.raises(StateError, match="answer_head"):
        draw_laplace_adapter(dataclasses.replace(posterior, mean=fewer), 0, seed=0)
    wider = {**mean.pairs, "layers.0": LowRankPair(torch.ones(2, 6), torch.ones(4, 2))}
    with pytest.raises(StateError, match=r"another length|other matrices"):
        draw_laplace_adapter(dataclasses.replace(posterior, mean=AdapterWeights(wider, mean.scaling)), 0, seed=0)
    with pytest.raises(StateError, match=r"no (dual Laplace|Kronecker) posterior"):
        draw_laplace_adapter(dataclasses.replace(posterior, tensors={}), 0, seed=0)


@pytest.mark.parametrize("structure", [_dual, _kronecker])
@pytest.mark.parametrize("stretch", [1.0, 30.0, 1e4])
def test_the_share_of_wide_directions_is_that_of_the_dense_covariance(toy, structure, stretch):
    model = toy(4, trained=25)
    posterior = structure(model)
    scaled = {n: t * stretch if n.startswith("eigenvalues") else t for n, t in posterior.tensors.items()}
    curvature = (model.dense_curvature() if structure is _dual else _blocks(model)[1]) * stretch
    dense = torch.linalg.inv(curvature + PRECISION * torch.eye(len(curvature), dtype=torch.float64))
    relative = (torch.linalg.eigvalsh((dense + dense.T) / 2) * PRECISION).sqrt()
    found = share_as_wide_as_prior(dataclasses.replace(posterior, tensors=scaled))
    assert found == pytest.approx(float((relative > 0.5).double().mean()), abs=1e-12)
    assert 0 < found < 1
