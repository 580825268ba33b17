import math
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from bayesgrid.errors import NumericalError, StateError
from bayesgrid.studies.bayesian_lora.laplace.dual import DualLaplace, fit_dual_laplace, training_log_likelihood

CLASSES = pytest.mark.parametrize("classes", [2, 4])


def _split(model, *, differences):
    jacobian = model.jacobian
    if differences:
        jacobian = {name: block[:, 1:] - block[:, :1] for name, block in jacobian.items()}
    training = {name: block[: model.trained].clone() for name, block in jacobian.items()}
    return training, {name: block[model.trained :] for name, block in jacobian.items()}


def _fit(model, jacobian, **arguments):
    n = model.trained
    return fit_dual_laplace(
        jacobian, model.logits[:n], model.answers[:n], model.squared_norm, options=model.options[:n], **arguments
    )


def _dense_covariance(model, precision):
    curvature = model.dense_curvature()
    return torch.linalg.inv(curvature + precision * torch.eye(len(curvature), dtype=torch.float64))


@CLASSES
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize("precision", [1e-2, 1.0, 50.0])
def test_prediction_and_determinant_are_those_of_the_dense_posterior(toy, classes, masked, differences, precision):
    model = toy(classes, masked=masked)
    training, testing = _split(model, differences=differences)
    posterior = _fit(model, training, precision=precision, negligible=0.0)
    stacked = torch.cat(list(testing.values()), 2)
    expected = stacked @ _dense_covariance(model, precision) @ stacked.mT
    found = posterior.logit_covariance(testing.items(), classes)
    assert found.shape == (5, classes, classes)
    missing = classes - expected.shape[1]
    error = (found[:, missing:, missing:] - expected).abs().max() / expected.abs().max().clamp(min=1.0)
    assert float(error) < 1e-10
    assert float(found[:, :missing].abs().sum()) == 0.0

    curvature = model.dense_curvature()
    prior = precision * torch.eye(len(curvature), dtype=torch.float64)
    determinant = torch.linalg.slogdet(curvature + prior)[1] - torch.linalg.slogdet(prior)[1]
    assert abs(posterior.log_determinant_ratio - float(determinant)) < 1e-10
    trace = float(torch.trace(curvature @ torch.linalg.inv(curvature + prior)))
    assert posterior.effective_parameters == pytest.approx(trace, abs=1e-10)
    assert posterior.log_likelihood == pytest.approx(model.dense_log_likelihood(), abs=1e-12)


@CLASSES
def test_blocks_in_any_cut_and_order_give_the_same_posterior(toy, classes):
    model = toy(classes)
    training, testing = _split(model, differences=True)
    whole = _fit(model, {"all": torch.cat(list(training.values()), 2)}, precision=0.3)
    parts = _fit(model, dict(reversed(training.items())), precision=0.3)
    dense = whole.logit_covariance([("all", torch.cat(list(testing.values()), 2))], classes)
    assert torch.allclose(parts.logit_covariance(iter(testing.items()), classes), dense, rtol=0, atol=1e-12)
    one = {name: block[2:3] for name, block in testing.items()}
    assert torch.allclose(parts.logit_covariance(one.items(), classes)[0], dense[2], rtol=0, atol=1e-12)


def test_the_precision_is_that_of_the_largest_evidence(toy):
    model = toy(4)
    training, _ = _split(model, differences=True)
    best = _fit(model, training)
    for factor in (0.9, 1.1):
        other = _fit(model, training, precision=best.precision * factor)
        assert other.log_evidence < best.log_evidence
    curvature = model.dense_curvature()
    prior = best.precision * torch.eye(len(curvature), dtype=torch.float64)
    dense = model.dense_log_likelihood() - 0.5 * float(
        torch.logdet(curvature + prior) - torch.logdet(prior) + best.precision * model.squared_norm
    )
    assert best.log_evidence == pytest.approx(dense, abs=1e-9)


def test_rows_written_over_the_jacobian_are_the_same_rows(toy):
    model = toy(4)
    training, testing = _split(model, differences=False)
    apart = _fit(model, training, precision=0.5)
    memory = {name: block.data_ptr() for name, block in training.items()}
    within = _fit(model, training, precision=0.5, overwrite=True)
    for name, rows in within.rows.items():
        assert rows.data_ptr() == memory[name]
        assert torch.equal(rows, apart.rows[name])
    assert torch.equal(
        within.logit_covariance(testing.items(), 4),
        apart.logit_covariance(testing.items(), 4),
    )


def test_dropping_negligible_rows_loses_at_most_their_share_of_the_variance(toy):
    model = toy(4, trained=30)
    training, testing = _split(model, differences=True)
    exact = _fit(model, training, precision=5.0, negligible=0.0)
    short = _fit(model, training, precision=5.0, negligible=0.05)
    assert len(next(iter(short.rows.values()))) < len(next(iter(exact.rows.values())))
    assert torch.equal(short.eigenvalues, exact.eigenvalues)
    before = exact.logit_covariance(testing.items(), 4).diagonal(dim1=1, dim2=2)[:, 1:]
    after = short.logit_covariance(testing.items(), 4).diagonal(dim1=1, dim2=2)[:, 1:]
    prior = torch.cat(list(testing.values()), 2).square().sum(2) / 5.0
    assert torch.all(after >= before - 1e-12)
    assert torch.all(after - before <= 0.05 * prior)
    assert float((after - before).max()) > 0


@CLASSES
def test_draws_have_the_covariance_of_the_dense_posterior(toy, classes):
    model = toy(classes, trained=40)
    training, _ = _split(model, differences=True)
    posterior = _fit(model, training, precision=0.2)
    offsets = posterior.weight_offsets(range(8000), seed=3)
    drawn = torch.cat([offsets[name] for name in model.weights], 1)
    # White draws: their covariance is the identity when the posterior's is the dense one.
    curvature = model.dense_curvature()
    precision = curvature + 0.2 * torch.eye(len(curvature), dtype=torch.float64)
    white = drawn @ torch.linalg.cholesky(precision)
    identity = torch.eye(len(precision), dtype=torch.float64)
    assert float((white.T @ white / len(white) - identity).abs().max()) < 6 / math.sqrt(8000) * 1.5
    assert float(white.mean(0).abs().max()) < 5 / math.sqrt(8000)
    # The prior alone fails the same test by far.
    assert float(torch.linalg.eigvalsh(precision).max()) > 10 * 0.2


def test_a_draw_depends_on_seed_and_number_alone(toy):
    model = toy(2)
    training, _ = _split(model, differences=True)
    posterior = _fit(model, training, precision=1.0)
    many, one = posterior.weight_offsets(range(5), 7), posterior.weight_offsets([3], 7)
    for name in many:
        assert torch.allclose(many[name][3], one[name][0], rtol=0, atol=1e-14)
        assert not torch.allclose(one[name], posterior.weight_offsets([3], 8)[name])
    turned = _fit(model, dict(reversed(training.items())), precision=1.0).weight_offsets([3], 7)
    for name in one:
        assert torch.allclose(turned[name], one[name], rtol=0, atol=1e-12)


def test_single_precision_rows_come_close(toy):
    model = toy(4)
    training, testing = _split(model, differences=True)
    exact = _fit(model, training, precision=0.5).logit_covariance(testing.items(), 4)
    single = _fit(model, {name: block.float() for name, block in training.items()}, precision=0.5)
    assert single.rows["layers.0"].dtype == torch.float32
    found = single.logit_covariance(((name, block.float()) for name, block in testing.items()), 4)
    assert float((found - exact).abs().max()) < 1e-4 * float(exact.abs().max())


def test_the_file_gives_back_the_posterior(toy, tmp_path):
    model = toy(4)
    training, testing = _split(model, differences=True)
    posterior = _fit(model, training, overwrite=True)
    save_file(posterior.tensors(), tmp_path / "posterior.safetensors")
    again = DualLaplace.from_tensors(load_file(tmp_path / "posterior.safetensors"))
    assert again.precision == posterior.precision
    assert again.log_evidence == posterior.log_evidence
    assert torch.equal(
        again.logit_covariance(testing.items(), 4),
        posterior.logit_covariance(testing.items(), 4),
    )
    with pytest.raises(StateError, match="no dual Laplace posterior"):
        DualLaplace.from_tensors({"precision": torch.tensor(1.0)})


def test_a_jacobian_of_other_modules_is_refused(toy):
    model = toy(2)
    training, testing = _split(model, differences=True)
    posterior = _fit(model, training, precision=1.0)
    with pytest.raises(StateError, match="lacks modules"):
        posterior.logit_covariance([("layers.0", testing["layers.0"])], 2)
    with pytest.raises(StateError, match=r"layers\.9"):
        posterior.logit_covariance([("layers.9", testing["layers.0"])], 2)
    with pytest.raises(StateError, match="once"):
        posterior.logit_covariance([("layers.0", testing["layers.0"])] * 2, 2)
    with pytest.raises(StateError, match="18 weights"):
        posterior.logit_covariance([("layers.0", testing["layers.0"][:, :, :4])], 2)


def test_a_jacobian_that_is_not_finite_is_an_error(toy):
    model = toy(2)
    training, _ = _split(model, differences=True)
    training["layers.0"][1, 0, 2] = torch.nan
    with pytest.raises(NumericalError, match="not finite"):
        _fit(model, training)


def test_the_log_likelihood_is_the_negative_cross_entropy():
    logits = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    answers = torch.arange(9) % 3
    expected = -torch.nn.functional.cross_entropy(logits, answers, reduction="sum")
    assert training_log_likelihood(logits, answers) == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize("scope", ["all", "last_layer"])
@pytest.mark.parametrize("classes", [2, 3])
def test_laplace_torch_predicts_the_same(classes, scope):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        laplace = pytest.importorskip("laplace")
    torch.manual_seed(classes)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, classes)).double()
    inputs, answers = torch.randn(20, 4, dtype=torch.float64), torch.randint(classes, (20,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, answers), batch_size=20)
    oracle = laplace.Laplace(
        model,
        "classification",
        subset_of_weights=scope,
        hessian_structure="full",
        prior_precision=0.4,
        backend=laplace.curvature.BackPackGGN,
    )
    oracle.fit(loader)
    others = torch.randn(6, 4, dtype=torch.float64)
    _, expected = oracle._glm_predictive_distribution(others)

    weights = {name: value.detach() for name, value in model.named_parameters() if scope == "all" or name[0] == "2"}

    def jacobian(rows):
        single = torch.func.jacrev(lambda values, row: torch.func.functional_call(model, values, (row,)))
        return {
            name: block.flatten(2).detach() for name, block in torch.func.vmap(single, (None, 0))(weights, rows).items()
        }

    norm = float(sum(value.square().sum() for value in weights.values()))
    posterior = fit_dual_laplace(jacobian(inputs), model(inputs).detach(), answers, norm, precision=0.4)
    found = posterior.logit_covariance(jacobian(others).items(), classes)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-10)
    evidence = float(oracle.log_marginal_likelihood().detach())
    assert posterior.log_evidence == pytest.approx(evidence, rel=1e-9)
