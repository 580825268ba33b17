import os
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

SCRIPTS = Path(__file__).parent
GPUS = 4
CLIENT_SECONDS = 30
SYSTEM_CONFIGURATION = Path("/etc/slurm/slurm.conf")
FOLDER_PREFIX = "bayesgrid-slurm-"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")


@dataclass(frozen=True)
class SlurmJob:
    """One job as squeue shows it.

    ``resources`` are what it asks for besides GPUs, such as ``{"cpu": "1", "mem": "500M", "node": "1"}``.
    """

    number: int
    name: str
    state: str
    reason: str
    resources: dict[str, str]
    gpus: int
    comment: str


@dataclass(frozen=True)
class PrivateSlurm:
    """A running scheduler with four fake GPUs; ``env`` is the environment in which its clients reach it."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str | Path, seconds: float = CLIENT_SECONDS, **options) -> subprocess.CompletedProcess[str]:
        """Run a Slurm client, or a program that calls one, and return what it printed; a hang is an error."""
        options = {"env": self.env, "check": True, "capture_output": True, "text": True, **options}
        return subprocess.run([str(part) for part in command], timeout=seconds, **options)

    def squeue(self) -> list[SlurmJob]:
        """Return the jobs that wait or run."""
        return self._listed("--states=PENDING,RUNNING,COMPLETING,SUSPENDED,CONFIGURING")

    def jobs(self) -> list[SlurmJob]:
        """Return all jobs since the scheduler started, finished ones too."""
        return self._listed("--states=all")

    def _listed(self, states: str) -> list[SlurmJob]:
        widths = {
            "JobID": 12,
            "Name": 200,
            "State": 20,
            "Reason": 60,
            "tres-alloc": 200,
            "tres-per-node": 60,
            "tres-per-job": 60,
            "Comment": 200,
        }
        columns = ",".join(f"{column}:{width}" for column, width in widths.items())
        listed = []
        for line in self.run("squeue", "--noheader", "--sort=i", states, f"--Format={columns}").stdout.splitlines():
            cells, rest = [], line
            for width in widths.values():
                cells.append(rest[:width].strip().replace("(null)", "").replace("N/A", ""))
                rest = rest[width:]
            number, name, state, reason, allocated, per_node, per_job, comment = cells
            resources = dict(pair.split("=", 1) for pair in allocated.split(",") if "=" in pair)
            gpus = re.search(r"gpu(?::[a-z]\w*)?(?::(\d+))?", per_node or per_job)
            count = int(gpus[1] or 1) if gpus else 0
            listed.append(SlurmJob(int(number), name, state, reason, resources, count, comment))
        return listed


@pytest.fixture(scope="session")
def slurm():
    """A private Slurm for the session, stopped at its end; skipped where it cannot be had, unless CI demands it."""
    reason = _obstacle()
    if reason is not None:
        if os.environ.get("CI_REQUIRE_SLURM") == "1":
            pytest.fail(f"CI_REQUIRE_SLURM=1, but {reason}")
        pytest.skip(reason)
    # Only one instance at a time can be linked into /etc/slurm, whatever the number of pytest workers.
    with FileLock(Path(tempfile.gettempdir()) / "bayesgrid-slurm.lock", timeout=900):
        _stop_leftover()
        # Not pytest's own folder: a Unix socket's path has at most 107 characters.
        root = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        root.chmod(0o755)
        folder = root / "slurm"
        try:
            command = [SCRIPTS / "start_slurm.sh", folder, str(GPUS), *map(str, _free_ports(2))]
            started = subprocess.run(command, env=_outside_slurm(), capture_output=True, text=True, timeout=120)
            if started.returncode:
                pytest.fail(f"start_slurm.sh failed:\n{started.stdout}{started.stderr}")
            yield PrivateSlurm(folder, {**_outside_slurm(), "SLURM_CONF": str(folder / "slurm.conf")})
        finally:
            stopped = subprocess.run([SCRIPTS / "stop_slurm.sh", folder], capture_output=True, text=True, timeout=120)
            if stopped.returncode == 0:
                shutil.rmtree(root, ignore_errors=True)
        assert stopped.returncode == 0, stopped.stderr


def _stop_leftover() -> None:
    # A session that was killed could not stop its instance; the lock is ours now, so nobody uses it any more.
    if _is_ours(SYSTEM_CONFIGURATION):
        folder = SYSTEM_CONFIGURATION.readlink().parent
        subprocess.run([SCRIPTS / "stop_slurm.sh", folder], capture_output=True, timeout=120, check=False)


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and path.readlink().parent.parent.name.startswith(FOLDER_PREFIX)


def _obstacle() -> str | None:
    if os.geteuid() != 0:
        return "a private Slurm needs root"
    if SYSTEM_CONFIGURATION.exists() and not _is_ours(SYSTEM_CONFIGURATION):
        return f"this machine belongs to a Slurm cluster already: {SYSTEM_CONFIGURATION} exists"
    missing = _missing_programs()
    if missing and os.environ.get("BAYESGRID_INSTALL_SLURM") != "0" and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update", "-qq"], ["install", "-y", "-qq", "slurm-wlm", "munge"]):
            subprocess.run(["apt-get", *step], env=quiet, capture_output=True, timeout=600, check=False)
        missing = _missing_programs()
    return f"slurm-wlm and munge are not installed: no {', '.join(missing)}" if missing else None


def _missing_programs() -> list[str]:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


def _outside_slurm() -> dict[str, str]:
    # The tests may themselves run inside a job of a real cluster.
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
