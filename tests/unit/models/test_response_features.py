import numpy as np
import pytest
import torch

from bayesgrid.data.preference_pairs import Message
from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.models.feature_model import load_feature_model
from bayesgrid.models.preference_tokens import PreferenceForm, tokenise_preferences
from bayesgrid.models.response_features import pooled_features

WORDS = ["the", "sky", "is", "blue", "a", "stone", "or", "apple", "does", "not", "fit", "into", "suitcase", "cloud"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|model|>' if message.role == 'assistant' else '<|user|>' }}\n"
    "{{ message.content }}<eos>\n{% endfor %}{% if add_generation_prompt %}<|model|>\n{% endif %}"
)


def texts(count, most):
    drawn = np.random.default_rng(0)
    return [" ".join(drawn.choice(WORDS, size=drawn.integers(1, most))) for _ in range(count)]


PROMPTS = [(Message("user", text),) for text in texts(12, 8)] * 2
RESPONSES = texts(24, 9)


def load(folder, precision="float32"):
    return load_feature_model(folder, name="tiny", revision="r", precision=precision, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def encoder(tiny_encoder_folder):
    return load(tiny_encoder_folder)


@pytest.fixture(scope="module", params=["llama", "qwen3", "gemma2"])
def causal(request, tiny_model_folder):
    model = load(tiny_model_folder(request.param))
    model.tokenizer.chat_template = TEMPLATE
    return model


def tokens_of(model, layout, prompts=PROMPTS, responses=RESPONSES):
    return tokenise_preferences(model.tokenizer, prompts, responses, PreferenceForm(model.architecture, layout))


@pytest.mark.parametrize("layout", ["separate", "joint"])
def test_encoder_equals_a_plain_loop_over_single_texts(encoder, tiny_encoder_folder, layout):
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_encoder_folder))
    plain = AutoModel.from_pretrained(str(tiny_encoder_folder), attn_implementation="eager").eval()
    found = pooled_features(encoder, tokens_of(encoder, layout), "mean")
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        pair = (prompt[0].content, response) if layout == "joint" else (response,)
        encoding = tokenizer(*pair, return_tensors="pt")
        with torch.no_grad():
            states = plain(**encoding).last_hidden_state[0]
        of_response = encoding["token_type_ids"][0] == (1 if layout == "joint" else 0)
        np.testing.assert_allclose(found[row], states[of_response].mean(dim=0), atol=1e-5)


@pytest.mark.parametrize("family", ["DistilBert", "ModernBert"])
def test_other_families_of_encoders_equal_a_plain_loop_too(tiny_encoder_folder, tmp_path, family):
    import transformers

    sizes = {"vocab_size": 120, "max_position_embeddings": 64, "pad_token_id": 0}
    if family == "DistilBert":
        sizes |= {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}
    else:
        sizes |= {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    torch.manual_seed(1)
    whole = getattr(transformers, f"{family}ForMaskedLM")(
        getattr(transformers, f"{family}Config")(**sizes, initializer_range=0.3)
    )
    whole.save_pretrained(str(tmp_path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tiny_encoder_folder))
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(str(tmp_path))
    model = load(tmp_path)
    found = pooled_features(model, tokens_of(model, "separate"), "mean")
    whole.eval()
    for row, response in enumerate(RESPONSES):
        with torch.no_grad():
            states = whole.base_model(**tokenizer(response, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(found[row], states.mean(dim=0), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_causal_model_equals_a_plain_loop_over_single_conversations(causal, tiny_model_folder, pooling):
    from transformers import AutoModelForCausalLM

    folder = causal.tokenizer.name_or_path
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    found = pooled_features(causal, tokens_of(causal, "joint"), pooling)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        text = f"<bos><|user|>\n{prompt[0].content}<eos>\n<|model|>\n"
        start = len(causal.tokenizer(text, add_special_tokens=False)["input_ids"])
        ids = causal.tokenizer(f"{text}{response}<eos>\n", add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            states = plain(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        wanted = states[start:].mean(dim=0) if pooling == "mean" else states[-1]
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)


def company_makes_no_difference(model, layout, pooling):
    tokens = tokens_of(model, layout)
    assert len(set(tokens.lengths.tolist())) > 3
    together = pooled_features(model, tokens, pooling, batch_tokens=10_000)
    for budget in (1, 50, 300):
        np.testing.assert_allclose(pooled_features(model, tokens, pooling, batch_tokens=budget), together, atol=1e-5)
    order = np.random.default_rng(1).permutation(len(RESPONSES))[:9]
    np.testing.assert_allclose(pooled_features(model, tokens.take(order), pooling), together[order], atol=1e-5)


@pytest.mark.parametrize("layout", ["separate", "joint"])
def test_company_in_a_batch_makes_no_difference_to_an_encoder(encoder, layout):
    company_makes_no_difference(encoder, layout, "mean")


@pytest.mark.parametrize(("layout", "pooling"), [("separate", "mean"), ("joint", "mean"), ("joint", "last")])
def test_company_in_a_batch_makes_no_difference_to_a_causal_model(causal, layout, pooling):
    company_makes_no_difference(causal, layout, pooling)


def test_prompt_by_itself_has_the_state_it_has_before_every_response(causal):
    prompts = pooled_features(causal, tokens_of(causal, "joint", responses=None), "last")
    tokens = tokens_of(causal, "joint")
    for row in range(len(RESPONSES)):
        ids = torch.from_numpy(tokens.ids[row])[None]
        with torch.no_grad():
            states = causal.network(input_ids=ids).last_hidden_state[0]
        np.testing.assert_allclose(prompts[row], states[tokens.prompt_lengths[row] - 1], atol=1e-5)


def test_response_after_another_prompt_has_another_feature_in_the_joint_layout_alone(encoder):
    moved = PROMPTS[1:] + PROMPTS[:1]
    for layout, differs in (("joint", True), ("separate", False)):
        before = pooled_features(encoder, tokens_of(encoder, layout), "mean")
        after = pooled_features(encoder, tokens_of(encoder, layout, prompts=moved), "mean")
        assert (np.abs(before - after).max() > 1e-3) == differs


def test_every_input_is_reported_once(encoder):
    reported = []
    pooled_features(encoder, tokens_of(encoder, "separate"), "mean", batch_tokens=40, report=reported.append)
    assert sum(reported) == len(RESPONSES)
    assert len(reported) > 3


def test_bfloat16_rounds_the_model_and_pools_in_single_precision(tiny_encoder_folder, encoder):
    rough = load(tiny_encoder_folder, "bfloat16")
    tokens = tokens_of(encoder, "separate")
    exact, found = (pooled_features(model, tokens, "mean") for model in (encoder, rough))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()
    # A mean of numbers in bfloat16 that is rounded to bfloat16 again would have 8 significant bits.
    assert (found != torch.from_numpy(found).bfloat16().float().numpy()).any()


def test_last_state_of_an_encoder_is_refused(encoder):
    with pytest.raises(ConfigurationError, match=r"'pooling'.*allowed: mean"):
        pooled_features(encoder, tokens_of(encoder, "separate"), "last")


def test_input_beyond_the_positions_of_an_encoder_is_refused(encoder):
    tokens = tokens_of(encoder, "separate", PROMPTS[:1], ["apple " * 100])
    with pytest.raises(ConfigurationError, match=r"max_length.*at most 64"):
        pooled_features(encoder, tokens, "mean")


def test_kinds_of_models_are_told_apart(encoder, causal):
    assert (encoder.architecture, encoder.hidden_size, encoder.longest) == ("encoder", 32, 64)
    assert (causal.architecture, causal.hidden_size, causal.longest) == ("causal", 64, None)
    assert not any(weight.requires_grad for weight in encoder.network.parameters())


def test_family_that_is_not_supported_is_refused_with_both_lists(tiny_model_folder):
    with pytest.raises(ConfigurationError, match=r"GPT2Config.*LlamaConfig.*encoders: BertConfig"):
        load(tiny_model_folder("gpt2"))


@pytest.mark.parametrize(("weight", "refused"), [("pooler.dense.weight", False), ("embeddings.LayerNorm.weight", True)])
def test_weight_that_states_depend_on_must_be_in_the_file(tiny_encoder_folder, tmp_path, weight, refused):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_encoder_folder, tmp_path / "copy")
    tensors = load_file(folder / "model.safetensors")
    del tensors[weight]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if refused:
        with pytest.raises(StateError, match=f"missing keys.*{weight}"):
            load(folder)
    else:
        load(folder)
