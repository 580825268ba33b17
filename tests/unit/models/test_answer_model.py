import numpy as np
import pytest
import torch
from torch import nn

from bayesgrid.errors import ConfigurationError
from bayesgrid.models.answer_model import AnswerModel, answer_head, prompt_batch, split_decoder

FAMILIES = ("llama", "qwen2", "qwen3")
CPU = torch.device("cpu")


def _causal_model(family, layers=3):
    import transformers as t

    sizes = {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "initializer_range": 0.3,
    }
    torch.manual_seed(1)
    if family == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**sizes)).eval()
    if family == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**sizes)).eval()
    return t.Qwen3ForCausalLM(t.Qwen3Config(**sizes, head_dim=8)).eval()


def _prompts(prefix=5, lengths=(1, 4, 7, 2), seed=0):
    draw = np.random.default_rng(seed)
    beginning = draw.integers(0, 60, prefix)
    return [np.concatenate([beginning, draw.integers(0, 60, length)]).astype(np.int64) for length in lengths]


@pytest.fixture(params=FAMILIES)
def whole(request):
    return _causal_model(request.param)


def _answering(whole, labels=(3, 17, 40), **arguments):
    return AnswerModel(whole.base_model, answer_head(whole.lm_head.weight, labels), **arguments)


def test_logits_are_those_of_the_causal_model_at_the_last_token(whole):
    labels = (3, 17, 40)
    prompts = _prompts()
    with torch.no_grad():
        answered = _answering(whole, labels).logits(prompt_batch(prompts, 5, device=CPU))
        for row, prompt in enumerate(prompts):
            expected = whole(input_ids=torch.from_numpy(prompt)[None]).logits[0, -1, list(labels)]
            torch.testing.assert_close(answered[row], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shares_prefix", [True, False])
def test_shared_prefix_changes_neither_logits_nor_gradients(whole, shares_prefix):
    model = _answering(whole, shares_prefix=shares_prefix)
    parameters = [p for p in whole.base_model.parameters() if p.requires_grad]
    found = []
    for prefix in (0, 5):
        logits = model.logits(prompt_batch(_prompts(), prefix, device=CPU))
        weights = torch.arange(logits.numel(), dtype=torch.float32).reshape(logits.shape)
        found.append((logits.detach(), torch.autograd.grad((logits * weights).sum(), parameters)))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    for own, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(own, other, atol=1e-5 * float(own.abs().max()) + 1e-6, rtol=1e-5)


def test_prefix_computed_beforehand_serves_several_batches(whole):
    model = _answering(whole)
    prompts = _prompts()
    with torch.no_grad():
        whole_batch = model.logits(prompt_batch(prompts, 5, device=CPU))
        known = model.prefix_states(prompt_batch(prompts, 5, device=CPU).prefix, 1)
        parts = [model.logits(prompt_batch(prompts[s], 5, device=CPU), 1, known) for s in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(torch.cat(parts), whole_batch, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prefix", [0, 5])
def test_tokens_after_the_last_one_are_not_seen(whole, prefix):
    model = _answering(whole)
    batch = prompt_batch(_prompts(), prefix, device=CPU)
    filled = batch.tokens.clone()
    for row, last in enumerate(batch.last.tolist()):
        filled[row, last + 1 :] = 59
    longer = torch.cat([filled, torch.full((len(filled), 3), 58)], dim=1)
    assert not torch.equal(filled, batch.tokens)
    with torch.no_grad():
        expected = model.logits(batch)
        found = model.logits(type(batch)(longer, batch.last, batch.prefix))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_rows_in_blocks_keep_their_order(whole):
    model = _answering(whole)
    batch = prompt_batch(_prompts(), 5, device=CPU)
    with torch.no_grad():
        once, twice = model.logits(batch), model.logits(batch.repeated(2), 2)
    torch.testing.assert_close(twice, torch.cat([once, once]), atol=1e-5, rtol=1e-5)


def test_rows_that_make_no_equal_blocks_are_refused(whole):
    with pytest.raises(ValueError, match="3 blocks"):
        _answering(whole).logits(prompt_batch(_prompts(), 5, device=CPU), 3)


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("prefix", [0, 5])
def test_upper_part_on_the_states_of_the_lower_equals_the_whole(whole, block, prefix):
    prompts = _prompts()
    lower, upper = split_decoder(whole.base_model, block)
    head = answer_head(whole.lm_head.weight, (3, 17))
    with torch.no_grad():
        expected = AnswerModel(whole.base_model, head).logits(prompt_batch(prompts, 0, device=CPU))
        states = AnswerModel(lower, nn.Identity()).states(prompt_batch(prompts, 0, device=CPU)).numpy()
        entering = [states[row, : len(prompt)] for row, prompt in enumerate(prompts)]
        found = AnswerModel(upper, head).logits(prompt_batch(entering, prefix, device=CPU))
    assert len(lower.layers) == block
    assert len(whole.base_model.layers) == 3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_family_whose_blocks_are_not_known_is_not_split():
    import transformers as t

    gpt2 = t.GPT2Model(t.GPT2Config(vocab_size=10, n_embd=8, n_layer=2, n_head=2))
    with pytest.raises(ConfigurationError, match="GPT2Model"):
        split_decoder(gpt2, 1)


def test_head_is_frozen_and_in_single_precision():
    head = answer_head(torch.randn(10, 4, dtype=torch.bfloat16), (7, 2))
    assert head.weight.dtype == torch.float32
    assert not head.weight.requires_grad
