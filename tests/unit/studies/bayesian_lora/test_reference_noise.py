import numpy as np
import pytest
import torch

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.errors import ConfigurationError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.methods.reference_noise import reference_noise
from bayesgrid.studies.bayesian_lora.prediction import predict

PATH = "layers.1.self_attn.v_proj"


@pytest.fixture
def noisy(adapted_model, fit_spec, random_weights):
    """A function that returns an adapted model and a posterior of BLoB or MC dropout for it."""

    def make(method):
        adapted = adapted_model(fit_spec("mle"))
        mean = random_weights(adapted.stack)
        tensors, settings = {}, {}
        if method == "blob":
            tensors = {f"{p}.standard_deviation": 0.1 + pair.a.abs() for p, pair in mean.pairs.items()}
        else:
            settings = {"dropout": 0.3}
        return adapted, AdapterPosterior(method, mean, tensors, settings)

    return make


def _answers(adapted, posterior, task, *, draws=2, seed=0, scope="all"):
    with reference_noise(posterior, adapted.stack, seed=seed, scope=scope) as perturb:
        return predict(adapted, task, [posterior.mean] * draws, perturb=perturb)


def _codes(adapted, posterior, batch, inputs):
    """The codes of one layer for the same input at every token, ``[slots, rows, tokens, r]``."""
    with reference_noise(posterior, adapted.stack, seed=4) as perturb:
        perturb(batch)
        a = posterior.mean.pairs[PATH].a.expand(inputs.shape[0], -1, -1)
        return adapted.stack.layers[PATH].projection(inputs, a, None)


def test_blob_noise_of_tokens_has_the_variance_of_random_signs(noisy):
    adapted, posterior = noisy("blob")
    x = torch.randn(32, generator=torch.Generator().manual_seed(1))
    codes = _codes(adapted, posterior, 5, x.expand(2, 40, 50, 32))
    mean, deviation = posterior.mean.pairs[PATH].a, posterior.tensors[f"{PATH}.standard_deviation"]
    for slot in range(2):
        drawn = random_stream(4, f"reference noise/{PATH}", 5, slot).standard_normal((2, 32), dtype=np.float32)
        noise = deviation * torch.from_numpy(drawn)
        tokens = codes[slot].flatten(0, 1)
        # With the noise given, each token's signs are all that differs between equal tokens.
        expected = (x.square() * noise.square()).sum(1)
        torch.testing.assert_close(tokens.var(0), expected, rtol=0.12, atol=0)
        standard_error = (expected / len(tokens)).sqrt()
        assert ((tokens.mean(0) - mean @ x).abs() < 5 * standard_error).all()


def test_dropout_of_tokens_has_the_variance_of_independent_masks(noisy):
    adapted, posterior = noisy("mcdropout")
    x = torch.randn(32, generator=torch.Generator().manual_seed(1))
    tokens = _codes(adapted, posterior, 5, x.expand(2, 40, 50, 32)).flatten(0, 2)
    a = posterior.mean.pairs[PATH].a
    expected = (a.square() * x.square()).sum(1) * 0.3 / 0.7
    torch.testing.assert_close(tokens.var(0), expected, rtol=0.1, atol=0)
    assert ((tokens.mean(0) - a @ x).abs() < 5 * (expected / len(tokens)).sqrt()).all()


@pytest.mark.parametrize("method", ["blob", "mcdropout"])
def test_batches_and_draws_have_noise_of_their_own_that_is_fixed_by_the_seed(noisy, method):
    adapted, posterior = noisy(method)
    inputs = torch.ones(2, 3, 4, 32)
    first, second = (_codes(adapted, posterior, batch, inputs) for batch in (0, 1))
    assert torch.equal(first, _codes(adapted, posterior, 0, inputs))
    assert not torch.allclose(first, second)
    assert not torch.allclose(first[0], first[1])


@pytest.mark.parametrize("method", ["blob", "mcdropout"])
def test_answers_depend_on_the_batch_and_repeat_with_the_seed(noisy, make_task, monkeypatch, method):
    adapted, posterior = noisy(method)
    task = make_task(8)
    first = _answers(adapted, posterior, task)
    np.testing.assert_array_equal(_answers(adapted, posterior, task), first)
    assert np.abs(_answers(adapted, posterior, task, seed=1) - first).max() > 1e-2
    monkeypatch.setattr("bayesgrid.studies.bayesian_lora.prediction._ROWS_OF_ONE_NOISE", 4)
    assert np.abs(_answers(adapted, posterior, task) - first).max() > 1e-2


def test_noise_of_the_head_alone_leaves_the_backbone_still(noisy, make_task):
    adapted, posterior = noisy("blob")
    with reference_noise(posterior, adapted.stack, seed=0, scope="head") as perturb:
        perturb(0)
        noisy_layers = {path for path, layer in adapted.stack.layers.items() if layer.projection is not None}
    assert noisy_layers == {"answer_head"}


def test_noise_is_gone_afterwards(noisy, make_task):
    adapted, posterior = noisy("blob")
    task = make_task(5)
    before = predict(adapted, task, [posterior.mean])
    with pytest.raises(RuntimeError, match="stop"), reference_noise(posterior, adapted.stack, seed=0) as perturb:
        perturb(0)
        raise RuntimeError("stop")
    np.testing.assert_array_equal(predict(adapted, task, [posterior.mean]), before)


def test_method_without_noise_per_token_is_refused(noisy):
    adapted, posterior = noisy("blob")
    other = AdapterPosterior("mle", posterior.mean)
    with pytest.raises(ConfigurationError, match="mle"), reference_noise(other, adapted.stack, seed=0):
        pass
