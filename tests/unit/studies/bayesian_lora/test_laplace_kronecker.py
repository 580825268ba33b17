import dataclasses

import numpy as np
import pytest
import torch

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.low_rank import ANSWER_HEAD
from bayesgrid.errors import ConfigurationError
from bayesgrid.models.answer_model import prompt_batch
from bayesgrid.studies.bayesian_lora.adapted_model import for_labels
from bayesgrid.studies.bayesian_lora.laplace.evidence import adam_prior_precision
from bayesgrid.studies.bayesian_lora.laplace.kronecker import KroneckerLaplace
from bayesgrid.studies.bayesian_lora.laplace_prediction import predict_laplace
from bayesgrid.studies.bayesian_lora.methods import posterior_fit
from bayesgrid.studies.bayesian_lora.methods.laplace_kronecker import exact_trace_blocks
from bayesgrid.studies.bayesian_lora.token_sums import token_sums

LABELS = (3, 4, 5)
LETTERS = ("A", "B", "C")


@pytest.fixture
def setting(adapted_model, make_task, fit_spec, random_weights, merged_logits):
    """Adapted model, questions, adapter, and brute force: path -> Jacobian ``[N, C, P]``, and probabilities."""

    def make(count=8, options=None, **groups):
        adapted = adapted_model(fit_spec("mle"), labels=LABELS)
        task = make_task(count, options=options)
        weights = random_weights(adapted.stack)
        function, point = merged_logits(weights, LABELS)
        jacobian = {path: [] for path in point}
        probabilities = torch.zeros(count, 3, dtype=torch.float64)
        logits = []
        for row, prompt in enumerate(task.prompts):
            derivatives = torch.func.jacrev(lambda flat, prompt=prompt: function(flat, prompt))(point)
            logits.append(function(point, prompt))
            probabilities[row, : task.options[row]] = logits[-1][: task.options[row]].double().softmax(0)
            for path, (a, b) in derivatives.items():
                jacobian[path].append(torch.cat([a.flatten(1), b.flatten(1)], 1).double())
        stacked = {path: torch.stack(rows) for path, rows in jacobian.items()}
        return adapted, task, weights, stacked, probabilities, torch.stack(logits)

    return make


def _curvature(jacobian, probabilities):
    """Σ_n J_n^T (diag(p) − p p^T) J_n."""
    weighed = torch.diag_embed(probabilities) - probabilities[:, :, None] * probabilities[:, None, :]
    return torch.einsum("ncp,ncd,ndq->pq", jacobian, weighed, jacobian)


def test_traces_of_all_matrices_are_exact(setting):
    options = [3, 2, 3, 3, 2, 3, 3, 3]
    adapted, task, weights, jacobian, probabilities, logits = setting(options=options)
    blocks, answered = exact_trace_blocks(adapted, task, weights, "all")
    torch.testing.assert_close(answered, logits, atol=1e-5, rtol=1e-5)
    assert set(blocks) == {f"{path}.{factor}" for path in jacobian for factor in "ab"}
    for path, rows in jacobian.items():
        diagonal = _curvature(rows, probabilities).diagonal()
        split = weights.pairs[path].a.numel()
        for factor, own in (("a", diagonal[:split]), ("b", diagonal[split:])):
            assert float(blocks[f"{path}.{factor}"].eigenvalues.sum()) == pytest.approx(float(own.sum()), rel=1e-4)


def test_token_sums_of_one_token_prompts_make_the_jacobian(setting, make_task):
    adapted, task, weights, _, _, _ = setting()
    single = dataclasses.replace(task, prompts=tuple(prompt[4:5] for prompt in task.prompts), shared_prefix=0)
    sums, logits = token_sums(adapted, single, weights, "all", batch=3)
    blocks, answered = exact_trace_blocks(adapted, single, weights, "all")
    torch.testing.assert_close(logits, answered, atol=1e-5, rtol=1e-5)
    for name, (inputs, gradients) in sums.items():
        # At one token the gradient in the matrix is an outer product, so the trace is a product of norms.
        trace = (inputs.square().sum(1)[:, None] * gradients.square().sum(2)).sum()
        assert float(trace) == pytest.approx(float(blocks[name].eigenvalues.sum()), rel=1e-3), name


def test_token_sums_include_padding_and_are_gradients_of_a_common_shift(setting):
    adapted, task, weights, _, probabilities, _ = setting(count=3)
    sums, _ = token_sums(adapted, task, weights, "all", batch=3)
    path = "layers.0.self_attn.v_proj"
    layer = adapted.stack.layers[path]
    batch = prompt_batch(task.prompts, 0, device=torch.device("cpu"))
    assert len({len(prompt) for prompt in task.prompts}) > 1
    seen = []
    hook = layer.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].detach()))
    shift = torch.zeros(3, 1, 2, requires_grad=True)
    layer.projection = lambda inputs, a, slots: torch.einsum("knld,krd->knlr", inputs, a) + shift
    logits = adapted.model.logits(batch)
    hook.remove()
    layer.projection = None
    torch.testing.assert_close(sums[f"{path}.a"][0], seen[0].double().sum(1), rtol=1e-4, atol=1e-5)
    derivatives = torch.stack(
        [torch.autograd.grad(logits[:, c].sum(), shift, retain_graph=True)[0][:, 0] for c in range(3)], 1
    ).double()
    # S S^T = diag(p) − p p^T: the sum over curvature outputs does not depend on which root is taken.
    expected = torch.stack([_curvature(derivatives[n : n + 1], probabilities[n : n + 1]) for n in range(3)])
    found = sums[f"{path}.a"][1]
    torch.testing.assert_close(found.mT @ found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("mode", ["correct", "faithful"])
def test_fit_takes_the_prior_precision_of_its_mode(setting, fit_spec, make_context, mode):
    adapted, task, weights, _, _, _ = setting()
    spec = fit_spec("laplace_kronecker", mode=mode)
    parent = AdapterPosterior("map", weights)
    fitted = posterior_fit(spec)(spec, parent, adapted, task, 0, make_context())
    posterior = KroneckerLaplace.from_tensors(fitted.posterior.tensors)
    spectrum = torch.cat([block.eigenvalues.flatten() for block in posterior.blocks.values()])
    precision = fitted.measured["prior_precision"]
    if mode == "faithful":
        assert precision == pytest.approx(adam_prior_precision(spectrum, weights.squared_norm()), rel=1e-3)
    else:
        # MacKay's fixed point.
        gamma = float((spectrum / (spectrum + precision)).sum())
        assert precision == pytest.approx(gamma / weights.squared_norm(), rel=1e-3)
    # Directions in which the curvature is negligible are not stored.
    assert all((block.eigenvalues.amax(1) > 1e-4 * precision).all() for block in posterior.blocks.values())
    assert fitted.posterior.method == "laplace"
    assert fitted.posterior.settings["structure"] == "kronecker"


def _dense_covariance(posterior, weights, jacobian, precision):
    """Covariance of all logits, from the dense precision of every matrix."""
    fitted = KroneckerLaplace.from_tensors(posterior.tensors)
    total = 0.0
    for path, rows in jacobian.items():
        split = weights.pairs[path].a.numel()
        for factor, own in (("a", rows[:, :, :split]), ("b", rows[:, :, split:])):
            block = fitted.blocks[f"{path}.{factor}"]
            basis = torch.kron(block.output_basis, block.input_basis)
            dense = basis @ torch.diag(block.eigenvalues.flatten()) @ basis.T
            dense = dense + precision * torch.eye(len(dense), dtype=torch.float64)
            total = total + own @ torch.linalg.solve(dense, own.mT)
    return total


def _contrasts(logits):
    return logits[..., 1:] - logits[..., :1]


@pytest.mark.parametrize("method", ["laplace", "laplace_kronecker"])
@pytest.mark.parametrize("scope", ["all", "head"])
def test_drawn_logits_have_the_covariance_of_the_dense_posterior(setting, fit_spec, make_context, method, scope):
    adapted, task, weights, jacobian, probabilities, logits = setting()
    precision = 5.0
    spec = fit_spec(method, laplace={"prior_precision": precision, "scope": scope})
    fitted = posterior_fit(spec)(spec, AdapterPosterior("map", weights), adapted, task, 0, make_context())
    draws = predict_laplace(
        adapted, task, fitted.posterior, trained=LETTERS, asked=LETTERS, scope=scope, draws=2048, seed=0
    ).astype(np.float64)
    if scope == "head":
        jacobian = {ANSWER_HEAD: jacobian[ANSWER_HEAD]}
    if method == "laplace":
        rows = torch.cat(list(jacobian.values()), 2)
        total = _curvature(rows, probabilities) + precision * torch.eye(rows.shape[2], dtype=torch.float64)
        covariance = rows @ torch.linalg.solve(total, rows.mT)
    else:
        covariance = _dense_covariance(fitted.posterior, weights, jacobian, precision)
    to_differences = torch.tensor([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    expected = to_differences @ covariance @ to_differences.T
    differences = _contrasts(draws)
    np.testing.assert_allclose(differences.mean(0), _contrasts(logits.numpy()), atol=0.02)
    for row in range(len(task)):
        found = np.cov(differences[:, row].T)
        np.testing.assert_allclose(found, expected[row], atol=0.02 * float(expected[row].abs().max()))


@pytest.mark.parametrize("method", ["laplace", "laplace_kronecker"])
def test_head_with_other_labels_draws_the_same_answers(setting, adapted_model, fit_spec, make_context, method):
    adapted, task, weights, _, _, _ = setting(options=[3, 2, 3, 3, 2, 3, 3, 3])
    spec = fit_spec(method, laplace={"prior_precision": 5.0})
    fitted = posterior_fit(spec)(spec, AdapterPosterior("map", weights), adapted, task, 0, make_context())
    arguments = {"scope": "all", "draws": 16, "seed": 0}
    expected = predict_laplace(adapted, task, fitted.posterior, trained=LETTERS, asked=LETTERS, **arguments)
    # The head of another evaluation: another order, and a label in between that was not trained on.
    other = adapted_model(fit_spec("mle"), labels=(5, 9, 3, 4))
    asked = ("C", "Z", "A", "B")
    found = predict_laplace(other, task, fitted.posterior, trained=LETTERS, asked=asked, **arguments)
    np.testing.assert_allclose(_contrasts(found[..., [2, 3, 0]]), _contrasts(expected), atol=2e-3)


@pytest.mark.parametrize("method", ["laplace", "laplace_kronecker"])
def test_label_that_was_not_trained_on_has_the_variance_of_the_prior(
    setting, adapted_model, fit_spec, make_context, method
):
    adapted, task, weights, _, _, _ = setting()
    spec = fit_spec(method, laplace={"prior_precision": 5.0, "scope": "head"})
    fitted = posterior_fit(spec)(spec, AdapterPosterior("map", weights), adapted, task, 0, make_context())
    other = adapted_model(fit_spec("mle"), labels=(3, 4, 5, 9))
    asked = ("A", "B", "C", "Z")
    new = dataclasses.replace(task, labels=("A", "Z"), options=np.full(len(task), 2), label_tokens=(3, 9))
    arguments = {"scope": "head", "draws": 2048, "seed": 0}
    draws = predict_laplace(other, new, fitted.posterior, trained=LETTERS, asked=asked, **arguments)
    known = predict_laplace(
        other,
        dataclasses.replace(new, labels=("A", "B")),
        fitted.posterior,
        trained=LETTERS,
        asked=asked,
        **arguments,
    )
    assert (draws[:, :, 1:3] == draws[:1, :, 1:3]).all()
    other.stack.resize(1)
    other.stack.load(0, for_labels(weights, LETTERS, asked))
    with torch.no_grad():
        hidden = other.model.hidden(prompt_batch(task.prompts, 0, device=torch.device("cpu")))
    codes = weights.scaling * hidden @ weights.pairs[ANSWER_HEAD].a.T
    prior = codes.square().sum(1) / 5.0
    variance = np.var(draws[:, :, 3] - draws[:, :, 0], axis=0)
    # The trained label adds its own variance, which data have made smaller than the prior's.
    assert (variance > 0.97 * prior.numpy()).all()
    assert (np.var(known[:, :, 1] - known[:, :, 0], axis=0) < variance).mean() > 0.7


def test_head_without_adapter_cannot_be_the_scope(adapted_model, make_task, fit_spec, random_weights):
    adapted = adapted_model(fit_spec("mle", lora={"head": False}))
    with pytest.raises(ConfigurationError, match="head"):
        token_sums(adapted, make_task(3), random_weights(adapted.stack), "head", batch=2)
