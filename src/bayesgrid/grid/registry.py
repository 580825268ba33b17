"""Which studies exist: the folders under ``bayesgrid.studies`` and the entry points other packages declare.

A study is found by its folder, so adding one touches no central file. Its ``spec.py`` is imported by name, which keeps
this floor free of imports from the floors above it.
"""

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from bayesgrid.errors import ConfigurationError, did_you_mean
from bayesgrid.grid.specification import RunSpec

__all__ = ["ENTRY_POINT_GROUP", "study_names", "study_specification"]

ENTRY_POINT_GROUP = "bayesgrid.studies"
"""Another package adds a study by an entry point of this group: ``name = "module"``, the module exporting ``SPEC``."""


@cache
def _modules() -> dict[str, str]:
    package = importlib.import_module("bayesgrid.studies")
    modules = {
        folder.name: f"bayesgrid.studies.{folder.name}.spec"
        for folder in pkgutil.iter_modules(package.__path__)
        if folder.ispkg
    }
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        modules.setdefault(entry.name, entry.value)
    return modules


def study_names() -> tuple[str, ...]:
    """Return the names of all studies, sorted."""
    return tuple(sorted(_modules()))


@cache
def study_specification(study: str) -> type[RunSpec]:
    """Return the run specification class of ``study``.

    Raises:
        ConfigurationError: if no such study exists, naming the nearest one.
    """
    modules = _modules()
    if study not in modules:
        raise ConfigurationError(
            "unknown study",
            given=study,
            allowed=", ".join(sorted(modules)),
            remedy=did_you_mean(study, modules),
        )
    specification: type[RunSpec] = importlib.import_module(modules[study]).SPEC
    return specification
