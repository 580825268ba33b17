"""The house stands: imports point downwards, types and lint are clean, no torchvision, no pickle."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["lint-imports"],
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "src", "tests", "benchmarks", "workflow/notebooks"],
        ["mypy"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_tools_find_nothing(command):
    environment = {**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [TOOLS / command[0], *command[1:]],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_torchvision_is_absent():
    # Only its CUDA builds exist on some indexes, and beside a CPU torch it breaks the import of transformers and peft.
    assert importlib.util.find_spec("torchvision") is None


@pytest.mark.parametrize(
    "forbidden", [r"\btorch\.load\(", r"\bpickle\b.*load", r"\beval\(", r"shell=True", r"np\.random\.seed"]
)
def test_the_source_keeps_away_from(forbidden):
    offenders = [
        str(path)
        for path in (REPOSITORY / "src").rglob("*.py")
        if re.search(forbidden, path.read_text(encoding="utf-8"))
    ]
    assert offenders == []


def test_the_lock_pins_every_direct_requirement_and_names_no_index():
    lock = (REPOSITORY / "envs" / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = {line.split("==")[0].lower().replace(".", "-") for line in lock.splitlines() if "==" in line}
    wanted = [
        re.split(r"[>=]", line)[0].strip().lower().replace(".", "-")
        for line in (REPOSITORY / "envs" / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert set(wanted) - pinned == {"torch"}
