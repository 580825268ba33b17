"""``bayesgrid doctor``: what this machine has, and which experiments it can run."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

from bayesgrid.data.regression_tables import prepared_folder
from bayesgrid.errors import BayesgridError, ConfigurationError
from bayesgrid.grid.experiments import experiment_paths
from bayesgrid.grid.model_sources import (
    HubModelSource,
    PathModelSource,
    WheelFolderSource,
    WheelModelSource,
    load_model_catalog,
)
from bayesgrid.grid.parameters import unknown
from bayesgrid.grid.plan import Plan, make_plan
from bayesgrid.grid.sources import (
    ChoiceQuestionsEntry,
    DatasetEntry,
    FileSource,
    GeneratorSource,
    HubSource,
    MirrorSource,
    WheelSource,
    load_dataset_catalog,
)
from bayesgrid.grid.workflow_config import WorkflowConfig
from bayesgrid.models.label_tokens import labels_of_several_tokens
from bayesgrid.models.prepare import find_model

__all__ = ["examine"]

_HUB = ("huggingface.co", 443)


def examine(project: Path, settings: WorkflowConfig, experiments: Sequence[str] = ()) -> Iterator[str]:
    """Yield lines that say what was found, then one line per experiment: can run, or what is missing.

    How to get what is missing is said of the experiments that ``settings`` name, and counted for the others.

    Args:
        project: the checkout.
        settings: of the workflow.
        experiments: looks at these alone; by default at every experiment file.

    Raises:
        ConfigurationError: if there is no experiment of such a name.
    """
    known = experiment_paths(project / "config")
    for name in experiments:
        if name not in known:
            raise ConfigurationError(
                unknown("experiment", name, known),
                where=str(project / "config" / "experiments"),
                allowed=", ".join(known),
            )
    state_root = settings.state_path(project)
    gpus = _gpu_names()
    slurm = shutil.which("sbatch")
    mirror = settings.mirror_path(project)
    yield f"python     {sys.version.split()[0]}, torch {_version('torch')}, snakemake {_version('snakemake')}"
    yield f"cpu        {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB memory"
    yield f"gpu        {', '.join(gpus) if gpus else 'none'}"
    yield f"slurm      {slurm or 'not found: jobs run on this machine (--profile workflow/profiles/local)'}"
    yield f"disk       {shutil.disk_usage(project).free / 2**30:.0f} GiB free at {project}"
    yield f"state      {state_root}"
    yield f"hub        {_hub_line()}"
    yield f"mirror     {_mirror_line(mirror)}"
    yield "experiments (the hours are what a scheduler is asked to reserve, not how long the runs take)"
    wanted: dict[str, str] = {}
    others: dict[str, str] = {}
    for name in experiments or known:
        missing = wanted if experiments or name in settings.experiments else others
        yield f"  {name}: {_verdict(project, settings, name, bool(gpus) or slurm is not None, missing)}"
    yield from _remedies(wanted, sorted(set(others) - set(wanted)))


def _remedies(wanted: Mapping[str, str], others: Sequence[str]) -> Iterator[str]:
    if wanted:
        yield "data sets and base models not at hand"
        yield from (f"  {name}: {how}" for name, how in sorted(wanted.items()))
    if others:
        yield f"{len(others)} more that other experiments need; `bayesgrid doctor -e NAME` says how to get them"


def _verdict(project: Path, settings: WorkflowConfig, name: str, has_gpu: bool, missing: dict[str, str]) -> str:
    """Return whether experiment ``name`` can run, and add the data sets it lacks to ``missing``."""
    try:
        plan = make_plan(
            project / "config",
            [name],
            notebooks=project / "workflow" / "notebooks",
            models_root=settings.state_path(project) / "models",
        )
    except BayesgridError as error:
        return f"not usable: {error}"
    data, models = _lacking(project, settings, plan), _lacking_models(project, settings, plan)
    missing.update({**data, **models})
    obstacles = [
        f"no source of {kind} {', '.join(map(repr, names))} is at hand"
        for kind, names in (("data set", data), ("base model", models))
        if names
    ]
    obstacles += _unusable_labels(project, settings, plan)
    if not has_gpu and any(run.resources.gpu for run in plan.runs.values()):
        obstacles.append("needs a GPU")
    minutes = sum(run.resources.runtime for run in plan.runs.values())
    size = f"{len(plan.runs)} runs, {minutes / 60:.0f} job-hours reserved"
    return f"cannot run ({size}): {'; '.join(obstacles)}" if obstacles else f"can run ({size})"


def _lacking(project: Path, settings: WorkflowConfig, plan: Plan) -> dict[str, str]:
    """Return the data sets of ``plan`` that cannot be had, and what the user can do about each."""
    catalog = load_dataset_catalog(project / "config" / "datasets.yaml")
    return {
        name: catalog.entry(name).how_to_obtain(name) or "needs the hub"
        for name in plan.datasets()
        if not _at_hand(name, catalog.entry(name), project, settings)
    }


def _lacking_models(project: Path, settings: WorkflowConfig, plan: Plan) -> dict[str, str]:
    """Return the base models of ``plan`` that cannot be had, and what the user can do about each."""
    if not plan.models():
        return {}
    catalog = load_model_catalog(project / "config" / "models.yaml")
    mirror = settings.mirror_path(project)
    lacking: dict[str, str] = {}
    for name, revision in plan.models().items():
        entry = catalog.entry(name)
        own = [source.folder for source in entry.sources if isinstance(source, PathModelSource) and source.folder]
        served = any(isinstance(source, WheelModelSource | WheelFolderSource) for source in entry.sources) or (
            any(isinstance(source, HubModelSource) for source in entry.sources) and _hub_serves()
        )
        here = (settings.state_path(project) / "models" / f"{name}-{revision}" / "model.json").is_file()
        mirrored = mirror is not None and any((mirror / folder).is_dir() for folder in own)
        if not (here or served or mirrored or name in settings.user_files):
            fetch = f"run `bayesgrid prepare {name}` where the hub is reachable"
            lacking[name] = f"{fetch}, or name a folder that holds it under `user_files: {name}:`"
    return lacking


def _unusable_labels(project: Path, settings: WorkflowConfig, plan: Plan) -> list[str]:
    """Return what answers no prepared model of ``plan`` can give by one token, for each pair of model and data set."""
    catalog = load_dataset_catalog(project / "config" / "datasets.yaml")
    pairs = {
        (str(run.spec.model_name()), str(run.model_revision), name)
        for run in plan.runs.values()
        for name in (run.spec.dataset_names() if run.model_revision is not None else ())
    }
    found = []
    for model, revision, name in sorted(pairs):
        entry = catalog.entry(name)
        try:
            folder = find_model(settings.state_path(project) / "models", model, revision)
        except BayesgridError:
            continue
        labels = labels_of_several_tokens(folder, entry.labels) if isinstance(entry, ChoiceQuestionsEntry) else ()
        if labels:
            found.append(f"labels of {name!r} are no single token of {model!r}: {', '.join(labels)}")
    return found


def _at_hand(name: str, entry: DatasetEntry, project: Path, settings: WorkflowConfig) -> bool:
    folder = prepared_folder(settings.state_path(project) / "data", name, entry.data_version())
    if folder.is_dir() or name in settings.user_files:
        return True
    mirror = settings.mirror_path(project)
    for source in entry.sources:
        match source:
            # A wheel comes from the package index that the installation itself came from.
            case GeneratorSource() | WheelSource():
                return True
            case MirrorSource() if mirror and all((mirror / file.path).is_file() for file in source.files.values()):
                return True
            case HubSource() if _hub_serves():
                return True
            case MirrorSource() | HubSource() | FileSource():
                continue
    return False


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _gpu_names() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


@cache
def _reachable(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=3):
            return True
    except OSError:
        return False


def _hub_is_forbidden() -> bool:
    # The words that the hub's client takes for yes.
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _hub_serves() -> bool:
    return not _hub_is_forbidden() and _reachable(_HUB)


def _hub_line() -> str:
    if _hub_is_forbidden():
        return "not asked, because HF_HUB_OFFLINE is set: models and data must come from a mirror"
    return "reachable" if _reachable(_HUB) else "not reachable: models and data must come from a mirror"


def _mirror_line(mirror: Path | None) -> str:
    if mirror is None:
        return "none (set BAYESGRID_MIRROR, or `mirror` in config/config.yaml)"
    return str(mirror) if mirror.is_dir() else f"{mirror} does not exist"
