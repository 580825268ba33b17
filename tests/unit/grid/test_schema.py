"""The JSON schemas that editors use."""

from pathlib import Path

import jsonschema
import pytest

from bayesgrid.grid.experiments import experiment_paths
from bayesgrid.grid.schema import dataset_catalog_schema, experiment_schema, schema_files
from bayesgrid.grid.yaml_files import read_yaml

CONFIG = Path(__file__).parents[3] / "config"


def test_the_schema_files_are_up_to_date():
    for path, text in schema_files(CONFIG / "schemas").items():
        assert path.read_text() == text, "run `bayesgrid schema`"


def test_every_experiment_fits_its_schema_and_names_it():
    for path in experiment_paths(CONFIG).values():
        content = read_yaml(path)
        jsonschema.Draft202012Validator(experiment_schema(content["study"])).validate(content)
        assert path.read_text().startswith(f"# yaml-language-server: $schema=../../schemas/{content['study']}.json\n")


@pytest.mark.parametrize(
    "change",
    [
        {"grid": {"agnet": ["random"]}},
        {"grid": {"agent": []}},
        {"set": {"training.learning_rate": "fast"}},
        {"set": {"training": {"learning_rat": 1}}},
        {"overrides": [{"when": {"nothing": 1}, "set": {}}]},
        {"more": 1},
    ],
)
def test_the_schema_refuses_what_the_planner_refuses(change):
    content = {"study": "regression", "title": "t", "seeds": "0-3", **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(experiment_schema("regression")).validate(content)


def test_the_catalog_fits_its_schema_which_refuses_other_kinds_and_keys():
    validator = jsonschema.Draft202012Validator(dataset_catalog_schema())
    catalog = read_yaml(CONFIG / "datasets.yaml")
    validator.validate(catalog)
    assert (CONFIG / "datasets.yaml").read_text().startswith("# yaml-language-server: $schema=schemas/datasets.json\n")
    for change in ({"kind": "preferences"}, {"paris": 3}, {"pairs": 0}, {"known_faults": {"ugly": 1}}):
        assert not validator.is_valid({"llmbar": {**catalog["llmbar"], **change}}), change
