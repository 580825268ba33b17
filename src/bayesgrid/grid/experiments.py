"""Experiment files: one file is one experiment, and it expands to the runs of a grid.

Precedence, later wins: defaults of the study's specification, ``set`` and ``overrides`` of the presets in order, the
file's own ``set``, the grid cell, the file's own ``overrides``.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from bayesgrid.errors import BayesgridError, ConfigurationError, did_you_mean
from bayesgrid.grid.parameter_keys import checked_keys
from bayesgrid.grid.parameters import (
    Parameters,
    flatten,
    leaf_keys,
    listed,
    located,
    nest,
    unknown,
    validate_parameters,
)
from bayesgrid.grid.registry import study_names, study_specification
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import RunSpec, parse_seeds, seed_blocks
from bayesgrid.grid.used_in import UsedIn
from bayesgrid.grid.yaml_files import read_yaml

__all__ = [
    "Experiment",
    "Override",
    "Preset",
    "expand",
    "experiment_paths",
    "experiments_naming",
    "load_experiment",
]


class Override(Parameters):
    """Values for the grid cells that match ``when``."""

    when: dict[str, Any]
    """Keys and the value, or list of values, that a cell must have."""
    set: dict[str, Any]
    """Values given to such cells."""


class Preset(Parameters):
    """Values that several experiments share, such as published hyperparameters per data set."""

    study: str
    source: str = ""
    """Where the values come from."""
    set: dict[str, Any] = {}
    overrides: list[Override] = []


class Experiment(Parameters):
    """The content of ``config/experiments/<study>/<name>.yaml``."""

    study: str
    """Which study the runs belong to."""
    title: str
    """One line for the reader of ``bayesgrid plan ls`` and of the report."""
    presets: list[str] = []
    """Stems of files in ``config/presets``, applied in order."""
    set: dict[str, Any] = {}
    """Values of all runs."""
    grid: dict[str, list[Any]] = {}
    """Axes: every combination of the listed values is a run."""
    seeds: Any
    """All seeds: ``0-29`` or a list."""
    seed_block: int = Field(default=10, ge=1)
    """Seeds computed together in one job; blocks are aligned, so seeds beyond full blocks only add jobs."""
    exclude: list[dict[str, Any]] = []
    """Cells left out: each entry names keys and the value, or list of values, of the cells it removes."""
    overrides: list[Override] = []
    """Values for some cells."""
    used_in: UsedIn = UsedIn()
    """Tables and figures made from the runs."""

    @field_validator("seeds")
    @classmethod
    def _readable_seeds(cls, value: Any) -> tuple[int, ...]:
        return parse_seeds(value)


def experiment_paths(config: Path) -> dict[str, Path]:
    """Return every experiment file under ``config/experiments`` by its stem.

    Raises:
        ConfigurationError: if two files share a stem.
    """
    paths: dict[str, Path] = {}
    for path in sorted((config / "experiments").rglob("*.yaml")):
        if path.stem in paths:
            raise ConfigurationError(
                "two experiment files have the same name", where=str(path), given=path.stem, allowed="unique names"
            )
        paths[path.stem] = path
    return paths


def load_experiment(config: Path, name: str) -> tuple[Experiment, Path]:
    """Return experiment ``name`` and the file it was read from.

    Raises:
        ConfigurationError: if there is no such file or it does not fit the schema.
    """
    paths = experiment_paths(config)
    if name not in paths:
        raise ConfigurationError(
            unknown("experiment", name, paths),
            where=str(config / "experiments"),
            allowed=listed(sorted(paths), name) or "(no experiment file)",
        )
    path = paths[name]
    experiment = validate_parameters(Experiment, read_yaml(path), where=str(path))
    if experiment.study not in study_names():
        raise ConfigurationError(
            unknown("study", experiment.study, study_names()),
            where=f"{path}, key 'study'",
            allowed=", ".join(study_names()),
        )
    return experiment, path


def experiments_naming(config: Path, what: Literal["table", "figure"], name: str) -> tuple[str, ...]:
    """Return the experiments that feed the table or figure ``name``; a file that cannot be read is passed over."""
    naming = []
    for stem in experiment_paths(config):
        try:
            used_in = load_experiment(config, stem)[0].used_in
        except BayesgridError:
            continue
        if name in (used_in.tables if what == "table" else used_in.figures):
            naming.append(stem)
    return tuple(naming)


def expand(experiment: Experiment, *, path: Path, config: Path, catalog: DatasetCatalog) -> list[RunSpec]:
    """Return the specification of every run of ``experiment``, in grid order, seeds in blocks.

    Raises:
        ConfigurationError: for a key the study does not have, an empty axis, an ``exclude`` or ``overrides`` entry that
            matches no cell, a value of the wrong type, or parameters that cannot work on their data.
    """
    specification = study_specification(experiment.study)
    where = f"{path}, experiment {path.stem!r}"
    known = [key for key in leaf_keys(specification) if key != "seeds"]

    presets = [_load_preset(config, name, experiment.study, where) for name in experiment.presets]
    base: dict[str, Any] = {}
    for preset, preset_path in presets:
        base.update(checked_keys(preset.set, known, f"{preset_path}, key 'set'"))
    own = checked_keys(experiment.set, known, f"{where}, key 'set'")
    axes = checked_keys(experiment.grid, known, f"{where}, key 'grid'")
    for key, values in axes.items():
        if not values:
            raise ConfigurationError(f"the grid axis {key!r} is empty", where=where, allowed="at least one value")
        if any(values.count(value) > 1 for value in values):
            raise ConfigurationError(f"the grid axis {key!r} repeats a value", where=where, given=values)

    preset_overrides = [
        (
            checked_keys(override.when, known, f"{p}, key 'overrides'"),
            checked_keys(override.set, known, f"{p}, key 'overrides'"),
        )
        for preset, p in presets
        for override in preset.overrides
    ]
    own_overrides = [
        (
            checked_keys(o.when, known, f"{where}, key 'overrides'"),
            checked_keys(o.set, known, f"{where}, key 'overrides'"),
        )
        for o in experiment.overrides
    ]
    excludes = [checked_keys(entry, known, f"{where}, key 'exclude'") for entry in experiment.exclude]

    defaults = _default_values(specification)
    used_excludes: set[int] = set()
    used_overrides: set[int] = set()
    specs: list[RunSpec] = []
    for cell in _cells(axes):
        values = {**base, **own, **cell}
        for when, update in preset_overrides:
            if _matches(when, {**defaults, **values}):
                values.update({key: value for key, value in update.items() if key not in own and key not in cell})
        matching = [i for i, entry in enumerate(excludes) if _matches(entry, {**defaults, **values})]
        if matching:
            used_excludes.update(matching)
            continue
        for i, (when, update) in enumerate(own_overrides):
            if _matches(when, {**defaults, **values}):
                used_overrides.add(i)
                values.update(update)
        cell_name = ", ".join(f"{key}={value}" for key, value in cell.items())
        for block in seed_blocks(experiment.seeds, experiment.seed_block):
            at = f"{where}, cell ({cell_name})" if cell_name else where
            spec = specification.from_parameters(nest({**values, "seeds": list(block)}), where=at)
            try:
                spec.check(catalog)
            except ConfigurationError as error:
                raise located(error, at) from None
            specs.append(spec)
    _all_used(experiment.exclude, used_excludes, f"{where}, key 'exclude'")
    _all_used([override.when for override in experiment.overrides], used_overrides, f"{where}, key 'overrides'")
    if not specs:
        raise ConfigurationError("the grid is empty: every cell is excluded", where=where)
    return specs


def _load_preset(config: Path, name: str, study: str, where: str) -> tuple[Preset, Path]:
    path = config / "presets" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in (config / "presets").glob("*.yaml"))
        raise ConfigurationError(
            "unknown preset",
            where=f"{where}, key 'presets'",
            given=name,
            allowed=", ".join(known) or "(no preset file)",
            remedy=did_you_mean(name, known),
        )
    preset = validate_parameters(Preset, read_yaml(path), where=str(path))
    if preset.study != study:
        raise ConfigurationError(
            "the preset belongs to another study", where=str(path), given=preset.study, allowed=study
        )
    return preset, path


def _default_values(specification: type[RunSpec]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in specification.model_fields.items():
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            values[name] = default.model_dump(mode="json") if isinstance(default, Parameters) else default
    return flatten(values)


def _cells(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for combination in itertools.product(*axes.values()):
        yield dict(zip(axes, combination, strict=True))


def _matches(when: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(
        values.get(key) in wanted if isinstance(wanted, list) else values.get(key) == wanted
        for key, wanted in when.items()
    )


def _all_used(entries: Sequence[Mapping[str, Any]], used: set[int], where: str) -> None:
    for index, entry in enumerate(entries):
        if index not in used:
            raise ConfigurationError("the entry matches no cell of the grid", where=where, given=dict(entry))
