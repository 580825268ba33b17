"""Seeds and typed parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import validate_parameters
from bayesgrid.grid.specification import Resources, parse_seeds, seed_blocks, seed_slug
from bayesgrid.grid.used_in import TableDefinition
from bayesgrid.grid.workflow_config import load_workflow_config
from bayesgrid.studies.regression.spec import RegressionSpec


@pytest.mark.parametrize(
    ("given_seeds", "expected"),
    [(3, (3,)), ("0-4", (0, 1, 2, 3, 4)), ("0-2,7", (0, 1, 2, 7)), ([5, 1], (1, 5)), (["0-1", 9], (0, 1, 9))],
)
def test_seeds_are_read_in_every_form(given_seeds, expected):
    assert parse_seeds(given_seeds) == expected


@pytest.mark.parametrize("wrong", ["", "a", "4-1", [1, 1], "0-3,2", [], True, 1.5, -1])
def test_wrong_seeds_are_refused(wrong):
    with pytest.raises(ValueError, match="seed"):
        parse_seeds(wrong)


@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 60)), st.integers(1, 12))
def test_further_seeds_leave_full_blocks_alone(seeds, more, size):
    before = {block for block in seed_blocks(seeds, size) if len(block) == size}
    after = set(seed_blocks(seeds | more, size))
    assert before <= after
    assert sorted(seed for block in after for seed in block) == sorted(seeds | more)


def test_seed_slugs():
    assert seed_slug((0, 1, 2)) == "s0-2"
    assert seed_slug((4,)) == "s4"
    assert seed_slug((0, 2)) == "s0_2"


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"training": {"learning_rate": "1e-3"}}, "training.learning_rate"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate"),
        ({"training": {"max_epochs": 1.5}}, "training.max_epochs"),
        ({"training": {"dropout": 1.0}}, "training.dropout"),
        ({"labels": {"query_size": 0}}, "labels.query_size"),
        ({"architecture": "mixture"}, "architecture"),
        ({"agent": "balsa"}, "agent"),
        ({"seeds": "4-1"}, "seeds"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(parameters, key):
    base = {"dataset": "diamonds", "agent": "random", "seeds": [0]}
    with pytest.raises(ConfigurationError) as caught:
        RegressionSpec.from_parameters({**base, **parameters}, where="file.yaml")
    assert f"'{key}'" in str(caught.value)
    assert "file.yaml" in str(caught.value)


def test_an_unknown_key_gets_a_suggestion():
    parameters = {"dataset": "diamonds", "agent": "random", "seeds": [0], "training": {"learning_rat": 1e-3}}
    with pytest.raises(
        ConfigurationError, match=r"key 'training.learning_rat' \(did you mean 'training.learning_rate'"
    ):
        RegressionSpec.from_parameters(parameters, where="x")


def test_of_many_words_the_nearest_are_named_and_the_nearest_of_all_first():
    kinds = TableDefinition.model_json_schema()["properties"]["kind"]["enum"]
    with pytest.raises(ConfigurationError) as caught:
        validate_parameters(TableDefinition, {"kind": "answers_metrics"}, where="x")
    said = str(caught.value)
    assert said.startswith("x: key 'kind': not a value it can have (did you mean 'answer_metrics'?); given: ")
    assert said.endswith(f" and {len(kinds) - 10} more")
    assert said.count("'answer_metrics'") == 2


@pytest.mark.parametrize(
    ("values", "more"),
    [({}, ""), ({"options": 1}, " (1 further fault)"), ({"options": 1, "x": 1}, " (2 further faults)")],
)
def test_further_faults_are_counted(values, more):
    with pytest.raises(ConfigurationError) as caught:
        validate_parameters(TableDefinition, {"y": 2, "kind": "run_overview", **values}, where="file")
    assert str(caught.value).startswith(f"file: unknown key 'y'{more};")


def test_an_unknown_agent_gets_a_suggestion():
    with pytest.raises(ConfigurationError, match="did you mean 'balsa_kl_pairs'"):
        RegressionSpec.from_parameters({"dataset": "diamonds", "agent": "balsa_kl_pair", "seeds": [0]}, where="x")


def test_processes_that_share_out_a_base_multiply_all_but_the_time():
    one = Resources(mem_mb=30_000, runtime=90, gpu=1, threads=4)
    assert one.for_processes(1) == one
    assert one.for_processes(3) == Resources(mem_mb=90_000, runtime=90, gpu=3, threads=12)


def test_models_that_are_not_named_have_one_process():
    settings = load_workflow_config({"experiments": [], "sharding": {"processes": {"large": 4}}})
    assert [settings.sharding.processes_of(name) for name in ("large", "small", None)] == [4, 1, 1]
    with pytest.raises(ConfigurationError, match=r"sharding\.processes"):
        load_workflow_config({"experiments": [], "sharding": {"processes": {"large": 0}}})
