"""The state of each run, read from its folders without touching them."""

import json
import os
import platform
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
    state: Literal["done", "pending", "running", "interrupted", "failed", "waiting"]
    """``waiting``: a person has to do something, as give labels; ``message`` has that and the commands, a line each.
    ``interrupted``: its process ended without a word, as on ``kill -9`` or when the machine goes down."""
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

    A process that was killed leaves the record of its attempt behind. Its lock goes with it, unless a process that it
    started lives on, or the file system keeps no locks for processes; then the number of the process on this machine
    tells. Of a process on another machine the lock is believed.

    Raises:
        StateError: if its failure record, or that of what it waits for, cannot be read.
    """
    folders = run_folders(results, state_root, study, run)
    logs = sorted(folders.logs.glob("attempt-*.log"))
    log = logs[-1] if logs else None
    if folders.finished.is_dir() or (folders.published / "manifest.json").is_file():
        return RunStatus(run, "done", None, None, log)
    attempt = _attempt(folders)
    held = _is_held(folders)
    if held and not _ended_here(attempt):
        return RunStatus(run, "running", None, None, log)
    # Read again: the process may have ended in good order since.
    if attempt and attempt == _attempt(folders) and not _failed_since(folders):
        return RunStatus(run, "interrupted", None, _interruption(attempt, folders, held=held), log)
    if folders.failure.is_file():
        try:
            record = json.loads(folders.failure.read_text(encoding="utf-8"))
            return RunStatus(run, "failed", record["kind"], record["message"], log)
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"the failure record is damaged: {error}", where=str(folders.failure), remedy="delete the file"
            ) from None
    if folders.waiting.is_file():
        return RunStatus(run, "waiting", None, _awaited(folders), log)
    return RunStatus(run, "pending", None, None, log)


def _awaited(folders: RunFolders) -> str:
    try:
        record = json.loads(folders.waiting.read_text(encoding="utf-8"))
        return "\n".join([record["what"], *record["commands"]])
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"the record of what the run waits for is damaged: {error}",
            where=str(folders.waiting),
            remedy="delete the file and start the run again, which writes it anew",
        ) from None


def _attempt(folders: RunFolders) -> dict[str, Any]:
    """Return pid and host of the process that computes the run, or was killed while it did; empty if there is none."""
    try:
        record = json.loads(folders.attempt.read_text(encoding="utf-8"))
        return {"pid": int(record["pid"]), "host": str(record["host"])}
    except (OSError, ValueError, KeyError, TypeError):
        # Runs of earlier versions have no record, and one that was cut short says no more than its absence.
        return {}


def _ended_here(attempt: dict[str, Any]) -> bool:
    if not attempt or attempt["host"] != platform.node():
        return False
    try:
        os.kill(attempt["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _interruption(attempt: dict[str, Any], folders: RunFolders, *, held: bool) -> str:
    ended = f"process {attempt['pid']} on {attempt['host']} ended without a word"
    saved = folders.checkpoints.is_dir() and any(folders.checkpoints.iterdir())
    following = "the next run goes on from its checkpoint" if saved else "the next run goes on from the start"
    if not held:
        return f"{ended}; {following}"
    return f"{ended}, but {folders.lock} is still held: end what it started, or delete that file; then {following}"


def _failed_since(folders: RunFolders) -> bool:
    """Return whether a failure was recorded after the attempt began, as of a job that was refused before its run."""
    try:
        return folders.failure.stat().st_mtime_ns > folders.attempt.stat().st_mtime_ns
    except OSError:
        return False


def _is_held(folders: RunFolders) -> bool:
    if not folders.lock.is_file():
        return False
    lock = FileLock(folders.lock)
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
