"""Exported adapters: stock PEFT finds the base by itself and answers with the draw; no folder mixes two exports."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.adapters.draws import draw_adapter
from bayesgrid.adapters.exported_adapter import write_exported_adapter
from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights
from bayesgrid.adapters.peft_configuration import BaseReference
from bayesgrid.adapters.posterior_files import PosteriorProvenance
from bayesgrid.errors import NumericalError, StateError

TOKENS = torch.arange(12).reshape(2, 6) * 5 % 61
FILES = {"adapter_config.json", "adapter_model.safetensors", "head.safetensors", "draw.json"}


@pytest.fixture
def provenance():
    return PosteriorProvenance(
        mode="correct",
        parametrisation="softplus",
        prior={},
        training_examples=10,
        seeds=(0,),
        parent_run=None,
        base_model="tiny",
        base_revision="r1",
        module_prefix="model",
        labels=("A", "B", "C"),
        label_token_ids=(7, 11, 13),
        head_rows=torch.randn(3, 32, generator=torch.Generator().manual_seed(9)),
    )


@pytest.fixture
def export(tmp_path, provenance):
    def write(weights: AdapterWeights, name: str = "export", base: str = "tiny", **arguments):
        origin = {"draw": arguments.pop("draw", None)}
        write_exported_adapter(
            tmp_path / name, weights, provenance, base=BaseReference(base, None), origin=origin, **arguments
        )
        return tmp_path / name

    return write


@pytest.fixture
def drawn(random_adapter):
    """Return a draw of an IVON posterior about the random adapter, which changes both factors of every layer."""
    mean = random_adapter(labels=3, layers=[0, 2])
    tensors = {}
    for name, pair in mean.pairs.items():
        tensors[f"{name}.a_standard_deviation"] = torch.full_like(pair.a, 0.2)
        tensors[f"{name}.b_standard_deviation"] = torch.full_like(pair.b, 0.2)
    return draw_adapter(AdapterPosterior("ivon", mean, tensors), 3, seed=4)


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
def test_auto_peft_loads_base_and_adapter_and_answers_with_the_draw(
    family, tmp_path, export, drawn, causal_model, adapted_logits
):
    from peft import AutoPeftModelForCausalLM, PeftModel

    model = causal_model(family)
    model.save_pretrained(tmp_path / "base")
    folder = export(drawn, base=str(tmp_path / "base"))
    expected = adapted_logits(model, drawn, TOKENS)
    assert (expected - model(input_ids=TOKENS).logits).abs().max() > 1e-2
    whole = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    stock = PeftModel.from_pretrained(copy.deepcopy(model), folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(whole(input_ids=TOKENS).logits, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(stock(input_ids=TOKENS).logits, expected, atol=1e-5, rtol=0)
        merged = stock.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=TOKENS).logits, expected, atol=1e-5, rtol=0)


def test_the_head_and_the_origin_stand_beside_the_adapter(export, drawn):
    folder = export(drawn, draw=3)
    head = load_file(folder / "head.safetensors")
    assert torch.equal(head["lora_A"], drawn.pairs[ANSWER_HEAD].a)
    assert torch.equal(head["lora_B"], drawn.pairs[ANSWER_HEAD].b)
    assert json.loads((folder / "draw.json").read_text()) == {"draw": 3}
    assert {path.name for path in folder.iterdir()} == FILES


def _state(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_earlier_export_is_replaced_as_a_whole_or_not_at_all(export, drawn, random_adapter):
    folder = export(drawn, draw=3)
    before = _state(folder)
    with pytest.raises(StateError, match="--overwrite"):
        export(random_adapter(labels=3))
    assert _state(folder) == before
    export(random_adapter(), overwrite=True, draw=5)
    assert "lora_A" not in load_file(folder / "head.safetensors"), "the head of the earlier export is gone"
    assert json.loads((folder / "draw.json").read_text()) == {"draw": 5}
    assert {path.name for path in folder.iterdir()} == FILES


def test_a_write_that_fails_leaves_the_earlier_export(export, drawn, random_adapter):
    folder = export(drawn)
    before = _state(folder)
    damaged = random_adapter(labels=3)
    damaged.pairs["layers.0.self_attn.q_proj"].a[0, 0] = float("nan")
    with pytest.raises(NumericalError, match="NaN"):
        export(damaged, overwrite=True)
    with pytest.raises(StateError, match="no layer of the decoder"):
        export(random_adapter(layers=[], labels=3), overwrite=True)
    assert _state(folder) == before


def test_a_write_that_breaks_off_while_moving_leaves_nothing_that_loads(export, drawn, random_adapter):
    folder = export(drawn)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.safetensors").mkdir()
    with pytest.raises(OSError, match="adapter_model"):
        export(random_adapter(labels=3), overwrite=True)
    assert {path.name for path in folder.iterdir()} == FILES - {"adapter_config.json"}
    (folder / "adapter_model.safetensors").rmdir()
    other = random_adapter(labels=3)
    export(other, overwrite=True)
    assert torch.equal(load_file(folder / "head.safetensors")["lora_A"], other.pairs[ANSWER_HEAD].a)
    assert {path.name for path in folder.iterdir()} == FILES


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_no_export_wrote_are_never_touched(overwrite, tmp_path, export, drawn):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "thesis.tex").write_text("years")
    with pytest.raises(StateError, match=r"thesis\.tex"):
        export(drawn, overwrite=overwrite)
    assert _state(tmp_path / "export") == {"thesis.tex": b"years"}
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="not a folder"):
        export(drawn, name="file", overwrite=overwrite)


def test_an_empty_folder_is_free(tmp_path, export, drawn):
    (tmp_path / "export").mkdir()
    export(drawn)
