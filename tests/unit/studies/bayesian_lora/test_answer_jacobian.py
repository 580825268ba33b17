import numpy as np
import pytest
import torch

from bayesgrid.adapters.low_rank import ANSWER_HEAD
from bayesgrid.errors import ConfigurationError
from bayesgrid.studies.bayesian_lora.answer_jacobian import answer_jacobian, jacobian_blocks
from bayesgrid.studies.bayesian_lora.laplace.dual import fit_dual_laplace

LABELS = (3, 4, 5)


@pytest.fixture
def setting(adapted_model, make_task, fit_spec, random_weights, merged_logits):
    """Adapted model, questions, adapter, and the brute-force Jacobian: path -> ``[N, C, P]``, with the logits."""

    def make(options=None, count=7):
        adapted = adapted_model(fit_spec("mle"), labels=LABELS)
        task = make_task(count, labels=LABELS, options=options)
        weights = random_weights(adapted.stack)
        function, point = merged_logits(weights, LABELS)
        jacobian = {path: [] for path in point}
        logits = []
        for prompt in task.prompts:
            derivatives = torch.func.jacrev(lambda flat, prompt=prompt: function(flat, prompt))(point)
            logits.append(function(point, prompt))
            for path, (a, b) in derivatives.items():
                jacobian[path].append(torch.cat([a.flatten(1), b.flatten(1)], 1))
        return adapted, task, weights, {path: torch.stack(rows) for path, rows in jacobian.items()}, torch.stack(logits)

    return make


def _differences(jacobian):
    return {path: rows[:, 1:] - rows[:, :1] for path, rows in jacobian.items()}


def test_jacobian_of_all_layers_equals_reverse_mode_one_question_at_a_time(setting):
    adapted, task, weights, expected, logits = setting()
    # Prompts of different lengths share a batch, so padding has to be without effect.
    assert len({len(prompt) for prompt in task.prompts}) > 1
    found, answered = answer_jacobian(adapted, task, weights)
    torch.testing.assert_close(answered, logits, atol=1e-5, rtol=1e-5)
    assert set(found) == set(expected) == set(adapted.stack.layers)
    for path, rows in _differences(expected).items():
        torch.testing.assert_close(found[path], rows, atol=1e-5 * float(rows.abs().max()), rtol=1e-4)


def test_jacobian_of_the_head_alone(setting):
    adapted, task, weights, expected, logits = setting()
    found, answered = answer_jacobian(adapted, task, weights, "head")
    assert set(found) == {ANSWER_HEAD}
    rows = _differences(expected)[ANSWER_HEAD]
    torch.testing.assert_close(answered, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[ANSWER_HEAD], rows, atol=1e-5 * float(rows.abs().max()), rtol=1e-4)


def test_blocks_of_questions_are_the_rows_of_the_whole(setting, monkeypatch):
    adapted, task, weights, _, _ = setting()
    whole, logits = answer_jacobian(adapted, task, weights)
    monkeypatch.setattr("bayesgrid.studies.bayesian_lora.answer_jacobian.tokens_at_once", lambda device, gradients: 20)
    seen = []
    for rows, answered, blocks in jacobian_blocks(adapted, task, weights, "all", questions=3):
        seen += rows.tolist()
        torch.testing.assert_close(answered, logits[rows], atol=1e-5, rtol=1e-5)
        for path, block in blocks.items():
            torch.testing.assert_close(block, whole[path][rows], atol=1e-4, rtol=1e-4)
    assert sorted(seen) == list(range(len(task)))
    assert len(seen) == len(task)


def test_head_without_adapter_has_no_jacobian(adapted_model, make_task, fit_spec, random_weights):
    adapted = adapted_model(fit_spec("mle", lora={"head": False}))
    with pytest.raises(ConfigurationError, match="head"):
        answer_jacobian(adapted, make_task(3), random_weights(adapted.stack), "head")


def test_dual_posterior_through_it_is_the_dense_gauss_newton_posterior(setting):
    options = np.array([3, 2, 3, 2, 3, 3, 3])
    adapted, task, weights, expected, logits = setting(options=options)
    found, answered = answer_jacobian(adapted, task, weights)
    precision = 3.0
    posterior = fit_dual_laplace(
        {path: rows.double() for path, rows in found.items()},
        answered,
        torch.from_numpy(task.answers),
        weights.squared_norm(),
        options=torch.from_numpy(options),
        precision=precision,
    )
    dense = torch.cat([expected[path] for path in found], 2).double()
    total = precision * torch.eye(dense.shape[2], dtype=torch.float64)
    for rows, answer, count in zip(dense, logits.double(), options, strict=True):
        p = torch.zeros(len(LABELS), dtype=torch.float64)
        p[:count] = answer[:count].softmax(0)
        total += rows.T @ (torch.diag(p) - torch.outer(p, p)) @ rows
    differences = dense[:, 1:] - dense[:, :1]
    covariance = differences @ torch.linalg.solve(total, differences.mT)
    predicted = posterior.logit_covariance(found.items(), len(LABELS))[:, 1:, 1:]
    torch.testing.assert_close(predicted, covariance, atol=1e-4 * float(covariance.abs().max()), rtol=1e-3)
    log_ratio = torch.linalg.slogdet(total / precision).logabsdet
    assert posterior.log_determinant_ratio == pytest.approx(float(log_ratio), rel=1e-5)
