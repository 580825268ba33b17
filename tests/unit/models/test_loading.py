import pytest
import torch
from safetensors.torch import load_file, save_file

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.models.loading import load_language_model

CPU = torch.device("cpu")
TEXT_FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text")
IDS = torch.tensor([[2, 30, 50, 70, 90, 110, 130]])


def load(folder, precision="float32"):
    return load_language_model(folder, name="tiny", revision="v1-0", precision=precision, device=CPU)


def whole_model_logits(folder, **inputs):
    """What transformers' own model with its head gives."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    with torch.no_grad():
        return model(**inputs).logits


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_decoder_and_head_together_give_the_logits_of_the_whole_model(tiny_model_folder, family, tie):
    folder = tiny_model_folder(family, tie)
    loaded = load(folder)
    with torch.no_grad():
        logits = loaded.decoder(input_ids=IDS).last_hidden_state @ loaded.head_weight.T
        if loaded.logit_cap is not None:
            logits = loaded.logit_cap * torch.tanh(logits / loaded.logit_cap)
    torch.testing.assert_close(logits, whole_model_logits(folder, input_ids=IDS), rtol=1e-5, atol=1e-5)
    assert loaded.hidden_size == 64
    assert loaded.processor is None


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_loaded_model_is_frozen_and_in_evaluation_mode(tiny_model_folder, family):
    loaded = load(tiny_model_folder(family))
    assert not any(parameter.requires_grad for parameter in loaded.decoder.parameters())
    assert not any(module.training for module in loaded.decoder.modules())
    assert not loaded.head_weight.requires_grad


def test_adapted_layers_have_the_paths_that_the_contract_names(tiny_model_folder):
    names = dict(load(tiny_model_folder("llama")).decoder.named_modules())
    assert "layers.0.self_attn.q_proj" in names


@pytest.mark.parametrize("family", ["qwen3_vl", "gemma3"])
def test_model_that_sees_brings_an_image_processor(tiny_model_folder, family):
    loaded = load(tiny_model_folder(family))
    assert loaded.processor is not None
    with torch.no_grad():
        states = loaded.decoder(input_ids=IDS).last_hidden_state
    assert states.shape == (1, IDS.shape[1], 64)
    assert loaded.head_weight.shape == (400, 64)


@pytest.mark.parametrize(("precision", "kind"), [("int8", "Linear8bitLt"), ("nf4", "Linear4bit")])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text", "qwen3_vl"])
def test_quantised_decoder_stays_close_to_float32(tiny_model_folder, family, precision, kind):
    folder = tiny_model_folder(family)
    exact, rough = load(folder), load(folder, precision)
    with torch.no_grad():
        wanted = exact.decoder(input_ids=IDS).last_hidden_state
        found = rough.decoder(input_ids=IDS).last_hidden_state.float()
    assert (found - wanted).norm() < 0.5 * wanted.norm()
    inputs = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    layers = dict(rough.decoder.named_modules())
    for path, layer in exact.decoder.named_modules():
        if path.endswith("self_attn.q_proj"):
            assert type(layers[path]).__name__ == kind
            with torch.no_grad():
                wanted, found = layer(inputs), layers[path](inputs)
            # Known relative errors of one layer: 9 % for NF4, 0.4 % for 8 bits.
            assert 0 < (found - wanted).norm() / wanted.norm() < (0.02 if precision == "int8" else 0.12)
    # Answers need whole rows of the head, so quantisation must not touch it.
    torch.testing.assert_close(rough.head_weight.float(), exact.head_weight)


def test_nf4_on_a_cpu_refuses_layers_that_do_not_fill_whole_blocks(tiny_model_folder):
    with pytest.raises(ConfigurationError, match=r"multiple of 64.*q_proj"):
        load(tiny_model_folder("narrow_llama"), "nf4")


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_gradient_through_a_quantised_decoder_survives_an_evaluation(tiny_model_folder, precision):
    loaded = load(tiny_model_folder("qwen3"), precision)
    states = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def gradient():
        (found,) = torch.autograd.grad(loaded.decoder(inputs_embeds=states).last_hidden_state[0, -1, 0], states)
        return found

    before = gradient()
    with torch.no_grad():
        loaded.decoder(input_ids=IDS)
    torch.testing.assert_close(gradient(), before)
    assert before.abs().sum() > 0


def test_quantisation_leaves_the_vision_tower_alone(tiny_model_folder):
    exact, rough = load(tiny_model_folder("qwen3_vl")), load(tiny_model_folder("qwen3_vl"), "nf4")
    for (name, wanted), (_, found) in zip(
        exact.decoder.visual.named_parameters(), rough.decoder.visual.named_parameters(), strict=True
    ):
        torch.testing.assert_close(found, wanted, msg=name)


def test_bfloat16_rounds_the_weights(tiny_model_folder):
    exact, rough = load(tiny_model_folder("qwen3")), load(tiny_model_folder("qwen3"), "bfloat16")
    assert rough.head_weight.dtype == torch.bfloat16
    torch.testing.assert_close(rough.head_weight, exact.head_weight.bfloat16())


def test_unknown_precision_names_the_nearest(tiny_model_folder):
    with pytest.raises(ConfigurationError, match="did you mean 'nf4'"):
        load(tiny_model_folder("llama"), "nf5")


def test_family_that_is_not_supported_is_refused_by_its_class(tiny_model_folder):
    with pytest.raises(ConfigurationError, match=r"not supported.*GPT2Config.*LlamaConfig"):
        load(tiny_model_folder("gpt2"))


def test_kind_of_model_that_transformers_does_not_know_is_refused(own_copy, edit_json):
    folder = own_copy("llama")
    edit_json(folder / "config.json", model_type="lama")
    with pytest.raises(ConfigurationError, match="does not know this kind of model"):
        load(folder)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_truncated_weights_are_a_state_error(own_copy, kept):
    file = own_copy("llama") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(StateError, match=r"model\.safetensors"):
        load(file.parent)


@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched"])
def test_weights_that_do_not_fit_the_configuration_are_a_state_error(own_copy, change):
    file = own_copy("llama") / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.self_attn.q_proj.weight"
    if change == "missing":
        del tensors[name]
    elif change == "unexpected":
        tensors["model.layers.0.self_attn.extra.weight"] = torch.zeros(2)
    else:
        tensors[name] = torch.zeros(3, 3)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(StateError, match="do not fit the configuration"):
        load(file.parent)


def test_tied_head_that_is_stored_a_second_time_is_accepted(own_copy):
    file = own_copy("qwen3") / "model.safetensors"
    tensors = load_file(file)
    assert "lm_head.weight" not in tensors
    save_file(
        {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, file, metadata={"format": "pt"}
    )
    torch.testing.assert_close(load(file.parent).head_weight, tensors["model.embed_tokens.weight"])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file_is_a_state_error(own_copy, name):
    folder = own_copy("llama")
    (folder / name).unlink()
    with pytest.raises(StateError, match=r"config\.json|no weights|no tokenizer"):
        load(folder)
