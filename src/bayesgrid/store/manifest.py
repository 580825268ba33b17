"""The manifest of a run, written where the job ran: code, packages, machine, time and memory."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from bayesgrid.store.process_memory import highest_resident_mb

__all__ = ["code_version", "environment_record", "peak_memory_mb"]


def environment_record() -> dict[str, Any]:
    """Return what identifies the code, the packages and the machine of this process."""
    return {
        "argv": sys.argv,
        "code": code_version(),
        "packages": _packages(),
        "python": platform.python_version(),
        "machine": {
            "host": platform.node(),
            "platform": platform.platform(),
            "cpu": _processor(),
            "cpu_count": os.cpu_count(),
            "gpus": _gpus(),
        },
        "slurm": {
            key.lower().removeprefix("slurm_"): value
            for key, value in sorted(os.environ.items())
            if key in {"SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST", "SLURM_RESTART_COUNT"}
        },
        "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def code_version() -> dict[str, Any]:
    """Return the git commit of the package's source and a hash of its uncommitted changes (None where unknown)."""
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "changes": None}
    difference = _git(folder, "diff", "HEAD", "--", str(folder.parent)) or ""
    return {"commit": commit, "changes": sha256(difference.encode()).hexdigest()[:16] if difference else None}


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB."""
    return round(highest_resident_mb(), 1)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            ["git", "-C", str(folder), *arguments],  # noqa: S607 (the git on the user's PATH is meant)
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def _packages() -> dict[str, str]:
    wanted = ("bayesgrid", "numpy", "scipy", "torch", "numba", "pandas", "pyarrow", "safetensors", "snakemake")
    versions = {}
    for name in (*wanted, "transformers", "peft", "bitsandbytes", "deepspeed"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _gpus() -> list[str]:
    # Only when the study has loaded torch already: a manifest must not cost two seconds of import.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
