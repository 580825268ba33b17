"""Experiment files: expansion, precedence, and errors that name what to mend."""

import shutil
from pathlib import Path

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.experiments import expand, experiment_paths, experiments_naming, load_experiment
from bayesgrid.grid.plan import make_plan
from bayesgrid.grid.sources import load_dataset_catalog
from bayesgrid.grid.yaml_files import read_yaml

REPOSITORY = Path(__file__).parents[3]

BASE = """
study: regression
title: test
seeds: 0-3
seed_block: 2
grid:
  dataset: [diamonds, bimodal_sine]
  agent: [random, coreset]
set: {labels.initial: 50, labels.budget: 100}
"""


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "config"
    (folder / "experiments").mkdir(parents=True)
    (folder / "presets").mkdir()
    shutil.copy(REPOSITORY / "config" / "datasets.yaml", folder)
    return folder


def specs(config, text, name="test"):
    path = config / "experiments" / f"{name}.yaml"
    path.write_text(text)
    experiment, path = load_experiment(config, name)
    return expand(experiment, path=path, config=config, catalog=load_dataset_catalog(config / "datasets.yaml"))


def test_the_grid_is_the_product_of_its_axes_and_seed_blocks(config):
    runs = specs(config, BASE)
    cells = {(run.dataset, run.agent, run.seeds) for run in runs}
    expected = {
        (d, a, s) for d in ("diamonds", "bimodal_sine") for a in ("random", "coreset") for s in ((0, 1), (2, 3))
    }
    assert cells == expected
    assert len(runs) == 8
    assert {run.labels.budget for run in runs} == {100}


def test_yaml_numbers_with_exponent_are_numbers(config):
    for text in ("1e-4", "0.0001", "1.0e-4", "1E-4"):
        runs = specs(config, BASE.replace("labels.budget: 100", f"labels.budget: 100, training.learning_rate: {text}"))
        assert {run.training.learning_rate for run in runs} == {1e-4}


def test_words_that_yaml_1_1_made_booleans_stay_words(tmp_path):
    (tmp_path / "x.yaml").write_text("a: no\nb: on\nc: 1e-4\nd: 08\n")
    assert read_yaml(tmp_path / "x.yaml") == {"a": "no", "b": "on", "c": 1e-4, "d": 8}


def test_nested_and_dotted_keys_mean_the_same(config):
    nested = BASE.replace("set: {labels.initial: 50, labels.budget: 100}", "set: {labels: {initial: 50, budget: 100}}")
    assert specs(config, nested) == specs(config, BASE)


def test_excluded_cells_are_left_out(config):
    runs = specs(config, BASE + "exclude: [{dataset: diamonds, agent: [coreset]}]\n")
    assert {(run.dataset, run.agent) for run in runs} == {
        ("diamonds", "random"),
        ("bimodal_sine", "random"),
        ("bimodal_sine", "coreset"),
    }


def test_overrides_apply_to_matching_cells_only(config):
    runs = specs(config, BASE + "overrides: [{when: {dataset: diamonds}, set: {labels.budget: 300}}]\n")
    assert {(run.dataset, run.labels.budget) for run in runs} == {("diamonds", 300), ("bimodal_sine", 100)}


def test_an_override_may_match_on_a_default(config):
    text = BASE + "overrides: [{when: {architecture: spline_flow}, set: {training.patience: 3}}]\n"
    assert {run.training.patience for run in specs(config, text)} == {3}


def test_presets_give_way_to_the_experiment_itself(config):
    (config / "presets" / "p.yaml").write_text(
        "study: regression\n"
        "set: {training.patience: 4}\n"
        "overrides: [{when: {dataset: diamonds}, set: {training.learning_rate: 0.5, labels.budget: 7}}]\n"
    )
    runs = specs(config, BASE + "presets: [p]\n")
    assert {(run.dataset, run.training.learning_rate) for run in runs} == {("diamonds", 0.5), ("bimodal_sine", 1e-3)}
    assert {run.training.patience for run in runs} == {4}
    assert {run.labels.budget for run in runs} == {100}


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (("agent: [random", "agent: [randon"), ["'agent'", "randon", "did you mean 'random'"]),
        (("dataset: [diamonds", "dataset: [diamond"), ["unknown data set", "did you mean 'diamonds'"]),
        (("grid:", "grud:"), ["unknown key 'grud'", "did you mean 'grid'"]),
        (("labels.initial: 50", "labels.inital: 50"), ["'labels.inital'", "did you mean 'labels.initial'"]),
        (("labels.initial: 50", "learning_rat: 50"), ["did you mean 'training.learning_rate'"]),
        (("labels.initial: 50", "labels.initial: fifty"), ["'labels.initial'", "'fifty'"]),
        (("labels.initial: 50", "seeds: 3"), ["own key 'seeds'"]),
        (("[random, coreset]", "[]"), ["grid axis 'agent' is empty"]),
        (("[random, coreset]", "[random, random]"), ["repeats a value"]),
        (("study: regression", "study: regresion"), ["unknown study", "did you mean 'regression'"]),
        (("seeds: 0-3", "seeds: 3-0"), ["'seeds'", "runs backwards"]),
        (("labels.budget: 100", "labels.budget: 100000"), ["'labels.budget'", "exceed the training rows"]),
        (("labels.budget: 100", "labels.budget: 100, mode: faithfull"), ["'mode'", "did you mean 'faithful'"]),
        (("labels.initial: 50", "labels.initial: al"), ["'labels.initial'", "did you mean 'all'"]),
        (("labels.initial: 50", "labels.initial: 700"), ["'labels.initial'", "at most 640"]),
        (
            ("title: test", "title: test\nused_in: {tables: {t: {kind: mode_comparisons}}}"),
            ["'used_in.tables.t.kind'", "did you mean 'mode_comparison'"],
        ),
        (("labels.budget: 100", "labels.budget: 100, labels.query_size: 101"), ["'labels.query_size'", "exceeds"]),
        (("title: test", "title: test\npresets: [nothing]"), ["unknown preset", "nothing"]),
        (("title: test", "title: test\ntitle: again"), ["not valid YAML", "line"]),
        (("title: test", "title: test\nexclude: [{dataset: parkinsons}]"), ["matches no cell"]),
        (
            ("title: test", "title: test\noverrides: [{when: {agent: balsa_emd}, set: {labels.budget: 9}}]"),
            ["matches no cell"],
        ),
        (("title: test", "title: test\nexclude: [{dataset: [diamonds, bimodal_sine]}]"), ["every cell is excluded"]),
    ],
)
def test_each_fault_is_named_before_any_job(config, change, fragments):
    old, new = change
    assert old in BASE
    with pytest.raises(ConfigurationError) as caught:
        specs(config, BASE.replace(old, new, 1))
    message = str(caught.value)
    for fragment in [*fragments, "test.yaml" if "dataset: [diamond," not in new else "experiment 'test'"]:
        assert fragment in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "nearest", "allowed", "left_out"),
    [
        ("training.learning_rat", "training.learning_rate", "training.weight_decay", "labels.budget"),
        ("learning_rate", "training.learning_rate", "training.weight_decay", "labels.budget"),
        ("training.zzzzzzzz", None, "training.weight_decay", "labels.budget"),
        ("agemt", "agent", "training.*", "training.weight_decay"),
    ],
)
def test_an_unknown_key_names_the_nearest_first_and_then_its_own_group_alone(config, key, nearest, allowed, left_out):
    with pytest.raises(ConfigurationError) as caught:
        specs(config, BASE.replace("labels.budget: 100", f"labels.budget: 100, {key}: 1"))
    message = str(caught.value)
    question = f" (did you mean {nearest!r}?)" if nearest else ""
    assert f"unknown key {key!r}{question}; allowed: " in message
    keys = message.partition("allowed: ")[2].split(", ")
    assert allowed in keys
    assert left_out not in keys


def test_an_unknown_experiment_gets_a_suggestion(config):
    specs(config, BASE, name="balsa_laptop")
    with pytest.raises(ConfigurationError, match="did you mean 'balsa_laptop'"):
        make_plan(config, ["balsa_laptp"])


def test_a_word_that_is_like_none_of_the_allowed_ones_gets_no_suggestion(config):
    with pytest.raises(ConfigurationError) as caught:
        specs(config, BASE.replace("labels.budget: 100", "labels.budget: 100, mode: 3"))
    assert "did you mean" not in str(caught.value)


def test_the_experiments_of_a_table_are_found_past_a_file_that_cannot_be_read(config):
    used = "used_in:\n  tables: {one: {kind: run_overview}}\n  figures: {drawn: {notebook: n, table: one}}\n"
    for name, text in (("b", used), ("a", used), ("other", ""), ("broken", "nonsense: 1\n" + used)):
        (config / "experiments" / f"{name}.yaml").write_text(BASE + text)
    assert experiments_naming(config, "table", "one") == ("a", "b")
    assert experiments_naming(config, "figure", "drawn") == ("a", "b")
    assert experiments_naming(config, "figure", "one") == ()


@pytest.mark.parametrize("group", ["set", "overrides"])
def test_a_key_spelt_twice_with_different_values_is_refused_with_both(config, group):
    own = "{labels: {initial: 50, budget: 90}, labels.budget: 80, training: {dropout: 0.1}, training.dropout: 0.1}"
    text = {
        "set": BASE.replace("{labels.initial: 50, labels.budget: 100}", own),
        "overrides": BASE + f"overrides: [{{when: {{agent: random}}, set: {own}}}]\n",
    }[group]
    with pytest.raises(ConfigurationError) as caught:
        specs(config, text)
    assert f"key '{group}': the key 'labels.budget' is there twice, with different values" in str(caught.value)
    assert "given: 'labels: {budget: 90}' and 'labels.budget: 80'" in str(caught.value)


def test_one_value_spelt_twice_is_one_value(config):
    assert specs(config, BASE.replace("labels.budget: 100", "labels.budget: 100, labels: {budget: 100}")) == specs(
        config, BASE
    )


def test_two_files_of_one_name_are_refused(config):
    (config / "experiments" / "a").mkdir()
    (config / "experiments" / "a" / "same.yaml").write_text(BASE)
    (config / "experiments" / "same.yaml").write_text(BASE)
    with pytest.raises(ConfigurationError, match="same name"):
        experiment_paths(config)


def test_every_experiment_of_the_repository_plans():
    config = REPOSITORY / "config"
    names = list(experiment_paths(config))
    assert {"demo", "balsa_laptop", "balsa_paper"} <= set(names)
    for name in names:
        plan = make_plan(config, [name])
        assert plan.runs
        assert plan.tables
