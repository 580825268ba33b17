"""Whether a folder that the user or the mirror has holds the model that the catalog means."""

import json
from pathlib import Path

from bayesgrid.data.checksums import verify_sha256
from bayesgrid.errors import DataError, StateError
from bayesgrid.grid.model_sources import HubModelSource, ModelEntry, WheelFolderSource
from bayesgrid.models.model_folder import weight_files

__all__ = ["RECORD_FILE", "check_own_folder"]

RECORD_FILE = "model.json"
"""Where the model came from and what its files are; written last, so a folder with it is complete."""

_HUB_METADATA = ".cache/huggingface/download"


def check_own_folder(folder: Path, entry: ModelEntry, home: Path) -> None:
    """Compare ``folder`` with what its entry, its own notes, and the record of an earlier use in ``home`` say of it.

    Raises:
        DataError: if it holds another revision, other weights than a source pins, or weights that changed.
        StateError: if its record is damaged.
    """
    _check_commit(folder, entry)
    _check_weights(folder, entry)
    _check_unchanged(folder, home / RECORD_FILE)


def _check_commit(folder: Path, entry: ModelEntry) -> None:
    """Compare what another preparation, or the hub's client, noted beside the weights, if it did, with the catalog."""
    record = folder / RECORD_FILE
    if record.is_file():
        noted = _noted_revision(record)
        if noted != entry.revision():
            raise DataError(
                "the folder was prepared from another revision of the model",
                where=str(record),
                given=noted,
                allowed=entry.revision(),
            )
    wanted = entry.weights or next((s.revision for s in entry.sources if isinstance(s, HubModelSource)), None)
    for path in weight_files(folder) if wanted is not None else []:
        note = folder / _HUB_METADATA / f"{path.name}.metadata"
        found = note.read_text(encoding="utf-8").splitlines()[:1] if note.is_file() else [wanted]
        if found != [wanted]:
            raise DataError(
                "the folder holds another revision of the model", where=str(path), given=found, allowed=wanted
            )


def _check_weights(folder: Path, entry: ModelEntry) -> None:
    """Compare the weights with the checksums of a source that gives one for each file."""
    checksums = next((source.files for source in entry.sources if isinstance(source, WheelFolderSource)), {})
    for path in weight_files(folder):
        verify_sha256(path, checksums.get(path.name), remedy="the folder holds other weights than the catalogue means")


def _noted_revision(record: Path) -> object:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StateError("the record of the model is damaged", where=str(record)) from error
    return content.get("revision") if isinstance(content, dict) else None


def _check_unchanged(folder: Path, record_file: Path) -> None:
    """Compare the weights in a user's folder with those recorded under this revision, which no checksum pins."""
    try:
        record = json.loads(record_file.read_text(encoding="utf-8"))
        recorded = {file: entry["sha256"] for file, entry in record["files"].items()}
        own = record["source"]["kind"] == "path"
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return
    for path in weight_files(folder) if own else []:
        verify_sha256(
            path,
            recorded.get(path.name),
            remedy="the weights changed since runs used them; give them a catalog entry of their own, or, if no result "
            f"with the earlier ones is to be kept, remove {record_file.parent}",
        )
