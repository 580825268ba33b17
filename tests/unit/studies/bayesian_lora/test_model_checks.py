"""What a plan refuses because of the base model, held against the models that loading makes."""

import json
import shutil
from pathlib import Path

import pytest
from torch import nn
from transformers import CONFIG_MAPPING

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.model_sources import load_model_catalog
from bayesgrid.grid.plan import make_plan
from bayesgrid.grid.precision_names import PRECISION_ALIASES
from bayesgrid.grid.prepared_models import ModelStructure, PreparedModels
from bayesgrid.models import loading
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.model_checks import ADAPTABLE_LAYERS, SUPPORTED_FAMILIES, check_context
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

CONFIG = Path(__file__).parents[4] / "config"
BASE = {"model": "smollm2_135m_instruct", "dataset": "openbookqa", "method": "mle", "seeds": [0]}
EXPERIMENT = """
study: bayesian_lora
title: test
seeds: 0-1
grid: {{method: [mle, blob]}}
set: {values}
"""


@pytest.fixture
def plan(tmp_path):
    """Return a function that plans one experiment with some values, on the catalogues of the repository."""
    folder = tmp_path / "config"
    (folder / "experiments").mkdir(parents=True)
    for name in ("datasets.yaml", "models.yaml"):
        shutil.copy(CONFIG / name, folder)

    def planned(**values):
        values = {"model": "smollm2_135m_instruct", "dataset": "openbookqa", **values}
        (folder / "experiments" / "one.yaml").write_text(EXPERIMENT.format(values=json.dumps(values)))
        return make_plan(folder, ["one"], models_root=tmp_path / "models")

    return planned


@pytest.fixture
def prepare(tmp_path):
    """Return a function that puts a configuration where a prepared model's would be."""

    def prepared(name, configuration, *, elsewhere=False):
        revision = load_model_catalog(CONFIG / "models.yaml").entry(name).revision()
        home = tmp_path / "models" / f"{name}-{revision}"
        weights = tmp_path / "weights" if elsewhere else home
        for folder in (home, weights):
            folder.mkdir(parents=True, exist_ok=True)
        (weights / "config.json").write_text(json.dumps(configuration))
        (home / "model.json").write_text(json.dumps({"folder": str(weights) if elsewhere else None}))
        return PreparedModels(tmp_path / "models").structure(name, revision)

    return prepared


def refused(plan, **values):
    with pytest.raises(ConfigurationError) as caught:
        plan(**values)
    assert "experiment 'one'" in str(caught.value)
    return str(caught.value)


def test_the_families_are_those_that_loading_takes():
    loaded = loading._TEXT_FAMILIES | loading._VISION_FAMILIES
    assert {CONFIG_MAPPING[family].__name__ for family in SUPPORTED_FAMILIES} == loaded


@pytest.mark.parametrize("family", SUPPORTED_FAMILIES)
def test_blocks_of_every_family_have_the_linear_layers_that_may_be_named(family):
    import torch
    from transformers import AutoModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CONFIG_MAPPING[family]().get_text_config()
    small = type(text)(**sizes, num_key_value_heads=1, vocab_size=8, pad_token_id=0)
    with torch.device("meta"):
        block = AutoModel.from_config(small).layers[0]
    found = {name.rpartition(".")[2] for name, module in block.named_modules() if isinstance(module, nn.Linear)}
    assert found == set(ADAPTABLE_LAYERS)


def test_what_goes_together_is_planned(plan):
    assert len(plan(lora={"targets": list(ADAPTABLE_LAYERS), "top_blocks": 30}).runs) == 4
    assert plan(dataset="slake", model="qwen3_vl_2b_instruct").runs
    assert plan(model="llama_3_1_8b", prompt={"form": "base"}).runs


@pytest.mark.parametrize(
    "values", [{"dataset": "slake"}, {"evaluation": {"dataset": "slake"}, "lora": {"head": False}}]
)
def test_images_and_a_model_that_reads_text_alone_are_refused(plan, values):
    message = refused(plan, **values)
    for word in ("'slake' have images", "'smollm2_135m_instruct' cannot see", "config/models.yaml"):
        assert word in message


def test_images_are_refused_before_labels_that_nobody_learnt(plan):
    message = refused(plan, evaluation={"dataset": "mnist"})
    assert "'mnist' have images" in message
    assert "no answer label" not in message
    message = refused(plan, evaluation={"dataset": "expression_logic"})
    assert "'evaluation.dataset': no answer label is among those trained on" in message
    assert plan(evaluation={"dataset": "expression_logic"}, lora={"head": False}).runs


def test_images_are_shown_in_a_chat_alone(plan):
    assert "'prompt.form'" in refused(plan, dataset="slake", model="gemma_3_4b_it", prompt={"form": "base"})


def test_a_model_without_chat_template_is_asked_as_plain_text(plan):
    assert "set 'prompt.form: base'" in refused(plan, model="llama_3_1_8b")


def test_layers_that_no_block_has_are_refused_with_the_nearest(plan):
    assert "did you mean 'q_proj'?" in refused(plan, lora={"targets": ["q_porj"]})


def test_the_blocks_of_a_model_that_sees_are_adapted_together(plan):
    assert "'lora.top_blocks'" in refused(plan, dataset="slake", model="qwen3_vl_2b_instruct", lora={"top_blocks": 2})


def test_more_blocks_than_a_prepared_model_has_are_refused(plan, prepare):
    assert plan(lora={"top_blocks": 31}).runs, "nobody knows before the model is there"
    prepare("smollm2_135m_instruct", {"model_type": "llama", "num_hidden_layers": 30})
    assert plan(lora={"top_blocks": 30}).runs
    assert "allowed: 1 to 30" in refused(plan, lora={"top_blocks": 31})


def test_a_prepared_model_of_another_family_is_refused(plan, prepare):
    prepare("smollm2_135m_instruct", {"model_type": "gpt_neox", "num_hidden_layers": 6}, elsewhere=True)
    assert "given: gpt_neox" in refused(plan)


@pytest.mark.parametrize(
    ("configuration", "structure"),
    [
        ({"model_type": "qwen3_vl", "text_config": {"num_hidden_layers": 28}}, ModelStructure("qwen3_vl", 28)),
        ({"model_type": "gemma3", "text_config": {}}, ModelStructure("gemma3", None)),
        ({"num_hidden_layers": 3}, None),
        ([], None),
    ],
)
def test_the_structure_is_that_of_the_part_that_reads_text(prepare, configuration, structure):
    assert prepare("qwen3_vl_2b_instruct", configuration) == structure


def test_an_unknown_model_is_looked_for_in_the_catalogue_of_models(plan):
    message = refused(plan, model="qwen3_7b")
    assert "models.yaml" in message
    assert "datasets.yaml" not in message
    assert "unknown model 'qwen3_7b' (did you mean 'qwen3_1_7b'?)" in message


@pytest.mark.parametrize("alias", [*PRECISION_ALIASES, "BF16", 4, 8, 32])
def test_another_program_s_name_of_a_precision_is_answered_with_the_one_here(alias):
    own = PRECISION_ALIASES[str(alias).lower()]
    with pytest.raises(ConfigurationError, match=rf"key 'precision'.*write '{own}'"):
        FitSpec.from_parameters({**BASE, "precision": alias}, where="test")
    assert FitSpec.from_parameters({**BASE, "precision": own}, where="test").precision == own


@pytest.mark.parametrize("alias", ["fp16", "float16", "half", 16])
def test_half_precision_is_answered_with_what_there_is(alias):
    with pytest.raises(ConfigurationError, match=r"key 'precision'.*write 'bfloat16'"):
        BayesianLoraSpec.from_parameters({**BASE, "precision": alias}, where="test")


def test_a_precision_that_nobody_knows_is_compared_with_those_there_are():
    with pytest.raises(ConfigurationError, match=r"'precision'.*did you mean 'bfloat16'"):
        FitSpec.from_parameters({**BASE, "precision": "bfloat61"}, where="test")


def test_a_prompt_as_long_as_the_model_reads_is_the_longest_that_passes():
    check_context(256, 256, "d", "m")
    check_context(257, None, "d", "m")
    with pytest.raises(ConfigurationError, match=r"'d' is longer than 'm' reads.*257 tokens.*at most 256"):
        check_context(257, 256, "d", "m")
