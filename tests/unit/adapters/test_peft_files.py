"""Adapters written as PEFT folders: stock PEFT computes what the factors say, and a bad folder is refused."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.adapters.peft_files import assert_live, read_peft_adapter, write_peft_adapter
from bayesgrid.errors import NumericalError, StateError

TOKENS = torch.arange(12).reshape(2, 6) * 5 % 61
FAMILIES = ["Llama", "Qwen2", "Qwen3"]


def write(folder, weights, module_prefix="model"):
    write_peft_adapter(folder, weights, base_model="tiny", base_revision="r1", module_prefix=module_prefix)


def stock_model(model, folder):
    from peft import PeftModel

    return PeftModel.from_pretrained(copy.deepcopy(model), folder).eval()


def same(left: AdapterWeights, right: AdapterWeights) -> bool:
    return left.pairs.keys() == right.pairs.keys() and all(
        torch.equal(pair.a, right.pairs[name].a) and torch.equal(pair.b, right.pairs[name].b)
        for name, pair in left.pairs.items()
    )


@pytest.fixture
def folder(tmp_path, random_adapter):
    write(tmp_path / "adapter", random_adapter())
    return tmp_path / "adapter"


def change_configuration(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("layers", [range(3), [1]], ids=["all layers", "one layer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_stock_peft_adds_scaling_times_b_a(family, layers, tmp_path, causal_model, random_adapter, adapted_logits):
    model = causal_model(family)
    weights = random_adapter(layers=layers, scaling=1.5)
    write(tmp_path, weights)
    expected = adapted_logits(model, weights, TOKENS)
    stock = stock_model(model, tmp_path)
    with torch.no_grad():
        assert (expected - model(input_ids=TOKENS).logits).abs().max() > 1e-2
        torch.testing.assert_close(stock(input_ids=TOKENS).logits, expected, atol=1e-5, rtol=0)
        merged = stock.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=TOKENS).logits, expected, atol=1e-5, rtol=0)
    adapted = {name for name, _ in stock.named_modules() if name.endswith("lora_A")}
    assert adapted == set(), "merge_and_unload leaves no adapter behind"


def test_only_the_named_layers_are_adapted_by_stock_peft(tmp_path, causal_model, random_adapter):
    write(tmp_path, random_adapter(layers=[1]))
    stock = stock_model(causal_model("Llama"), tmp_path)
    adapted = {name.rpartition(".lora_A")[0] for name, _ in stock.named_modules() if name.endswith("lora_A")}
    assert adapted == {f"base_model.model.model.layers.1.self_attn.{part}_proj" for part in "qv"}


def test_layers_of_different_rank_keep_one_scaling(tmp_path, causal_model, random_adapter, adapted_logits):
    model = causal_model("Qwen3")
    weights = random_adapter()
    narrow = random_adapter(rank=2, seed=1).pairs["layers.1.self_attn.v_proj"]
    weights = AdapterWeights({**weights.pairs, "layers.1.self_attn.v_proj": narrow}, weights.scaling)
    write(tmp_path, weights)
    with torch.no_grad():
        found = stock_model(model, tmp_path)(input_ids=TOKENS).logits
    torch.testing.assert_close(found, adapted_logits(model, weights, TOKENS), atol=1e-5, rtol=0)
    read = read_peft_adapter(tmp_path)
    assert same(read, weights)
    assert read.scaling == weights.scaling


def test_the_decoder_alone_can_be_wrapped(tmp_path, causal_model, random_adapter):
    model = causal_model("Llama")
    weights = random_adapter()
    write(tmp_path, weights, module_prefix="")
    stock = stock_model(model.model, tmp_path)
    with torch.no_grad():
        found = stock(input_ids=TOKENS).last_hidden_state
        for name, pair in weights.pairs.items():
            model.model.get_submodule(name).weight += weights.scaling * pair.b @ pair.a
        torch.testing.assert_close(found, model.model(input_ids=TOKENS).last_hidden_state, atol=1e-5, rtol=0)
    assert same(read_peft_adapter(tmp_path, module_prefix=""), weights)


def test_a_round_trip_is_exact_and_leaves_the_answer_head_out(tmp_path, random_adapter):
    weights = random_adapter(labels=4, scaling=0.3)
    write(tmp_path, weights)
    read = read_peft_adapter(tmp_path, base_model="tiny", base_revision="r1", rank=4)
    backbone = {name: pair for name, pair in weights.pairs.items() if name != ANSWER_HEAD}
    assert same(read, AdapterWeights(backbone, 0.3))
    assert read.scaling == pytest.approx(0.3, rel=1e-12)


def test_an_adapter_that_stock_peft_wrote_can_be_read(tmp_path, causal_model, adapted_logits):
    from peft import LoraConfig, get_peft_model

    model = causal_model("Qwen2")
    torch.manual_seed(0)
    settings = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    stock = get_peft_model(copy.deepcopy(model), settings).eval()
    stock.save_pretrained(tmp_path)
    weights = read_peft_adapter(tmp_path)
    assert len(weights.pairs) == 6
    with torch.no_grad():
        expected = stock(input_ids=TOKENS).logits
    torch.testing.assert_close(adapted_logits(model, weights, TOKENS), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"use_rslora": True},
        {"bias": "all"},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"trainable_token_indices": [3]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_options_of_peft_that_are_not_plain_lora_are_refused_by_name(settings, tmp_path, causal_model):
    from peft import LoraConfig, get_peft_model

    configuration = LoraConfig(r=2, target_modules=["q_proj"], **settings)
    get_peft_model(causal_model("Llama"), configuration).save_pretrained(tmp_path)
    with pytest.raises(StateError, match=next(iter(settings))):
        read_peft_adapter(tmp_path, allow_inert=True)


def test_an_option_of_a_later_peft_is_refused_unless_it_is_off(folder):
    change_configuration(folder, use_something_new=False)
    read_peft_adapter(folder)
    change_configuration(folder, use_something_new=True)
    with pytest.raises(StateError, match="use_something_new"):
        read_peft_adapter(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_model": "other"}, "base_model_name_or_path"),
        ({"base_revision": "r2"}, "revision"),
        ({"rank": 8}, "another rank"),
        ({"modules": ["layers.0.self_attn.q_proj"]}, "other layers"),
        ({"module_prefix": "model.language_model"}, "no factor of a decoder layer"),
    ],
)
def test_an_adapter_for_something_else_is_refused(arguments, message, folder):
    with pytest.raises(StateError, match=message):
        read_peft_adapter(folder, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 8}, "another rank than configured"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"lora_alpha": "16"}, "lora_alpha"),
        ({"alpha_pattern": {"q_proj": 2}}, "different scaling"),
        ({"target_modules": ["k_proj"]}, "target_modules"),
        ({"target_modules": ["q_proj"]}, "target_modules"),
        ({"target_modules": None}, "target_modules"),
        ({"peft_type": "IA3"}, "not a LoRA adapter"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_configuration_at_odds_with_the_tensors_is_refused(changes, message, folder):
    change_configuration(folder, **changes)
    with pytest.raises(StateError, match=message):
        read_peft_adapter(folder)


def test_a_regular_expression_as_target_is_understood(folder):
    change_configuration(folder, target_modules=r".*\.(q|v)_proj")
    assert len(read_peft_adapter(folder).pairs) == 6
    change_configuration(folder, target_modules=r".*\.q_proj")
    with pytest.raises(StateError, match="v_proj"):
        read_peft_adapter(folder)


KEY = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors[KEY.format("A")].__setitem__((0, 0), float("nan")), "NaN"),
        (lambda tensors: tensors[KEY.format("B")].__setitem__((1, 1), float("inf")), "infinity"),
        (lambda tensors: tensors.pop(KEY.format("A")), "one factor of a layer is missing"),
        (lambda tensors: tensors.update({"base_model.model.lm_head.lora_A.weight": torch.ones(4, 2)}), "no factor"),
        (lambda tensors: tensors.update({KEY.format("A"): torch.ones(3, 32)}), "do not fit"),
        (lambda tensors: [tensor.zero_() for name, tensor in tensors.items() if "lora_B" in name], "changes nothing"),
        (lambda tensors: tensors.clear(), "target_modules"),
    ],
)
def test_bad_tensors_are_refused(change, message, folder):
    change_tensors(folder, change)
    with pytest.raises(StateError, match=message):
        read_peft_adapter(folder)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_truncated_file_of_tensors_is_refused(kept, folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StateError, match="damaged"):
        read_peft_adapter(folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_refused(name, folder):
    (folder / name).unlink()
    with pytest.raises(StateError, match="missing"):
        read_peft_adapter(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"peft_type": "LORA"'])
def test_a_damaged_configuration_is_refused(text, folder):
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(StateError, match="configuration"):
        read_peft_adapter(folder)


def test_a_write_of_nan_keeps_the_adapter_that_was_there(folder, random_adapter):
    weights = random_adapter(seed=1)
    weights.pairs["layers.2.self_attn.q_proj"].a[0, 0] = float("nan")
    with pytest.raises(NumericalError, match=r"layers\.2"):
        write(folder, weights)
    assert same(read_peft_adapter(folder), random_adapter())


def test_a_write_that_breaks_off_leaves_no_readable_mixture(folder, random_adapter):
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.safetensors").mkdir()
    with pytest.raises(OSError, match="adapter_model"):
        write(folder, random_adapter(seed=1))
    with pytest.raises(StateError, match="missing"):
        read_peft_adapter(folder)


def test_an_adapter_of_the_head_alone_has_no_peft_folder(tmp_path, random_adapter):
    with pytest.raises(StateError, match="no layer of the decoder"):
        write(tmp_path, random_adapter(layers=[], labels=4))


def test_views_and_other_precisions_are_stored_as_float32(tmp_path, random_adapter):
    shared = torch.randn(4, 64).to(torch.bfloat16)
    pair = random_adapter().pairs["layers.0.self_attn.q_proj"]
    layers = ("layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj")
    write(
        tmp_path, AdapterWeights({name: LowRankPair(shared[:, ::2], pair.b.T.contiguous().T) for name in layers}, 2.0)
    )
    read = read_peft_adapter(tmp_path)
    for name in layers:
        assert read.pairs[name].a.dtype == torch.float32
        assert torch.equal(read.pairs[name].a, shared[:, ::2].float())
        assert torch.equal(read.pairs[name].b, pair.b)


@pytest.mark.parametrize("zero", ["a", "b"])
def test_an_inert_adapter_is_refused_unless_allowed(zero, tmp_path, random_adapter):
    weights = random_adapter()
    for pair in weights.pairs.values():
        getattr(pair, zero).zero_()
    with pytest.raises(StateError, match="changes nothing"):
        assert_live(weights)
    write(tmp_path, weights)
    with pytest.raises(StateError, match="changes nothing"):
        read_peft_adapter(tmp_path)
    assert same(read_peft_adapter(tmp_path, allow_inert=True), weights)


def test_one_live_layer_is_enough(random_adapter):
    weights = random_adapter()
    for pair in list(weights.pairs.values())[1:]:
        pair.b.zero_()
    assert_live(weights)
