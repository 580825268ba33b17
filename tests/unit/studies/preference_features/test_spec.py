from pathlib import Path

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.model_sources import load_model_catalog
from bayesgrid.grid.plan import plan_run
from bayesgrid.grid.sources import load_dataset_catalog
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.preference_features.spec import PreferenceFeaturesSpec

CONFIG = Path(__file__).parents[4] / "config"
TALK = """
talk:
  kind: preference_pairs
  label: talk
  version: 1
  licence: MIT
  citation: nobody
  prompts: 9
  responses: 27
  pairs: 18
  sources:
    - kind: file
      loader: message_pairs
      files: {pairs: {name: talk.jsonl}}
waves:
  kind: regression_table
  label: waves
  version: 1
  licence: MIT
  citation: nobody
  rows: 1000
  features: 1
  sources:
    - kind: generator
      name: bimodal_sine
"""


@pytest.fixture
def catalogs(tmp_path):
    (tmp_path / "datasets.yaml").write_text(TALK)
    return load_dataset_catalog(tmp_path / "datasets.yaml"), load_model_catalog(CONFIG / "models.yaml")


def spec(**changes):
    values = {"model": "minilm_l6", "dataset": "talk", **changes}
    return PreferenceFeaturesSpec.from_parameters(values, where="test")


def identity(catalogs, **changes):
    (planned,) = plan_run(spec(**changes), *catalogs).values()
    return planned.run_id


def test_every_key_that_changes_features_changes_the_identity(catalogs):
    changes = [
        {},
        {"layout": "joint"},
        {"max_length": 128},
        {"precision": "bfloat16"},
        {"systems": ["a"]},
        {"systems": ["a", "b"]},
        {"model": "qwen3_0_6b"},
        {"model": "qwen3_0_6b", "pooling": "last"},
        {"model": "qwen3_0_6b", "layout": "joint"},
        {"model": "qwen3_0_6b", "layout": "joint", "template": "plain"},
    ]
    ids = [identity(catalogs, **change) for change in changes]
    assert len(set(ids)) == len(ids)
    assert ids[0].startswith("minilm_l6-talk-separate-mean-256-")


def test_order_of_the_systems_and_a_written_seed_make_no_difference(catalogs):
    assert identity(catalogs, systems=["b", "a", "b"]) == identity(catalogs, systems=["a", "b"], seeds=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": "0-3"}, "depend on no seed"),
        ({"template": "plain"}, "into no template"),
        ({"systems": []}, "systems"),
        ({"layout": "apart"}, "'layout'.*did you mean 'separate'"),
        ({"max_length": 4}, "max_length"),
    ],
)
def test_values_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ConfigurationError, match=words):
        spec(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pooling": "last"}, "'pooling'.*last token of an encoder.*allowed: mean"),
        ({"max_length": 513}, "'max_length'.*at most 512"),
        ({"layout": "joint", "template": "plain"}, "'template': an encoder"),
        ({"model": "llama_3_1_8b", "layout": "joint"}, "no chat template.*set 'template: plain'"),
    ],
)
def test_form_that_the_model_cannot_read_is_refused_when_it_is_planned(catalogs, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        identity(catalogs, **changes)


def test_model_without_a_chat_template_is_read_as_plain_text(catalogs):
    assert identity(catalogs, model="llama_3_1_8b", layout="joint", template="plain", pooling="last")


def test_data_set_of_another_kind_is_refused(catalogs):
    with pytest.raises(ConfigurationError, match=r"'waves' is not a set of preference pairs.*talk"):
        spec(dataset="waves").check(catalogs[0])


def test_study_that_needs_a_model_that_writes_refuses_an_encoder_when_it_is_planned(catalogs):
    fit = FitSpec.from_parameters(
        {"model": "minilm_l6", "dataset": "openbookqa", "method": "mle", "seeds": 0}, where="test"
    )
    with pytest.raises(ConfigurationError, match=r"encoder.*'bayesian_lora_fit'.*given: minilm_l6"):
        plan_run(fit, load_dataset_catalog(CONFIG / "datasets.yaml"), catalogs[1])


def test_small_models_are_read_on_a_cpu_and_large_ones_on_a_gpu(catalogs):
    small, large = (spec(model=model).resources(*catalogs) for model in ("minilm_l6", "qwen3_8b"))
    assert (small.gpu, large.gpu) == (0, 1)
    assert spec(max_length=512).resources(*catalogs).runtime >= small.runtime
