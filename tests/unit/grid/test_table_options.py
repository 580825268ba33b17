"""Options of tables and notebooks of figures, held against what reporting itself takes."""

import re
from pathlib import Path
from typing import get_args

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.figure_notebooks import check_drawn_kind, drawn_kinds
from bayesgrid.grid.registry import study_names
from bayesgrid.grid.specification import RunSpec
from bayesgrid.grid.table_options import TABLE_OPTIONS, AnswerStatistic, PublishedMetric, check_table
from bayesgrid.grid.table_studies import TABLE_STUDIES
from bayesgrid.grid.used_in import FigureDefinition, TableDefinition
from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS
from bayesgrid.reporting.answer_metrics_tables import PUBLISHED_METRICS
from bayesgrid.reporting.tables import render_partial, table_kinds
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec
from bayesgrid.studies.preference.spec import PreferenceSpec
from bayesgrid.studies.regression.spec import SPEC

NOTEBOOKS = Path(__file__).parents[3] / "workflow" / "notebooks"
RUNS = [
    BayesianLoraSpec.from_parameters({"model": "m", "dataset": "d", "seeds": [0], "method": method}, where="test")
    for method in ("mle", "blob")
]
AGENTS = [SPEC.from_parameters({"dataset": "diamonds", "agent": "coreset", "seeds": [0]}, where="test")]
ROUNDS = [
    BayesianLoraActiveSpec.from_parameters({"model": "m", "dataset": "d", "seeds": [0], "method": "mle"}, where="test")
]


class OfAnotherPackage(RunSpec):
    study = "other"
    revision = 1
    entry_point = "nowhere:run"


def check(kind, options, runs=RUNS):
    check_table("t", TableDefinition(kind=kind, options=options), runs, "some.yaml")


@pytest.mark.parametrize("kind", table_kinds())
def test_the_options_of_a_kind_are_those_that_reporting_takes(kind):
    with pytest.raises(ConfigurationError) as refused:
        render_partial(kind, [None], {"nothing_of_the_kind": 1})
    allowed = re.search(r"allowed: ([a-z_, ]+)", str(refused.value))
    taken = set() if allowed is None or allowed[1] == "no options" else set(allowed[1].split(", "))
    assert set(TABLE_OPTIONS[kind].model_fields) == taken


def test_the_metrics_are_those_that_reporting_computes():
    assert set(get_args(AnswerStatistic)) == set(ANSWER_STATISTICS)
    assert set(get_args(PublishedMetric)) == set(PUBLISHED_METRICS)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("answer_metrics", {"refrence": "mle"}, ["'refrence' (did you mean 'reference'?)", "answer_metrics"]),
        ("answer_metrics", {"metrics": ["acuracy"]}, ["'metrics", "did you mean 'accuracy'"]),
        ("answer_draws", {"metrics": []}, ["'metrics'"]),
        ("answer_noise", {"replicates": 10}, ["'replicates'", "100"]),
        ("answer_cost", {"cost": "tokens_per_second"}, ["'cost'", "seconds_per_example"]),
        ("run_overview", {"metrics": ["nll"]}, ["no options"]),
        (
            "answer_differences",
            {"reference": "bolb"},
            ["no run", "'bolb'", "allowed: mle, blob", "did you mean 'blob'"],
        ),
        ("answer_differences", {"reference": "laplace"}, ["no run", "choose an experiment that has it too"]),
    ],
)
def test_an_option_that_cannot_work_is_named_with_its_table(kind, options, words):
    with pytest.raises(ConfigurationError) as refused:
        check(kind, options)
    for word in ["some.yaml", "table 't'", *words]:
        assert word in str(refused.value)


def test_options_that_reporting_takes_pass():
    check("answer_metrics", {"reference": "blob", "metrics": ["nll", "coverage_90"], "temperature": False})
    check("answer_cost", {"objective": "brier", "cost": "posterior_bytes", "replicates": 100})
    check("agent_ranks", {"reference_agent": "coreset", "rope": 1}, AGENTS)


@pytest.mark.parametrize(
    ("kind", "runs", "reads", "is_of", "here"),
    [
        ("learning_curves", RUNS, "'regression'", "'bayesian_lora'", "answer_metrics"),
        ("hyperparameters", AGENTS, "'regression_search'", "'regression'", "learning_curves"),
        ("preference_areas", AGENTS, "'preference'", "'regression'", "run_overview"),
        ("answer_learning_curves", RUNS, "'bayesian_lora_active'", "'bayesian_lora'", "answer_metrics"),
        ("answer_metrics", ROUNDS, "'bayesian_lora'", "'bayesian_lora_active'", "answer_learning_curves"),
        ("answer_metrics", [*RUNS, *ROUNDS], "'bayesian_lora'", "'bayesian_lora_active'", "answer_learning_curves"),
    ],
)
def test_a_kind_that_reads_another_study_is_refused_with_those_that_fit(kind, runs, reads, is_of, here):
    with pytest.raises(ConfigurationError) as refused:
        check(kind, {}, runs)
    said = str(refused.value)
    assert f"table kind {kind!r} reads runs of the study {reads};" in said
    assert f"given: an experiment of the study {is_of};" in said
    allowed = said.partition("allowed: here ")[2].split(", ")
    assert here in allowed
    assert kind not in allowed


def test_every_kind_says_which_studies_it_reads():
    assert set(TABLE_STUDIES) == set(TABLE_OPTIONS)
    assert {study for studies in TABLE_STUDIES.values() for study in studies or ()} <= set(study_names())


def test_a_study_of_another_package_may_feed_any_kind():
    foreign = [OfAnotherPackage(seeds=[0])]
    check("learning_curves", {}, foreign)
    with pytest.raises(ConfigurationError, match=r"allowed: \(the runs have no agent\)"):
        check("learning_curves", {"reference_agent": "random"}, foreign)


def lora(**more):
    return BayesianLoraSpec.from_parameters(
        {"model": "m", "dataset": "d", "seeds": [0], "method": "blob", **more}, where="test"
    )


def test_a_shift_needs_a_run_that_is_asked_another_set():
    for evaluation in ({}, {"dataset": "d"}):
        with pytest.raises(ConfigurationError, match=r"no run is asked another data set.*evaluation\.dataset"):
            check("answer_out_of_distribution", {}, [lora(evaluation=evaluation)])
    check("answer_out_of_distribution", {}, [lora(), lora(evaluation={"dataset": "other"})])


def test_an_ablation_needs_a_method_with_several_settings():
    alone = [*RUNS, lora(seeds=[1]), lora(evaluation={"trial": 1}), lora(dataset="e")]
    with pytest.raises(ConfigurationError, match="nothing to compare"):
        check("answer_ablation", {}, alone)
    check("answer_ablation", {}, [*RUNS, lora(variational={"flipout": "none"})])
    # The correct settings may be in an experiment that was not chosen now.
    check("answer_ablation", {}, [lora(mode="faithful")])


def test_a_reference_that_nobody_named_may_be_absent():
    check("answer_differences", {}, RUNS[1:])


def test_every_notebook_says_of_itself_what_the_documentation_says_of_it():
    documented = {}
    for line in (NOTEBOOKS.parents[1] / "config" / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1].strip("`") in table_kinds():
            for notebook in re.findall(r"`(\w+)`", cells[3]):
                documented.setdefault(notebook, set()).add(cells[1].strip("`"))
    assert {name: set(drawn_kinds(NOTEBOOKS / f"{name}.py") or ()) for name in documented} == documented
    assert len(documented) >= 18


def test_every_notebook_says_which_kinds_it_draws():
    for path in NOTEBOOKS.glob("*.py"):
        assert set(drawn_kinds(path) or ["nothing said"]) <= set(TABLE_OPTIONS), path


def test_a_notebook_that_draws_other_tables_is_refused_with_one_that_fits():
    with pytest.raises(ConfigurationError) as refused:
        check_drawn_kind(
            "f", FigureDefinition(notebook="answer_pareto", table="t"), "answer_noise", NOTEBOOKS, "some.yaml"
        )
    for word in (
        "some.yaml",
        "figure 'f'",
        "'answer_pareto'",
        "kind answer_cost",
        "notebooks for answer_noise are answer_noise",
    ):
        assert word in str(refused.value)


@pytest.mark.parametrize("text", ["x = 1\n", "# ---\n# jupyter:\n#   jupytext: {}\n# ---\nx = 1\n", "# ---\nx = 1\n"])
def test_a_notebook_that_says_nothing_draws_anything(tmp_path, text):
    (tmp_path / "own.py").write_text(text)
    check_drawn_kind("f", FigureDefinition(notebook="own", table="t"), "answer_noise", tmp_path, "some.yaml")


def test_a_header_that_names_kinds_in_another_form_is_refused(tmp_path):
    (tmp_path / "own.py").write_text("# ---\n# jupyter:\n#   bayesgrid:\n#     tables: answer_noise\n# ---\n")
    with pytest.raises(ConfigurationError, match=r"own\.py.*no list"):
        drawn_kinds(tmp_path / "own.py")


def test_rules_and_models_of_preferences_that_no_run_has_are_refused():
    values = {"dataset": "game_disc", "seeds": [0], "model": {"kind": "general_preference"}}
    run = PreferenceSpec.from_parameters({**values, "acquisition": {"rule": "bald"}}, where="test")
    check("preference_areas", {"reference_rule": "bald", "baseline_model": ""}, [run])
    with pytest.raises(
        ConfigurationError, match=r"no run of the table has the acquisition\.rule 'random'.*allowed: bald"
    ):
        check("preference_saving", {"reference_rule": "random"}, [run])
    with pytest.raises(ConfigurationError, match=r"no run of the table has the model\.kind 'bradley_terry'"):
        check("preference_areas", {"baseline_model": "bradley_terry"}, [run])
