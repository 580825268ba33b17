from pathlib import Path
from typing import Any

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.sources import DatasetCatalog, load_dataset_catalog
from bayesgrid.studies.regression.spec import FAITHFUL_VALUES, RegressionSpec

CATALOG = load_dataset_catalog(Path(__file__).parents[4] / "config" / "datasets.yaml")


def check(dataset: str, **labels: Any) -> None:
    given = {"initial": 20, "budget": 50, "query_size": 5, **labels}
    RegressionSpec(dataset=dataset, agent="random", seeds=(0,), labels=given).check(CATALOG)


@pytest.mark.parametrize("index", [0, 9])
def test_every_published_split_of_a_data_set_can_be_asked_for(index: int) -> None:
    check("yacht", split="published", published_split=index)
    check("kin40k", split="published", published_split=index)


@pytest.mark.parametrize(
    ("dataset", "labels", "words"),
    [
        ("yacht", {"split": "published", "published_split": 10}, ["given: 10", "0 to 9 of data set 'yacht'"]),
        ("parkinsons", {"split": "published"}, ["no test splits are published", "'parkinsons'", "airfoil, bike"]),
        ("parkinsons", {"split": "published"}, ["allowed: random, grouped, or"]),
        ("bimodal_sine", {"split": "published"}, ["allowed: random, or"]),
        ("yacht", {"published_split": 3}, ["no effect", "3, with labels.split: random", "labels.split: published"]),
        ("parkinsons", {"split": "grouped", "published_split": 1}, ["no effect", "labels.split: grouped"]),
    ],
)
def test_published_split_that_cannot_be_had_is_refused_before_anything_runs(
    dataset: str, labels: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(dataset, **labels)
    for word in words:
        assert word in str(caught.value)


def test_published_test_rows_decide_how_many_labels_there_are() -> None:
    # A published split of 308 rows leaves 308 * 0.9 * 0.8 = 221 for training, test_fraction 308 * 0.8 * 0.8 = 197.
    check("yacht", split="published", budget=201)
    with pytest.raises(ConfigurationError, match="at most 221"):
        check("yacht", split="published", budget=202)
    with pytest.raises(ConfigurationError, match="at most 197"):
        check("yacht", budget=178)


def test_a_set_without_groups_is_offered_the_splits_it_has() -> None:
    with pytest.raises(ConfigurationError, match="allowed: random, or one of the data sets"):
        check("bimodal_sine", split="grouped")
    ungrouped = CATALOG.entry("yacht").model_copy(update={"groups": None})
    spec = RegressionSpec(dataset="yacht", agent="random", seeds=(0,), labels={"split": "grouped"})
    with pytest.raises(ConfigurationError, match="allowed: random, published, or one of the data sets"):
        spec.check(DatasetCatalog(CATALOG.path, {**CATALOG.entries, "yacht": ungrouped}))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        # 1,000 rows leave 1,000 * 0.8 * 0.8 = 640 for training.
        ({"initial": 641, "budget": 0}, "'labels.initial': .*given: 641; allowed: at most 640"),
        ({"initial": 640, "budget": 1}, r"'labels.budget': .*given: 640 \+ 1 = 641; allowed: at most 640"),
        ({"initial": 20}, r"'labels.budget': .*given: 20 \+ 800 \(the default\) = 820"),
        ({}, r"'labels.budget': .*given: 200 \(the default\) \+ 800 \(the default\) = 1000"),
        ({"initial": "all"}, r"'labels.budget': .*given: 800 \(the default\); allowed: 0; set labels.budget: 0"),
        ({"initial": "all", "budget": 800}, "given: 800; allowed: 0"),
    ],
)
def test_too_many_labels_are_blamed_on_the_key_that_asks_for_them(labels: dict[str, Any], message: str) -> None:
    spec = RegressionSpec(dataset="bimodal_sine", agent="random", seeds=(0,), labels=labels)
    with pytest.raises(ConfigurationError, match=message):
        spec.check(CATALOG)


@pytest.mark.parametrize(
    ("agent", "mode", "words"),
    [
        ("balsa_kl_pairs_dual", "corrected", ["faithful only", "take balsa_kl_pairs, or set mode: faithful"]),
        ("log_density_std", "corrected", ["faithful only", "or set mode: faithful"]),
        ("bait", "faithful", ["corrected only", "run it in mode: corrected"]),
        ("log_density_sd", "faithful", ["did you mean 'log_density_std'"]),
    ],
)
def test_an_agent_of_the_other_mode_is_a_fault_of_the_agent_and_named_once(
    agent: str, mode: str, words: list[str]
) -> None:
    values = {"dataset": "parkinsons", "agent": agent, "mode": mode, "seeds": [0]}
    with pytest.raises(ConfigurationError) as caught:
        RegressionSpec.from_parameters(values, where="test")
    message = str(caught.value)
    assert message.count("given: ") == 1
    for word in ["key 'agent'", agent, *words]:
        assert word in message
    if mode == "corrected":
        del values["mode"]
        with pytest.raises(ConfigurationError, match="key 'agent'"):
            RegressionSpec.from_parameters(values, where="test")


@pytest.mark.parametrize(("mode", "other"), [("corrected", "balsa_emd_dual"), ("faithful", "bait")])
def test_an_unknown_agent_is_shown_those_of_its_mode(mode: str, other: str) -> None:
    values = {"dataset": "parkinsons", "agent": "nothing_like_it", "mode": mode, "seeds": [0]}
    with pytest.raises(ConfigurationError, match=r"allowed: .*coreset") as caught:
        RegressionSpec.from_parameters(values, where="test")
    assert other not in str(caught.value)


def test_a_misspelt_mode_is_the_only_fault_told() -> None:
    values = {"dataset": "parkinsons", "agent": "balsa_emd_dual", "mode": "faithfull", "seeds": [0]}
    with pytest.raises(
        ConfigurationError, match=r"key 'mode': .*did you mean 'faithful'\?.*allowed: 'corrected', 'faithful'$"
    ):
        RegressionSpec.from_parameters(values, where="test")


def faithful(**changes: Any) -> RegressionSpec:
    values = {"dataset": "parkinsons", "agent": "balsa_kl_pairs", "mode": "faithful", "seeds": [0, 1], **changes}
    return RegressionSpec.from_parameters(values, where="test")


def test_faithful_mode_fills_what_is_not_given_with_the_recipe_of_the_reference() -> None:
    spec = faithful()
    assert spec.network.activation == "none"
    assert spec.labels.target_scale == "unit"
    assert spec.posterior.masks == "per_row"
    assert (spec.training.batch_size, spec.training.patience, spec.training.max_epochs) == (64, 5, 100)
    assert (spec.training.early_stopping, spec.training.refit_after) == ("inverted", "label")
    one_corrected = faithful(training={"early_stopping": "restore_best", "learning_rate": 0.01})
    assert one_corrected.training == spec.training.model_copy(
        update={"early_stopping": "restore_best", "learning_rate": 0.01}
    )
    corrected = RegressionSpec(dataset="parkinsons", agent="balsa_kl_pairs", seeds=(0, 1))
    assert corrected.training.early_stopping == "restore_best"


def test_faithful_specification_survives_its_own_json() -> None:
    for spec in (faithful(), faithful(network={"activation": "relu"}, labels={"candidates": 7})):
        again = RegressionSpec.from_parameters(spec.model_dump(mode="json"), where="test")
        assert again == spec


@pytest.mark.parametrize(
    ("group", "key"), [(group, key) for group, values in FAITHFUL_VALUES.items() for key in values]
)
def test_each_defect_can_be_corrected_alone_and_a_job_says_so(group: str, key: str) -> None:
    own_default = type(getattr(faithful(), group)).model_fields[key].default
    corrected_one = faithful(**{group: {key: own_default}})
    assert getattr(getattr(corrected_one, group), key) == own_default
    sparse = corrected_one.sparse_parameters()
    assert RegressionSpec.from_parameters(sparse, where="job") == corrected_one
    assert sparse != faithful().sparse_parameters()
    assert RegressionSpec.from_parameters(faithful().sparse_parameters(), where="job") == faithful()


@pytest.mark.parametrize("agent", ["random", "balsa_kl_pairs"])
@pytest.mark.parametrize("candidates", [2000, 5000, 10000])
def test_number_of_candidates_survives_in_a_job(agent: str, candidates: int) -> None:
    spec = faithful(agent=agent, labels={"candidates": candidates})
    assert RegressionSpec.from_parameters(spec.sparse_parameters(), where="job") == spec


@pytest.mark.parametrize(
    ("agent", "candidates", "dropout"),
    [
        ("random", 10000, (0.0163, 0.05)),
        ("coreset", 10000, (0.0163, 0.05)),
        ("bald_dist_entropy", 10000, (0.05, 0.05)),
        ("balsa_kl_pairs", 5000, (0.05, 0.05)),
        ("balsa_kl_pairs_dual", 5000, (0.0163, 0.05)),
        ("balsa_emd_dual", 5000, (0.0163, 0.1)),
    ],
)
def test_faithful_candidates_and_dropout_are_the_agents(
    agent: str, candidates: int, dropout: tuple[float, float]
) -> None:
    spec = faithful(agent=agent, training={"dropout": 0.0163})
    assert spec.labels.candidates == candidates
    assert spec.dropout_probabilities() == dropout
    assert faithful(agent=agent, training={"dropout": 0.2}).dropout_probabilities()[0] == 0.2
    corrected = RegressionSpec(dataset="parkinsons", agent="random", seeds=(0,), training={"dropout": 0.2})
    assert corrected.dropout_probabilities() == (0.2, 0.05)


def test_labelling_everything_leaves_nothing_to_buy() -> None:
    check("parkinsons", initial="all", budget=0)
    with pytest.raises(ConfigurationError, match="nothing to buy"):
        check("parkinsons", initial="all", budget=5)
    grouped = {"initial": "all", "budget": 0, "split": "grouped"}
    check("parkinsons", **grouped)
    spec = RegressionSpec(dataset="parkinsons", agent="random", seeds=(0, 1), labels=grouped)
    with pytest.raises(ConfigurationError, match="seed_block: 1"):
        spec.check(CATALOG)


def test_folder_names_show_what_experiments_sweep() -> None:
    assert faithful().slug() == "parkinsons-spline_flow-balsa_kl_pairs-faithful-q50-s0-1"
    assert "-restore_best-" in faithful(training={"early_stopping": "restore_best"}).slug()
    ensemble = RegressionSpec(
        dataset="yacht",
        agent="random",
        seeds=(0,),
        posterior={"sampler": "ensemble"},
        labels={"split": "published", "published_split": 3},
    )
    assert ensemble.slug() == "yacht-spline_flow-random-ensemble-published3-q50-s0"
    assert RegressionSpec(dataset="yacht", agent="random", seeds=(0,)).slug() == "yacht-spline_flow-random-q50-s0"
