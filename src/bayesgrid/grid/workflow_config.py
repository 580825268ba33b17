"""The workflow's own settings, ``config/config.yaml`` and its siblings: what to build and where things live."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import Parameters, validate_parameters
from bayesgrid.grid.yaml_files import read_yaml

__all__ = ["Sharding", "Tracking", "WorkflowConfig", "find_project", "load_workflow_config"]


class Tracking(Parameters):
    """Where metrics go besides the run's own JSON-lines files."""

    wandb: Literal["disabled", "offline", "online"] = "disabled"
    """Whether finished runs are fed to Weights & Biases."""
    project: str = "bayesgrid"
    """Its project name."""


class Sharding(Parameters):
    """Base models that do not fit one card, and over how many processes each is divided."""

    processes: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Processes of a run, one per card, by model; one for models that are not named."""
    configuration: str = "config/deepspeed/zero3.json"
    """DeepSpeed's configuration, for stage 3."""

    def processes_of(self, model: str | None) -> int:
        """Return the number of processes of a run with base model ``model``."""
        return 1 if model is None else self.processes.get(model, 1)


class WorkflowConfig(Parameters):
    """What to build, and where data and state live."""

    experiments: list[str]
    """Experiments that the default target builds."""
    state_root: str = "results/state"
    """Folder of checkpoints, adapters and attempt logs; a shared folder gives reuse across checkouts and people."""
    mirror: str | None = None
    """Local mirror of data files; the environment variable ``BAYESGRID_MIRROR`` wins over it."""
    user_files: dict[str, str] = {}
    """Own copies of data files, by data set name."""
    tracking: Tracking = Tracking()
    sharding: Sharding = Sharding()
    """Never part of a run's identity: results are those of one process but for float rounding."""

    def state_path(self, project: Path) -> Path:
        """Return the state root; ``BAYESGRID_STATE_ROOT`` wins, a relative one is taken from the project folder."""
        return project / Path(os.environ.get("BAYESGRID_STATE_ROOT", self.state_root)).expanduser()

    def mirror_path(self, project: Path) -> Path | None:
        """Return the mirror, or None when none is configured."""
        mirror = os.environ.get("BAYESGRID_MIRROR") or self.mirror
        return project / Path(mirror).expanduser() if mirror else None

    def user_paths(self, project: Path) -> dict[str, Path]:
        """Return the user's own data files by data set."""
        return {name: project / Path(path).expanduser() for name, path in self.user_files.items()}


def load_workflow_config(source: Path | Mapping[str, Any]) -> WorkflowConfig:
    """Return the settings of a file, or of a mapping as Snakemake merged it.

    Raises:
        ConfigurationError: if a key is unknown or a value has the wrong type.
    """
    if isinstance(source, Path):
        return validate_parameters(WorkflowConfig, read_yaml(source), where=str(source))
    return validate_parameters(WorkflowConfig, dict(source), where="workflow configuration")


def find_project(start: Path | None = None) -> Path:
    """Return the nearest folder at or above ``start`` that holds a ``Snakefile`` and ``config/experiments``.

    Raises:
        ConfigurationError: if there is none.
    """
    origin = (start or Path.cwd()).resolve()
    for folder in (origin, *origin.parents):
        if (folder / "config" / "experiments").is_dir() and (folder / "Snakefile").is_file():
            return folder
    raise ConfigurationError(
        "not inside a bayesgrid project (a folder with Snakefile and config/experiments)",
        where=str(origin),
        remedy="change to the checkout, or name it with --project",
    )
