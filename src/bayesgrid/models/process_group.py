"""One run in several processes, which share out its frozen base and otherwise all do the same.

Every process goes through the whole run in step with the others, on all rows: only so are all present when the weights
of a layer are gathered. The first process is the run: it holds the lock, resumes, publishes. The others work on a copy
of its state in a temporary folder, which nobody reads. Nothing but weights and answers passes between them, so the
first one's results are those of a single process but for float rounding.
"""

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bayesgrid.models.sharded import join_processes
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import RunContext
from bayesgrid.store.layout import RunFolders
from bayesgrid.store.tracking import Tracker

__all__ = [
    "ProcessGroup",
    "agreed_values",
    "join_group",
    "launch_command",
]

_NOT_COPIED = ("lock", "logs", "unfinished", "failure.json")


def launch_command(processes: int, arguments: list[str]) -> list[str]:
    """Return the command that runs ``bayesgrid`` with ``arguments`` in that many processes of this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*launcher, "-m", "bayesgrid.cli", *arguments]


def agreed_values(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first process's ``values`` in every process; alone, the values themselves.

    Decisions that are made from them, when to stop say, are then the same everywhere.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    on_gpu = torch.distributed.get_backend() == "nccl"
    tensor = torch.from_numpy(values.copy()).to("cuda" if on_gpu else "cpu")
    torch.distributed.broadcast(tensor, src=0)
    shared: NDArray[np.float32] = tensor.cpu().numpy()
    return shared


def join_group(*, wait_seconds: float) -> "ProcessGroup":
    """Join the processes that were started with this one.

    Args:
        wait_seconds: how long the first one may wait for another run's lock, while the others wait for it.

    Raises:
        ConfigurationError: if DeepSpeed is not installed, or this process was not started in a group.
    """
    patience = timedelta(seconds=wait_seconds) + timedelta(minutes=30)
    join_processes("cuda" if torch.cuda.is_available() else "cpu", patience=patience)
    return ProcessGroup(torch.distributed.get_rank())


class ProcessGroup:
    """The processes of one run.

    Args:
        rank: of this process; 0 is the first.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._called = False

    def lead(self, work: Callable[[RunContext], Any]) -> Callable[[RunContext], Any]:
        """Return ``work`` for the first process: it calls the others to it, and begins when they have its state."""

        def together(context: RunContext) -> Any:
            self._called = True
            torch.distributed.broadcast_object_list([str(context.state)], src=0)
            torch.distributed.barrier()
            return work(context)

        return together

    def dismiss(self) -> None:
        """Let the others go, from the first process, if there was nothing to do; leave the group."""
        if not self._called:
            torch.distributed.broadcast_object_list([None], src=0)
        torch.distributed.destroy_process_group()

    def follow(self, run_id: str, work: Callable[[RunContext], Any]) -> None:
        """Do what the first process does, in any other one, on a copy of its state."""
        told: list[str | None] = [None]
        torch.distributed.broadcast_object_list(told, src=0)
        if told[0] is not None:
            # The first process saves a checkpoint on this signal, and needs the others until it has.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with tempfile.TemporaryDirectory() as own:
                folders = RunFolders(Path(own) / "published", Path(own) / "state")
                shutil.copytree(told[0], folders.state, ignore=shutil.ignore_patterns(*_NOT_COPIED))
                torch.distributed.barrier()
                checkpoints = CheckpointStore(folders.checkpoints, run_id)
                work(RunContext(run_id, folders.state, Tracker(folders.tracking), checkpoints))
        torch.distributed.destroy_process_group()
