"""Rows of the files that questions are published in (JSON lines, JSON, Parquet, Arrow), and the images inside them."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bayesgrid.errors import DataError

__all__ = ["read_rows", "store_image", "value_of"]

Row = dict[str, Any]

_ENDINGS = {"JPEG": "jpg", "PNG": "png"}


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a ``.jsonl``, ``.json``, ``.parquet`` or ``.arrow`` file, each with at least ``columns``.

    Raises:
        DataError: if the file is damaged or a row lacks a column.
    """
    try:
        if path.suffix == ".parquet":
            present = pq.read_schema(path).names
            rows = pq.read_table(path, columns=[name for name in columns if name in present]).to_pylist()
        elif path.suffix == ".arrow":
            with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
                rows = stream.read_all().to_pylist()
        elif path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        else:
            rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"the file cannot be read: {error}", where=str(path)) from error
    for number, row in enumerate(rows, start=1):
        lacking = [column for column in columns if column not in row]
        if lacking:
            raise DataError(
                f"row {number} has no column {lacking[0]!r}",
                where=str(path),
                given=", ".join(row),
                allowed=", ".join(columns),
            )
    return list(rows)


def value_of(row: Row, column: str, allowed: Sequence[Any], path: Path) -> int:
    """Return the place among ``allowed`` of what ``row`` has in ``column``.

    Raises:
        DataError: if it is none of them.
    """
    try:
        return list(allowed).index(row[column])
    except ValueError:
        raise DataError(
            f"column {column!r} has an unknown value",
            where=str(path),
            given=repr(row[column]),
            allowed=", ".join(map(str, allowed)),
        ) from None


def store_image(content: bytes, folder: Path, *, where: str) -> str:
    """Write an image, unchanged, into ``folder`` under a name made of its checksum, and return the name.

    Equal images get equal names, so that a leak check by name finds them.

    Raises:
        DataError: if it is no image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            ending = _ENDINGS.get(image.format or "", (image.format or "image").lower())
    except OSError as error:
        raise DataError(f"not an image: {error}", where=where) from error
    name = f"{hashlib.sha256(content).hexdigest()[:20]}.{ending}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / name).is_file():
        (folder / name).write_bytes(content)
    return name
