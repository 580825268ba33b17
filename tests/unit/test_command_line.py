"""The command line on the repository itself."""

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bayesgrid.cli import app
from bayesgrid.errors import DataError
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
    assert len(rows) == 576
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
