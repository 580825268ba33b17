"""Obtaining a data set from the first source that works, checking it, and storing it in one form for all runs."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from bayesgrid.data.checksums import sha256_of_file, verify_sha256
from bayesgrid.data.choice_questions import IMAGES_FOLDER, QUESTIONS_FILE
from bayesgrid.data.preference_pairs import PAIRS_FILE
from bayesgrid.data.preference_preparation import check_pairs, load_pairs, store_pairs
from bayesgrid.data.prepared_folders import PROVENANCE_FILE, prepared_folder
from bayesgrid.data.question_preparation import (
    check_leaks,
    check_questions,
    draw_questions,
    load_questions,
    store_questions,
)
from bayesgrid.data.regression_tables import LOADERS, TABLE_FILE, bimodal_sine
from bayesgrid.data.source_files import UnavailableError, describe_files, source_paths, user_paths
from bayesgrid.data.table_preparation import check_table, store_table
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.grid.sources import (
    AnySource,
    BimodalSineSource,
    ChoiceQuestionsEntry,
    DatasetEntry,
    FileSource,
    GeneratorSource,
    PreferencePairsEntry,
    QuestionGeneratorSource,
    RegressionTableEntry,
)
from bayesgrid.store.atomic import write_json

__all__ = ["PreparedDataset", "prepare_dataset"]

logger = logging.getLogger(__name__)

_STORED_FILE = {"regression_table": TABLE_FILE, "choice_questions": QUESTIONS_FILE, "preference_pairs": PAIRS_FILE}


@dataclass(frozen=True)
class PreparedDataset:
    """A data set as it lies on disk, checked.

    Args:
        name: its name in the catalog.
        data_version: the catalog entry's ``data_version()``.
        folder: holds ``table.parquet``, ``questions.parquet`` or ``pairs.parquet``, and ``provenance.json``.
        provenance: the content of the latter.
    """

    name: str
    data_version: str
    folder: Path
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class _Obtained:
    rows: int
    origin: dict[str, Any]
    store: Callable[[Path], dict[str, Any]]


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
        with tempfile.TemporaryDirectory(prefix="bayesgrid-data-") as scratch:
            obtained = _obtain(name, entry, mirror, supplied, Path(scratch))
            provenance = _store(name, entry, obtained, folder)
    logger.info("prepared %s: %d rows from source %r", name, obtained.rows, obtained.origin["kind"])
    return PreparedDataset(name, entry.data_version(), folder, provenance)


def _find_prepared(name: str, entry: DatasetEntry, folder: Path, supplied: Path | None) -> PreparedDataset | None:
    try:
        provenance = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
        intact = sha256_of_file(folder / _STORED_FILE[entry.kind]) == provenance["parquet_sha256"]
        recorded = {role: file["sha256"] for role, file in provenance["source"].get("files", {}).items()}
        further = provenance.get("further_files", {})
        intact = intact and all(sha256_of_file(folder / file) == digest for file, digest in further.items())
        images = provenance.get("images", 0)
        intact = intact and (not images or sum(1 for _ in (folder / IMAGES_FOLDER).glob("[!.]*")) >= images)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        intact, recorded = False, {}
    if not intact:
        logger.warning("%s: damaged or cut off while being written; preparing it again", folder)
        return None
    if supplied is not None and entry.values_checksum() is None:
        source = next(source for source in entry.sources if isinstance(source, FileSource))
        for role, path in user_paths(name, source, supplied).items():
            # Without a checksum in the catalog the version cannot tell two files of a user apart; this does.
            verify_sha256(
                path,
                recorded.get(role, "a file of the record"),
                remedy=f"it changed since {folder} was made from it; {_unchecked(name)}",
            )
    return PreparedDataset(name, entry.data_version(), folder, provenance)


def _unchecked(name: str) -> str:
    return f"give its SHA-256 in the catalog entry of {name!r}, which makes it a version of its own"


def _obtain(name: str, entry: DatasetEntry, mirror: Path | None, supplied: Path | None, scratch: Path) -> _Obtained:
    reasons: list[str] = []
    for position, source in enumerate(entry.sources):
        if supplied is not None and not isinstance(source, FileSource):
            continue
        own_scratch = scratch / str(position)
        own_scratch.mkdir()
        try:
            return _read_source(name, entry, source, mirror, supplied, own_scratch)
        except DataError as error:
            if supplied is not None:
                raise
            if not isinstance(error, UnavailableError):
                logger.warning("data set %s, source %r cannot be used: %s", name, source.kind, error)
            reasons.append(f"{source.kind}: {error}")
    how = entry.how_to_obtain(name)
    raise DataError(
        f"data set {name!r} cannot be obtained from any of its sources",
        given=" | ".join(reasons),
        remedy=f"{how}; then run `bayesgrid prepare {name}`" if how else f"run `bayesgrid prepare {name}` again",
    )


def _read_source(
    name: str, entry: DatasetEntry, source: AnySource, mirror: Path | None, supplied: Path | None, scratch: Path
) -> _Obtained:
    origin: dict[str, Any] = source.model_dump(mode="json")
    paths: dict[str, Path] = {}
    if not isinstance(source, GeneratorSource):
        paths = source_paths(name, source, mirror, supplied, scratch)
        origin["files"] = describe_files(paths)
    if isinstance(entry, ChoiceQuestionsEntry):
        return _read_questions(name, entry, source, paths, origin, scratch)
    if isinstance(entry, RegressionTableEntry):
        return _read_table(name, entry, source, paths, origin)
    if isinstance(entry, PreferencePairsEntry):
        loaded = load_pairs(name, entry, source, paths)
        digest = check_pairs(name, entry, loaded)
        return _Obtained(loaded.pairs.count, origin, partial(store_pairs, entry, loaded, digest))
    raise TypeError(f"an entry of kind {entry.kind!r} cannot be prepared")


def _read_table(
    name: str, entry: RegressionTableEntry, source: AnySource, paths: dict[str, Path], origin: dict[str, Any]
) -> _Obtained:
    if isinstance(source, GeneratorSource):
        assert isinstance(source, BimodalSineSource)  # noqa: S101 - the only generator the entry admits
        table = bimodal_sine(source.parameters)
    else:
        table = LOADERS[source.loader](paths)
    check_table(name, entry, table)
    return _Obtained(table.rows, origin, partial(store_table, name, entry, table))


def _read_questions(
    name: str,
    entry: ChoiceQuestionsEntry,
    source: AnySource,
    paths: dict[str, Path],
    origin: dict[str, Any],
    scratch: Path,
) -> _Obtained:
    if isinstance(source, GeneratorSource):
        assert isinstance(source, QuestionGeneratorSource)  # noqa: S101 - the only generator the entry admits
        questions, packages = draw_questions(name, entry, source, scratch)
        origin["packages"] = packages
    else:
        questions = load_questions(name, entry, source.loader, paths, scratch)
    digest = check_questions(name, entry, questions)
    leaks = check_leaks(name, questions, entry.known_leaks)
    return _Obtained(questions.rows, origin, partial(store_questions, name, entry, questions, digest, leaks))


def _store(name: str, entry: DatasetEntry, obtained: _Obtained, folder: Path) -> dict[str, Any]:
    description = obtained.store(folder)
    provenance = {
        "dataset": name,
        "data_version": entry.data_version(),
        "source": obtained.origin,
        "parquet_sha256": sha256_of_file(folder / _STORED_FILE[entry.kind]),
        **description,
    }
    # Written last: a folder with this file is complete.
    write_json(folder / PROVENANCE_FILE, provenance)
    return provenance
