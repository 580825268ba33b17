"""The demo, killed again and again, ends with the same bytes as the demo left alone."""

import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from tests.workflow.project import REPOSITORY, Project

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.timeout(3000)]

COMMAND = ["snakemake", "--profile", "workflow/profiles/local"]
KILLS = 5


def demo_project(folder):
    project = Project(folder).copy_workflow()
    shutil.rmtree(project.folder / "config")
    shutil.copytree(REPOSITORY / "config", project.folder / "config")
    if "BAYESGRID_MIRROR" in os.environ:
        project.environment["BAYESGRID_MIRROR"] = os.environ["BAYESGRID_MIRROR"]
    return project


def results(project):
    """Return the bytes of every product and of every published table of numbers."""
    root = project.folder / "results"
    names = ["tables/*", "claims.*", "figures/*", "runs/*/*/*.parquet"]
    return {str(path.relative_to(root)): path.read_bytes() for name in names for path in root.glob(name)}


def test_the_demo_survives_five_kills_to_the_byte(tmp_path):
    undisturbed = demo_project(tmp_path / "undisturbed")
    started = time.monotonic()
    undisturbed.run(*COMMAND, timeout=1500)
    duration = time.monotonic() - started

    killed = demo_project(tmp_path / "killed")
    seed = int(os.environ.get("BAYESGRID_KILL_SEED", time.time_ns() % 10**6))
    pauses = np.random.default_rng(seed).uniform(0.05, 0.3, KILLS) * duration
    with (killed.folder / "log").open("w") as log:
        for pause in pauses:
            head = subprocess.Popen(
                COMMAND, cwd=killed.folder, env=killed.environment, stdout=log, stderr=log, start_new_session=True
            )
            time.sleep(pause)
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
    killed.run(*COMMAND, timeout=1500)

    expected = results(undisturbed)
    found = results(killed)
    assert len(expected) > 40
    assert sorted(found) == sorted(expected)
    different = [name for name in expected if found[name] != expected[name]]
    assert different == [], f"BAYESGRID_KILL_SEED={seed}"
