"""The workflow on a real scheduler: disjoint GPUs, retries, a killed head process, and the documented command."""

import json
import os
import shutil
import signal
import subprocess
import time
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.project import REPOSITORY, Project

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

# Only the pace differs from the shipped profile: a test looks after 2 s, not after 20 s.
QUICK = (
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--seconds-between-status-checks",
    "2",
    "--latency-wait",
    "10",
)


@pytest.fixture
def project(slurm, tmp_path):
    """Return a fresh project whose jobs go to the private Slurm."""
    fresh = Project(tmp_path / "project").copy_workflow()
    fresh.environment.update(slurm.env, PATH=fresh.environment["PATH"], PYTHONPATH=fresh.environment["PYTHONPATH"])
    return fresh


def predictions(project):
    paths = sorted((project.folder / "results" / "runs").glob("*/*/predictions.parquet"))
    return pd.concat([pd.read_parquet(path).assign(run=path.parent.name) for path in paths], ignore_index=True)


def new_jobs(slurm, before):
    return [job for job in slurm.jobs() if job.number not in before]


def test_runs_that_overlap_in_time_have_different_gpus(slurm, project):
    before = {job.number for job in slurm.jobs()}
    project.experiment(methods="[a, b, c]", scales="[1.0]", values="{gpus: 1, walk.steps: 6, seconds_per_step: 1.0}")
    printed = project.snakemake(*QUICK, profile="slurm")
    assert "Using profile slurm" in printed
    runs = predictions(project).drop_duplicates("run")
    assert len(runs) == 3
    assert set(runs["gpu"]) <= {"0", "1", "2", "3"}
    overlapping = [
        (one, other)
        for one, other in combinations(runs.itertuples(), 2)
        if one.started < other.ended and other.started < one.ended
    ]
    assert overlapping, "the jobs were meant to run side by side"
    assert all(one.gpu != other.gpu for one, other in overlapping)
    assert [job.gpus for job in new_jobs(slurm, before)] == [1, 1, 1]
    manifest = json.loads(next((project.folder / "results" / "runs").glob("*/*/manifest.json")).read_text())
    assert manifest["slurm"]["job_id"].isdigit()
    assert project.jobs(profile="slurm") == {}


def test_a_failed_run_is_retried_with_twice_the_memory(slurm, project):
    before = {job.number for job in slurm.jobs()}
    project.experiment(methods="[a]", scales="[1.0]", values="{failing_attempts: 1}")
    project.snakemake(*QUICK, profile="slurm")
    jobs = new_jobs(slurm, before)
    assert [job.state for job in jobs] == ["FAILED", "COMPLETED"]
    assert [job.resources["mem"] for job in jobs] == ["500M", "1000M"]
    manifest = json.loads(next((project.folder / "results" / "runs").glob("*/*/manifest.json")).read_text())
    assert manifest["attempt"] == 2


def test_after_the_head_is_killed_nothing_is_computed_again(slurm, project):
    steps = 8
    values = f"{{walk.steps: {steps}, seconds_per_step: 1.0}}"
    project.experiment(methods="[a, b]", scales="[1.0]", values=values)
    command = ["snakemake", "--profile", "slurm", *QUICK]
    with (project.folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            command, cwd=project.folder, env=project.environment, stdout=log, stderr=log, start_new_session=True
        )
    state = project.folder / "results" / "state"
    deadline = time.monotonic() + 90
    while len(list(state.glob("*/tracking/walk.jsonl"))) < 2:
        assert time.monotonic() < deadline, (project.folder / "head.log").read_text()
        time.sleep(0.2)
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    project.snakemake("--unlock", profile="slurm")
    project.snakemake(*QUICK, profile="slurm")
    for path in state.glob("*/tracking/walk.jsonl"):
        logged = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert logged == list(range(steps)), "a step was computed twice"
    assert set(predictions(project)["computed_from_step"]) == {0}
    assert project.jobs(profile="slurm") == {}


def test_a_job_that_is_told_to_stop_saves_and_is_continued(slurm, project):
    before = {job.number for job in slurm.jobs()}
    steps = 12
    project.experiment(methods="[a]", scales="[1.0]", values=f"{{walk.steps: {steps}, seconds_per_step: 1.0}}")
    with (project.folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            ["snakemake", "--profile", "slurm", *QUICK],
            cwd=project.folder,
            env=project.environment,
            stdout=log,
            stderr=log,
        )
    state = project.folder / "results" / "state"
    deadline = time.monotonic() + 90
    while not list(state.glob("*/checkpoints/step-*2.safetensors")):
        assert time.monotonic() < deadline, (project.folder / "head.log").read_text()
        time.sleep(0.1)
    running = [job for job in new_jobs(slurm, before) if job.state == "RUNNING"]
    slurm.run("scancel", "--signal=TERM", f"{running[0].number}.0")
    assert head.wait(timeout=180) == 0, (project.folder / "head.log").read_text()
    assert predictions(project)["computed_from_step"].min() > 0
    assert len(new_jobs(slurm, before)) == 2
    metrics = pd.concat(map(pd.read_parquet, (project.folder / "results" / "runs").glob("*/*/metrics.parquet")))
    alone = Project(project.folder.parent / "alone").copy_workflow()
    alone.experiment(methods="[a]", scales="[1.0]", values=f"{{walk.steps: {steps}, seconds_per_step: 1.0}}")
    alone.snakemake("--until", "toy_run")
    uninterrupted = pd.concat(map(pd.read_parquet, (alone.folder / "results" / "runs").glob("*/*/metrics.parquet")))
    pd.testing.assert_frame_equal(metrics, uninterrupted, check_exact=True)


def test_the_documented_command_works_in_a_fresh_clone(slurm, tmp_path):
    clone = tmp_path / "clone"
    # CI checks out the very commit; a developer's uncommitted files are not what is cloned.
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True, timeout=120)
    project = Project(clone)
    project.environment.update(
        slurm.env, PATH=project.environment["PATH"], PYTHONPATH=project.environment["PYTHONPATH"]
    )
    (clone / "config" / "experiments" / "toy").mkdir()
    project.experiment(methods="[a]", scales="[1.0]", seeds="0-1")
    project.write("config/paper.yaml", "experiments: [toy]\n")
    printed = project.run("snakemake", "--profile", "slurm")
    assert "Using profile slurm" in printed
    assert len(project.published()) == 1
    assert (clone / "results" / "tables" / "toy_overview.md").is_file()


def test_the_profile_forbids_what_breaks_on_slurm():
    rules = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    for forbidden in ("retries:", "script:", "checkpoint ", "group:"):
        assert forbidden not in rules
    profile = (REPOSITORY / "workflow" / "profiles" / "slurm" / "config.yaml").read_text()
    assert "array" not in profile
    assert not (REPOSITORY / "workflow" / "profiles" / "default").exists()
    assert Path(os.readlink(REPOSITORY / "slurm")) == Path("workflow/profiles/slurm")
    assert shutil.which("snakemake")
