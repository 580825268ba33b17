from pathlib import Path

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.experiments import expand, load_experiment
from bayesgrid.grid.sources import DatasetCatalog, load_dataset_catalog
from bayesgrid.grid.yaml_files import read_yaml
from bayesgrid.studies.regression_search.spec import RegressionSearchSpec, SearchSpace

CONFIG = Path(__file__).parents[4] / "config"


@pytest.fixture(scope="module")
def catalog() -> DatasetCatalog:
    return load_dataset_catalog(CONFIG / "datasets.yaml")


def spec_of(**changes: object) -> RegressionSearchSpec:
    return RegressionSearchSpec.from_parameters({"dataset": "parkinsons", "seeds": "0-3"} | changes, where="test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"learning_rate": [1e-2, 1e-5]}}, r"space\.learning_rate.*lowest comes first"),
        ({"space": {"learning_rate": [0, 1e-5]}}, r"space\.learning_rate\.0.*greater than 0"),
        ({"space": {"weight_decay": [0, 1e-5]}}, r"space\.weight_decay\.0.*greater than 0"),
        ({"space": {"dropout": [0.0, 1.0]}}, r"space\.dropout\.1.*less than 1"),
        ({"space": {"dropout": [-0.1, 0.2]}}, r"space\.dropout\.0.*greater than or equal to 0"),
        ({"space": {"dropout": [0.1]}}, r"space\.dropout\.1.*missing"),
        ({"space": {"dropuot": [0.1, 0.2]}}, "did you mean 'space.dropout'"),
        ({"configurations": 0}, "configurations"),
        ({"include": [{"learning_rate": 1e-3, "weight_decay": 0.0}]}, r"include\.0\.dropout.*missing"),
        ({"halving": {"factor": 1}}, r"halving\.factor"),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        spec_of(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"query_size": 20}}, r"labels\.query_size.*no effect"),
        ({"labels": {"candidates": 20}}, r"labels\.candidates.*no effect"),
        ({"labels": {"initial": 200, "budget": 5000}}, r"labels\.budget.*exceed"),
        ({"labels": {"split": "published"}}, r"labels\.split"),
        ({"halving": {"first_epochs": 200}}, r"halving\.first_epochs.*less than training\.max_epochs, 200"),
        ({"dataset": "parkinson"}, "did you mean 'parkinsons'"),
    ],
)
def test_a_search_that_cannot_work_is_refused_at_planning(
    catalog: DatasetCatalog, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        spec_of(**changes).check(catalog)


@pytest.mark.parametrize("labels", [{}, {"initial": 20, "budget": 10}, {"initial": "all", "budget": 0}])
def test_a_subset_of_any_size_passes(catalog: DatasetCatalog, labels: dict[str, object]) -> None:
    spec_of(labels=labels).check(catalog)


def test_the_experiment_compares_with_the_values_of_the_reference_preset(catalog: DatasetCatalog) -> None:
    experiment, path = load_experiment(CONFIG, "balsa_search")
    specs = expand(experiment, path=path, config=CONFIG, catalog=catalog)
    included = {}
    for spec in specs:
        assert isinstance(spec, RegressionSearchSpec)
        (own,) = spec.include
        included[spec.dataset, spec.architecture] = (own.learning_rate, own.weight_decay, own.dropout)
        assert spec.configurations == 64
        assert spec.seeds == (0, 1, 2, 3)
    preset = read_yaml(CONFIG / "presets" / "balsa_hyperparameters.yaml")
    expected = {
        (o["when"]["dataset"], o["when"]["architecture"]): tuple(
            o["set"][f"training.{key}"] for key in ("learning_rate", "weight_decay", "dropout")
        )
        for o in preset["overrides"]
    }
    assert included == expected
    space = SearchSpace()
    for values in expected.values():
        for value, (lowest, highest) in zip(
            values, (space.learning_rate, space.weight_decay, space.dropout), strict=True
        ):
            assert lowest <= value <= highest
