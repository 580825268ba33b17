"""The command line on the repository itself."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bayesgrid.cli import app
from bayesgrid.errors import ConfigurationError, DataError, StateError
from bayesgrid.grid.experiments import TableDefinition
from bayesgrid.reporting.tables import table_kinds

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
    printed = invoke("doctor")
    assert "demo: can run" in printed
    assert "balsa_laptop: cannot run" in printed
    assert "'parkinsons'" in printed
    for part in ("python", "cpu", "gpu", "slurm", "disk", "hub", "mirror"):
        assert f"{part} " in printed


def test_status_of_an_untouched_state_root_is_pending(monkeypatch, tmp_path):
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path))
    rows = json.loads(invoke("status", "-e", "balsa_paper", "--json"))
    assert len(rows) == 4 * 2 * 14 * 3 * 3
    assert not list(tmp_path.iterdir()), "looking must not write"


def test_table_kinds_of_experiment_files_are_those_of_reporting():
    kinds = TableDefinition.model_json_schema()["properties"]["kind"]["enum"]
    assert tuple(sorted(kinds)) == table_kinds()


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
