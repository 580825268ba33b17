"""Targets by name, partial tables, profiles, lint, and configuration errors before any job."""

import shutil
import subprocess

import pandas as pd
import pytest

from bayesgrid.grid.experiments import experiment_paths
from bayesgrid.grid.plan import make_plan
from tests.workflow.project import REPOSITORY, Project

pytestmark = pytest.mark.workflow


@pytest.fixture
def checkout(tmp_path):
    """Return the repository's own workflow and configuration, without any result."""
    project = Project(tmp_path / "checkout").copy_workflow()
    shutil.rmtree(project.folder / "config")
    shutil.copytree(REPOSITORY / "config", project.folder / "config")
    return project


@pytest.mark.parametrize("name", sorted(experiment_paths(REPOSITORY / "config")))
def test_every_experiment_has_a_dry_run(checkout, name):
    jobs = checkout.jobs("--config", f"experiments=[{name}]")
    plan = make_plan(checkout.folder / "config", [name])
    for study in {run.study for run in plan.runs.values()}:
        assert jobs[f"{study}_run"] == len(list(plan.of_study(study)))
    assert jobs["table"] == len(plan.tables)


def test_the_slurm_profile_plans_the_papers(checkout):
    printed = checkout.snakemake("-n", profile="slurm")
    assert "Using profile slurm" in printed
    assert "balsa_paper_summary" in printed


def test_the_workflow_is_lint_clean_and_formatted(checkout):
    checkout.run("snakemake", "--lint")
    checkout.run("snakefmt", "--check", "Snakefile", "workflow")


def test_the_catalog_entry_plans_the_same_jobs(checkout):
    assert checkout.jobs("-s", "workflow/Snakefile") == checkout.jobs()


def test_one_table_or_one_run_is_a_target(project):
    project.experiment(methods="[a, b]", scales="[1.0]")
    assert project.jobs("results/tables/toy_overview.parquet") == {"toy_run": 2, "table": 1}
    target = project.run("bayesgrid", "plan", "targets", "--where", "method=b").split()
    assert len(target) == 1
    assert project.jobs(*target) == {"toy_run": 1}
    project.snakemake(*target)
    assert len(project.published()) == 1


def test_partial_tables_show_what_is_missing_and_why(project):
    project.experiment(methods="[a, b]", scales="[1.0]", seeds="0-3", values="{failing_seed: 3}")
    project.snakemake(check=False)
    project.snakemake("partial")
    table = pd.read_parquet(project.folder / "results" / "partial" / "toy_overview.parquet")
    states = table.set_index("run_id")["state"]
    assert sorted(states) == ["done", "done", "failed:error", "failed:error"]
    assert all(("s2-3" in name) == (state != "done") for name, state in states.items())


def test_runs_that_others_need_are_computed_first(project):
    project.experiment(methods="[refined]", scales="[2.0]")
    assert project.jobs() == {"toy_run": 2, "table": 1, "claims": 1}
    project.snakemake()
    values = {
        name.split("-")[1]: pd.read_parquet(path / "metrics.parquet")["value"].tolist()
        for name, path in ((p.name, p) for p in (project.folder / "results" / "runs" / "toy").iterdir())
    }
    assert values["refined"] == pytest.approx([2 * value for value in values["base"]])


def test_data_are_prepared_once_and_read_by_version(project):
    project.experiment(methods="[a, b]", scales="[1.0]", values="{dataset: bimodal_sine}")
    assert project.jobs()["prepare_bimodal_sine"] == 1
    project.snakemake()
    assert project.jobs() == {}
    (folder,) = (project.folder / "results" / "state" / "data").glob("bimodal_sine-*")
    assert (folder / "table.parquet").is_file()


@pytest.mark.parametrize(
    ("file", "text", "fragments"),
    [
        ("config/config.yaml", "experiments: [toi]\n", ["unknown experiment", "did you mean 'toy'"]),
        ("config/config.yaml", "experiments: [toy]\nstate_rot: x\n", ["'state_rot'", "did you mean 'state_root'"]),
        ("config/config.yaml", "experiments: toy\n", ["'experiments'"]),
        (
            "config/experiments/toy/toy.yaml",
            "study: toy\ntitle: t\nseeds: 0-1\nset: {method: a, walk.stepz: 3}\n",
            ["'walk.stepz'", "did you mean 'walk.steps'"],
        ),
        (
            "config/experiments/toy/toy.yaml",
            "study: toy\ntitle: t\nseeds: 0-1\nset: {method: a, walk.scale: 1e-4x}\n",
            ["'walk.scale'", "1e-4x"],
        ),
        (
            "config/experiments/toy/toy.yaml",
            "study: toy\ntitle: t\nseeds: 0-1\nset: {method: a}\nused_in:\n  tables: {t: {kind: run_overview}}\n"
            "  figures: {f: {notebook: learning_curve, table: t}}\n",
            ["unknown notebook", "did you mean 'learning_curves'"],
        ),
    ],
)
def test_configuration_errors_come_before_any_job(project, file, text, fragments):
    project.write(file, text)
    printed = project.snakemake(check=False)
    for fragment in fragments:
        assert fragment in printed
    assert "Traceback" not in printed
    assert not (project.folder / "results").exists()


def test_the_command_line_ends_with_one_line_and_status_one(project):
    printed = project.run("bayesgrid", "plan", "show", "nothing", check=False)
    assert len(printed.strip().splitlines()) == 1
    assert "no run has this id" in printed


def test_a_value_that_no_run_has_chooses_nothing_silently(project):
    printed = project.run("bayesgrid", "plan", "targets", "--where", "method=bb", check=False)
    assert "no run has this value" in printed
    assert "did you mean 'b'" in printed


def test_the_ledger_looks_up_the_runs_of_experiments_outside_the_build(checkout):
    checkout.write("config/config.yaml", "experiments: [toy]\n")
    (checkout.folder / "config" / "experiments" / "toy").mkdir()
    checkout.experiment(methods="[a]", scales="[1.0]")
    checkout.snakemake()
    ledger = pd.read_csv(checkout.folder / "results" / "claims.csv").set_index("experiment")
    assert "pending" in ledger.loc["demo", "finding"].iloc[0]


def test_a_second_process_on_a_run_ends_with_one_line(project):
    project.experiment(methods="[a]", scales="[1.0]", seeds="0", values="{walk.steps: 30, seconds_per_step: 0.5}")
    name = project.run("bayesgrid", "plan", "targets").strip().split("/")[-2]
    job = project.run("bayesgrid", "plan", "show", name, "--job").strip()
    first = subprocess.Popen(["bayesgrid", "run", "--job", job], cwd=project.folder, env=project.environment)
    try:
        state = project.folder / "results" / "state" / name
        while not list(state.glob("checkpoints/*")):
            assert first.poll() is None
        printed = project.run("bayesgrid", "run", "--job", job, check=False)
        assert "another process computes this run" in printed
        assert "Traceback" not in printed
        assert "running" in project.run("bayesgrid", "status")
    finally:
        first.terminate()
        assert first.wait(timeout=60) == 85
    assert "failed: preempted" in project.run("bayesgrid", "status")


def test_a_damaged_checkpoint_ends_with_one_line_and_is_kept(project):
    project.experiment(methods="[a]", scales="[1.0]", seeds="0")
    name = project.run("bayesgrid", "plan", "targets").strip().split("/")[-2]
    job = project.run("bayesgrid", "plan", "show", name, "--job").strip()
    damaged = project.folder / "results" / "state" / name / "checkpoints" / "step-00000000.safetensors"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"rubbish")
    printed = project.run("bayesgrid", "run", "--job", job, check=False)
    assert "the checkpoint is damaged" in printed
    assert str(damaged) in printed.replace("\n", "")
    assert damaged.read_bytes() == b"rubbish"
    damaged.unlink()
    project.run("bayesgrid", "run", "--job", job)


def test_a_damaged_result_ends_with_one_line(project):
    project.experiment(methods="[a]", scales="[1.0]", seeds="0")
    project.snakemake("--until", "toy_run")
    (manifest,) = (project.folder / "results" / "runs").glob("*/*/manifest.json")
    manifest.write_text("{")
    printed = project.run("bayesgrid", "table", "toy_overview", check=False)
    assert str(manifest) in printed
    assert "Traceback" not in printed


def test_a_job_of_another_version_is_refused(project):
    project.experiment(methods="[a]", scales="[1.0]", seeds="0")
    name = project.run("bayesgrid", "plan", "targets").strip().split("/")[-2]
    job = project.run("bayesgrid", "plan", "show", name, "--job").strip()
    printed = project.run("bayesgrid", "run", "--job", job, check=False, TOY_REVISION="2")
    assert "does not belong to these parameters" in printed
    assert "failed: configuration" in project.run("bayesgrid", "status")
    assert isinstance(project, Project)
