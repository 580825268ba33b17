"""The workflow on a real scheduler: disjoint GPUs, retries, a killed head process, and the documented command.

The executor looks at its first job after 40 s, whatever the profile says, so all scenarios run at once, each in a
project of its own; a test waits for its scenario and judges what is left of it.
"""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from tests.workflow.project import REPOSITORY, Project

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

STEPS = 8
SLOW = f"{{walk.steps: {STEPS}, seconds_per_step: 1.0}}"
# Only the pace differs from the shipped profile.
QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10")


class Scenario:
    """One project on the shared scheduler; its runs are told from others' by their ``method``."""

    def __init__(self, slurm, folder: Path, method: str) -> None:
        self.slurm = slurm
        self.method = method
        self.project = Project(folder)
        own = {name: self.project.environment[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS")}
        self.project.environment.update(slurm.env, **own)

    def jobs(self):
        """Return the Slurm jobs of this project, in order of submission."""
        return [job for job in self.slurm.jobs() if f"toy-{self.method}" in job.comment]

    def head(self) -> subprocess.Popen:
        """Start snakemake in the background, in a process group of its own."""
        with (self.project.folder / "head.log").open("a") as log:
            return subprocess.Popen(
                ["snakemake", "--profile", "slurm", *QUICK],
                cwd=self.project.folder,
                env=self.project.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for(self, pattern: str) -> None:
        """Wait until the state folder holds a file that fits ``pattern``."""
        deadline = time.monotonic() + 120
        while not list((self.project.folder / "results" / "state").glob(pattern)):
            assert time.monotonic() < deadline, (self.project.folder / "head.log").read_text()
            time.sleep(0.2)

    def read(self, name: str) -> pd.DataFrame:
        """Return one published Parquet file of every run, one below the other."""
        paths = sorted((self.project.folder / "results" / "runs").glob(f"*/*/{name}.parquet"))
        return pd.concat([pd.read_parquet(path).assign(run=path.parent.name) for path in paths], ignore_index=True)

    def manifest(self):
        """Return the manifest of the first run."""
        return json.loads(next((self.project.folder / "results" / "runs").glob("*/*/manifest.json")).read_text())


def happy_path(scenario):
    scenario.project.copy_workflow().experiment(
        methods=f"[{scenario.method}]", scales="[1.0, 2.0, 3.0]", values=SLOW.replace("{", "{gpus: 1, ")
    )
    return scenario.project.snakemake(*QUICK, profile="slurm")


def failing_once(scenario):
    scenario.project.copy_workflow().experiment(
        methods=f"[{scenario.method}]", scales="[1.0]", values="{failing_attempts: 1}"
    )
    return scenario.project.snakemake(*QUICK, profile="slurm")


def killed_head(scenario):
    scenario.project.copy_workflow().experiment(methods=f"[{scenario.method}]", scales="[1.0, 2.0]", values=SLOW)
    head = scenario.head()
    scenario.wait_for("*/tracking/walk.jsonl")
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    scenario.project.snakemake("--unlock", profile="slurm")
    return scenario.project.snakemake(*QUICK, profile="slurm")


def told_to_stop(scenario):
    scenario.project.copy_workflow().experiment(methods=f"[{scenario.method}]", scales="[1.0]", values=SLOW)
    head = scenario.head()
    scenario.wait_for("*/checkpoints/step-*2.safetensors")
    (running,) = scenario.jobs()
    scenario.slurm.run("scancel", "--signal=TERM", f"{running.number}.0")
    assert head.wait(timeout=240) == 0, (scenario.project.folder / "head.log").read_text()
    return ""


def fresh_clone(scenario):
    clone = scenario.project.folder
    # CI checks out the very commit; a developer's uncommitted files are not what is cloned.
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True, timeout=120)
    (clone / "config" / "experiments" / "toy").mkdir()
    scenario.project.experiment(methods=f"[{scenario.method}]", scales="[1.0]")
    scenario.project.write("config/paper.yaml", "experiments: [toy]\n")
    return scenario.project.run("snakemake", "--profile", "slurm")


SCENARIOS = {
    "gpu": happy_path,
    "retry": failing_once,
    "kill": killed_head,
    "stop": told_to_stop,
    "clone": fresh_clone,
}


@pytest.fixture(scope="module")
def outcome(slurm, tmp_path_factory):
    """Start all scenarios and return a function that waits for one: its scenario and what the last head printed."""
    root = tmp_path_factory.mktemp("scenarios")
    scenarios = {name: Scenario(slurm, root / name / "project", name) for name in SCENARIOS}
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        running = {name: pool.submit(play, scenarios[name]) for name, play in SCENARIOS.items()}
        yield lambda name: (scenarios[name], running[name].result(timeout=400))


def test_runs_that_overlap_in_time_have_different_gpus(outcome):
    scenario, printed = outcome("gpu")
    assert "Using profile slurm" in printed
    runs = scenario.read("predictions").drop_duplicates("run")
    assert len(runs) == 3
    assert set(runs["gpu"]) <= {"0", "1", "2", "3"}
    overlapping = [
        (one, other)
        for one, other in combinations(runs.itertuples(), 2)
        if one.started < other.ended and other.started < one.ended
    ]
    assert overlapping, "the jobs were meant to run side by side"
    assert all(one.gpu != other.gpu for one, other in overlapping)
    assert [job.gpus for job in scenario.jobs()] == [1, 1, 1]
    assert scenario.manifest()["slurm"]["job_id"].isdigit()
    assert scenario.project.jobs(profile="slurm") == {}


def test_a_failed_run_is_retried_with_twice_the_memory(outcome):
    scenario, _ = outcome("retry")
    assert [job.state for job in scenario.jobs()] == ["FAILED", "COMPLETED"]
    assert [job.resources["mem"] for job in scenario.jobs()] == ["500M", "1000M"]
    assert scenario.manifest()["attempt"] == 2


def test_after_the_head_is_killed_nothing_is_computed_again(outcome):
    scenario, _ = outcome("kill")
    streams = list((scenario.project.folder / "results" / "state").glob("*/tracking/walk.jsonl"))
    assert len(streams) == 2
    for path in streams:
        logged = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert logged == list(range(STEPS)), "a step was computed twice"
    assert set(scenario.read("predictions")["computed_from_step"]) == {0}
    assert scenario.project.jobs(profile="slurm") == {}


def test_a_job_that_is_told_to_stop_saves_and_is_continued(outcome, tmp_path):
    scenario, _ = outcome("stop")
    assert scenario.read("predictions")["computed_from_step"].min() > 0
    assert [job.state for job in scenario.jobs()] == ["FAILED", "COMPLETED"]
    alone = Project(tmp_path / "alone").copy_workflow()
    alone.experiment(methods="[stop]", scales="[1.0]", values=SLOW)
    alone.snakemake("--until", "toy_run")
    assert scenario.project.published() == alone.published()


def test_the_documented_command_works_in_a_fresh_clone(outcome):
    scenario, printed = outcome("clone")
    assert "Using profile slurm" in printed
    assert len(scenario.project.published()) == 1
    assert (scenario.project.folder / "results" / "tables" / "toy_overview.md").is_file()


def test_the_profile_and_rules_keep_away_from_what_breaks_on_slurm():
    rules = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
    for forbidden in ("retries:", "script:", "checkpoint ", "group:"):
        assert forbidden not in rules
    assert "array" not in (REPOSITORY / "workflow" / "profiles" / "slurm" / "config.yaml").read_text()
    assert not (REPOSITORY / "workflow" / "profiles" / "default").exists()
    assert (REPOSITORY / "slurm").readlink() == Path("workflow/profiles/slurm")
