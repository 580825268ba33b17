"""The state of each run, read from its folders without touching them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from bayesgrid.errors import StateError
from bayesgrid.store.layout import RunFolders, run_folders

__all__ = ["RunStatus", "run_status"]


@dataclass(frozen=True)
class RunStatus:
    """The state of one run."""

    run_id: str
    state: Literal["done", "pending", "running", "failed"]
    failure: str | None
    """Kind of the last failure: out_of_memory, disk_full, preempted, data, ..."""
    message: str | None
    log: Path | None
    """Log of the latest attempt."""

    def log_lines(self, count: int) -> list[str]:
        """Return the last ``count`` lines of the log."""
        if self.log is None or count <= 0:
            return []
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "run": self.run_id,
            "state": self.state,
            "failure": self.failure,
            "message": self.message,
            "log": str(self.log) if self.log else None,
        }


def run_status(results: Path, state_root: Path, study: str, run: str) -> RunStatus:
    """Return the state of run ``run``; a run whose lock another process holds is running.

    Raises:
        StateError: if its failure record cannot be read.
    """
    folders = run_folders(results, state_root, study, run)
    logs = sorted(folders.logs.glob("attempt-*.log"))
    log = logs[-1] if logs else None
    if folders.finished.is_dir() or (folders.published / "manifest.json").is_file():
        return RunStatus(run, "done", None, None, log)
    if _is_held(folders):
        return RunStatus(run, "running", None, None, log)
    if folders.failure.is_file():
        try:
            record = json.loads(folders.failure.read_text(encoding="utf-8"))
            return RunStatus(run, "failed", record["kind"], record["message"], log)
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"the failure record is damaged: {error}", where=str(folders.failure), remedy="delete the file"
            ) from None
    return RunStatus(run, "pending", None, None, log)


def _is_held(folders: RunFolders) -> bool:
    if not folders.lock.is_file():
        return False
    lock = FileLock(folders.lock)
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
