"""Where the files of a run are: published ones, declared to Snakemake, and private state that it never deletes."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunFolders", "run_folders"]


@dataclass(frozen=True)
class RunFolders:
    """The two folders of one run."""

    published: Path
    """``results/runs/<study>/<run>``: small files that tables are made from."""
    state: Path
    """``<state_root>/<run>``: checkpoints, finished results, failure record, logs of every attempt."""

    @property
    def lock(self) -> Path:
        """Return the file whose lock the computing process holds."""
        return self.state / "lock"

    @property
    def finished(self) -> Path:
        """Return the folder of finished results, complete as soon as it exists."""
        return self.state / "finished"

    @property
    def failure(self) -> Path:
        """Return the record of the last failed attempt."""
        return self.state / "failure.json"

    @property
    def waiting(self) -> Path:
        """Return the record of what a run waits for, such as labels by hand."""
        return self.state / "waiting.json"

    @property
    def attempt(self) -> Path:
        """Return the record of the process that computes the run; only one that was killed leaves it behind."""
        return self.state / "attempt.json"

    @property
    def logs(self) -> Path:
        """Return the folder with one log file per attempt."""
        return self.state / "logs"

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints."""
        return self.state / "checkpoints"

    @property
    def tracking(self) -> Path:
        """Return the folder of JSON-lines metrics."""
        return self.state / "tracking"


def run_folders(results: Path, state_root: Path, study: str, run: str) -> RunFolders:
    """Return the folders of run ``run`` of ``study``."""
    return RunFolders(published=results / "runs" / study / run, state=state_root / run)
