"""The command line on the repository itself."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bayesgrid.cli import app
from bayesgrid.errors import ConfigurationError, DataError, StateError
from bayesgrid.grid.experiments import experiment_paths
from bayesgrid.grid.plan import make_plan
from bayesgrid.grid.used_in import TableDefinition
from bayesgrid.reporting.tables import table_kinds
from bayesgrid.studies.regression.agents import agent_names

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for name in ("BAYESGRID_PROJECT", "BAYESGRID_SETTINGS", "BAYESGRID_STATE_ROOT"):
        monkeypatch.delenv(name, raising=False)


def invoke(*arguments):
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_plan_ls_prints_an_id_a_line():
    lines = invoke("plan", "ls", "-e", "demo").splitlines()
    assert lines[0].startswith("demo:")
    assert sum(line.startswith("  ") for line in lines) == 10


def test_plan_show_prints_the_whole_run_and_the_job_can_be_parsed():
    name = invoke("plan", "ls", "-e", "demo").splitlines()[1].strip()
    shown = json.loads(invoke("plan", "show", name[-16:], "-e", "demo"))
    assert shown["run"] == name
    assert shown["parameters"]["posterior"]["draws"] == 25
    assert "posterior" not in shown["differs_from_defaults"]
    job = json.loads(invoke("plan", "show", name, "-e", "demo", "--job"))
    assert job["parameters"] == shown["differs_from_defaults"]


def test_plan_ls_says_which_further_runs_are_needed():
    lines = invoke("plan", "ls", "-e", "demo_bayesian_lora").splitlines()
    asked = sum(line.startswith("  ") for line in lines)
    plan = make_plan(REPOSITORY / "config", ["demo_bayesian_lora"])
    fits = len(plan.runs) - asked
    assert fits == len(list(plan.of_study("bayesian_lora_fit"))) > 0
    assert lines[0].endswith(f"({asked} runs, which need {fits} more of bayesian_lora_fit)")
    assert lines[-1].startswith(f"in all {len(plan.runs)} runs, ")


def test_plan_show_says_who_asks_for_a_run_that_no_chosen_experiment_has(monkeypatch, tmp_path):
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path))
    (name, *_) = make_plan(REPOSITORY / "config", ["demo"]).runs
    with pytest.raises(ConfigurationError, match=f"no chosen experiment.*given: {name}; 'demo'.*add `-e demo`"):
        invoke("plan", "show", name[-12:], "-e", "balsa_laptop")
    dropped = "diamonds-spline_flow-random-s0-0123456789abcdef"
    with pytest.raises(ConfigurationError, match="no run has this id"):
        invoke("plan", "show", dropped)
    (tmp_path / dropped / "finished").mkdir(parents=True)
    (tmp_path / dropped / "finished" / "manifest.json").touch()
    with pytest.raises(ConfigurationError, match=f"finished in the state root, but no experiment.*given: {dropped}"):
        invoke("plan", "show", dropped[-12:])


def test_plan_targets_filter_by_parameter():
    targets = invoke("plan", "targets", "-e", "balsa_laptop", "--where", "agent=coreset", "--where", "dataset=sarcos")
    (target,) = targets.split()
    assert target.startswith("results/runs/regression/sarcos-spline_flow-coreset-")


def test_plan_diff_against_the_last_commit_counts_runs():
    known = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, check=False)
    if known.returncode:
        pytest.skip("not a git checkout")
    assert "unchanged" in invoke("plan", "diff", "HEAD").splitlines()[0]


def test_doctor_names_every_experiment_and_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.delenv("BAYESGRID_MIRROR", raising=False)
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    printed = invoke("doctor")
    assert "demo: can run (10 runs, 4 job-hours reserved)" in printed
    assert "balsa_laptop: cannot run" in printed
    assert "'parkinsons'" in printed
    assert "hub        not asked, because HF_HUB_OFFLINE is set" in printed
    assert "no source of base model 'qwen3_0_6b'" in printed
    assert "demo_bayesian_lora: can run" in printed
    assert "more that other experiments need" in printed.splitlines()[-1]
    for part in ("python", "cpu", "gpu", "slurm", "disk", "hub", "mirror"):
        assert f"{part} " in printed


def test_doctor_says_how_to_get_what_the_chosen_experiments_lack_and_counts_the_rest(monkeypatch, tmp_path):
    monkeypatch.delenv("BAYESGRID_MIRROR", raising=False)
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = json.dumps({"experiments": ["demo", "balsa_laptop"]})
    lines = invoke("doctor", "--settings", settings).splitlines()
    remedies = lines[lines.index("data sets and base models not at hand") + 1 : -1]
    assert any(line.startswith("  parkinsons: set BAYESGRID_MIRROR") and "C5ZS3N" in line for line in remedies)
    assert not any("qwen3" in line or "winogrande" in line for line in remedies)
    lacking = {name for line in lines for name in re.findall(r"'([a-z0-9_]+)'", line.partition("cannot run")[2])}
    assert lines[-1].startswith(f"{len(lacking) - len(remedies)} more that other experiments need")
    named = invoke("doctor", "-e", "tfb_paper")
    assert "balsa_laptop" not in named
    assert "  llama_3_1_8b: run `bayesgrid prepare llama_3_1_8b`" in named


def test_doctor_refuses_an_experiment_that_does_not_exist():
    with pytest.raises(ConfigurationError, match=r"'tfb_papper' \(did you mean 'tfb_paper'\?\)"):
        invoke("doctor", "-e", "tfb_papper")


def test_a_name_that_no_catalogue_has_is_looked_for_in_both():
    with pytest.raises(ConfigurationError, match=r"datasets\.yaml and models\.yaml.*did you mean 'qwen3_8b'"):
        invoke("prepare", "qwen3_80b")


def test_status_of_an_untouched_state_root_is_pending(monkeypatch, tmp_path):
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path))
    rows = json.loads(invoke("status", "-e", "balsa_paper", "--json"))
    assert len(rows) == 4 * 2 * 14 * 3 * 3
    assert not list(tmp_path.iterdir()), "looking must not write"


def test_a_job_whose_id_is_another_ones_is_shown_as_failed(monkeypatch, tmp_path):
    # A project of its own: the checkout may hold results of the demo, and a published run is shown as done.
    project = tmp_path / "project"
    for folder in ("config", "workflow"):
        shutil.copytree(REPOSITORY / folder, project / folder)
    shutil.copy(REPOSITORY / "Snakefile", project)
    monkeypatch.setenv("BAYESGRID_PROJECT", str(project))
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path / "state"))
    name = invoke("plan", "ls", "-e", "demo").splitlines()[1].strip()
    job = json.loads(invoke("plan", "show", name, "-e", "demo", "--job"))
    job["parameters"]["seeds"] = [7]
    done = CliRunner().invoke(app, ["run", "--job", json.dumps(job)])
    assert isinstance(done.exception, ConfigurationError)
    states = {row["run"]: row for row in json.loads(invoke("status", "-e", "demo", "--json"))}
    assert (states[name]["state"], states[name]["failure"]) == ("failed", "configuration")
    assert "does not belong to these parameters" in states[name]["message"]
    assert {row["state"] for other, row in states.items() if other != name} == {"pending"}


@pytest.mark.parametrize(
    ("command", "product"),
    [
        (["table"], "balsa_uci_ranks"),
        (["figure"], "balsa_uci_learning_curves"),
        (["plan", "targets", "--table"], "balsa_uci_ranks"),
    ],
)
def test_a_product_of_an_experiment_that_is_not_chosen_is_refused_with_the_option_that_chooses_it(command, product):
    done = CliRunner().invoke(app, [*command, product])
    assert isinstance(done.exception, ConfigurationError)
    assert str(done.exception).endswith("add `-e balsa_uci -e balsa_uci_further`")
    misspelt = CliRunner().invoke(app, [*command, "demo_learning_curvs"])
    assert str(misspelt.exception).endswith("did you mean 'demo_learning_curves'?")


def test_claims_count_their_verdicts_and_name_the_ledger(monkeypatch, tmp_path):
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path))
    last = invoke("claims", "-e", "demo", "--output", str(tmp_path / "ledger")).splitlines()[-1]
    counts, _, path = last.partition("; all of them: ")
    assert path == str(tmp_path / "ledger.md")
    ledger = pd.read_csv(tmp_path / "ledger.csv")
    found = {verdict: int(count) for count, verdict in (part.split(" ", 1) for part in counts.split(", "))}
    assert found == ledger["verdict"].value_counts().to_dict()


def test_plan_ls_refuses_a_notebook_that_does_not_exist_and_plan_show_does_not_care(searched_project):
    (searched_project / "workflow" / "notebooks").mkdir(parents=True)
    (searched_project / "workflow" / "notebooks" / "learning_curves.py").touch()
    (searched_project / "config" / "experiments" / "drawn.yaml").write_text(
        "study: regression\ntitle: test\nseeds: 0\ngrid: {dataset: [bimodal_sine], agent: [random]}\n"
        "set: {labels: {initial: 20, budget: 50}}\n"
        "used_in:\n  tables: {t: {kind: learning_curves}}\n  figures: {f: {notebook: learning_curve, table: t}}\n"
    )
    at_project = ("--project", str(searched_project))
    done = CliRunner().invoke(app, ["plan", "ls", "-e", "drawn", *at_project])
    assert isinstance(done.exception, ConfigurationError)
    assert "did you mean 'learning_curves'" in str(done.exception)
    listed = invoke("plan", "ls", "-e", "small_search", *at_project).splitlines()
    assert listed[0].endswith("(1 run)")
    assert listed[-1] == "in all 1 run, 1 table, 0 figures"
    (name,) = make_plan(searched_project / "config", ["drawn"]).runs
    assert json.loads(invoke("plan", "show", name, *at_project))["run"] == name


def test_table_kinds_of_experiment_files_are_those_of_reporting():
    kinds = TableDefinition.model_json_schema()["properties"]["kind"]["enum"]
    assert tuple(sorted(kinds)) == table_kinds()


def test_the_documentation_names_every_experiment_table_kind_notebook_and_agent():
    texts = {name: (REPOSITORY / name).read_text() for name in ("README.md", "config/README.md", "docs/regression.md")}
    notebooks = [path.stem for path in (REPOSITORY / "workflow" / "notebooks").glob("*.py")]
    wanted = {
        "README.md": experiment_paths(REPOSITORY / "config"),
        "config/README.md": [*table_kinds(), *notebooks],
        "docs/regression.md": {*agent_names("corrected"), *agent_names("faithful")},
    }
    missing = [(file, name) for file, names in wanted.items() for name in names if f"`{name}`" not in texts[file]]
    assert missing == []


def test_prefetch_names_every_data_set_that_is_missing(monkeypatch, tmp_path):
    monkeypatch.delenv("BAYESGRID_MIRROR", raising=False)
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path))
    done = CliRunner().invoke(app, ["prepare", "parkinsons", "bimodal_sine", "sarcos"])
    assert isinstance(done.exception, DataError)
    assert "sarcos" in str(done.exception)
    assert "regression/parkinsons/parkinsons_updrs.data" in done.output
    assert (tmp_path / "data").is_dir(), "what can be had is prepared all the same"


@pytest.fixture
def searched_project(tmp_path):
    """A checkout's configuration with one hyperparameter search of seconds."""
    shutil.copytree(REPOSITORY / "config" / "presets", tmp_path / "config" / "presets")
    for name in ("datasets.yaml", "config.yaml"):
        shutil.copy(REPOSITORY / "config" / name, tmp_path / "config" / name)
    (tmp_path / "Snakefile").touch()
    experiments = tmp_path / "config" / "experiments"
    experiments.mkdir()
    (experiments / "small_search.yaml").write_text(
        "study: regression_search\ntitle: test\nseeds: 0-1\ngrid: {dataset: [bimodal_sine]}\n"
        "set:\n"
        "  labels: {initial: 20, budget: 20, validation_rows: 50}\n"
        "  network: {hidden: [8, 8], head_hidden: [8]}\n"
        "  training.max_epochs: 3\n"
        "  configurations: 4\n"
        "used_in: {tables: {found: {kind: hyperparameters}}}\n"
    )
    return tmp_path


def test_a_search_becomes_a_preset_that_experiments_of_the_loop_can_name(searched_project):
    at_project = ("--project", str(searched_project))
    early = CliRunner().invoke(app, ["preset", "--from", "small_search", *at_project])
    assert isinstance(early.exception, StateError)
    assert "1 of the 1 runs of 'small_search' are not finished" in str(early.exception)

    invoke("prepare", "bimodal_sine", *at_project)
    invoke("run", "--job", invoke("plan", "show", "", "-e", "small_search", "--job", *at_project).strip(), *at_project)
    invoke("table", "found", "-e", "small_search", *at_project)
    found = pd.read_csv(searched_project / "results" / "tables" / "found.csv")
    best = found.sort_values("validation_nll").iloc[0]

    printed = invoke("preset", "--from", "small_search", *at_project)
    (searched_project / "config" / "presets" / "found.yaml").write_text(printed)
    (searched_project / "config" / "experiments" / "loop.yaml").write_text(
        "study: regression\ntitle: test\nseeds: 0\npresets: [found]\n"
        "grid: {dataset: [bimodal_sine], agent: [random]}\nset: {labels: {initial: 20, budget: 50}}\n"
    )
    shown = json.loads(invoke("plan", "show", "", "-e", "loop", *at_project))
    for key in ("learning_rate", "weight_decay", "dropout"):
        assert shown["parameters"]["training"][key] == pytest.approx(best[key], rel=1e-12)


def test_a_preset_from_an_experiment_that_is_no_search_is_refused():
    done = CliRunner().invoke(app, ["preset", "--from", "demo"])
    assert isinstance(done.exception, ConfigurationError)
    assert "study regression_search" in str(done.exception)
