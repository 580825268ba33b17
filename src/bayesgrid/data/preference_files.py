"""Rows of the files that preferences are published in: JSON lines, JSON, CSV (also gzip or xz), and Parquet."""

import csv
import gzip
import json
import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from bayesgrid.errors import DataError

__all__ = ["Row", "read_rows"]

Row: TypeAlias = dict[str, Any]

_PACKED = (".gz", ".xz")
_BATCH = 1024


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Yield (number, row) of each row of a file, numbered from 1, each with at least ``columns``.

    The ending says what the file is: ``.jsonl``, ``.json`` (a list of objects), ``.csv`` or ``.parquet``; all but the
    last may end in ``.gz`` or ``.xz`` besides. Rows are read as they are asked for, but for JSON.

    Raises:
        DataError: if the file is damaged, or a row is no object or lacks a column.
    """
    for number, row in enumerate(_readable(path), start=1):
        if not isinstance(row, dict):
            raise DataError(
                f"row {number} is no object", where=str(path), given=type(row).__name__, allowed="column: value"
            )
        lacking = [column for column in columns if column not in row]
        if lacking:
            raise DataError(
                f"row {number} has no column {lacking[0]!r}",
                where=str(path),
                given=", ".join(map(str, row)),
                allowed=", ".join(columns),
            )
        yield number, row


def _readable(path: Path) -> Iterator[Any]:
    number = 0
    try:
        for row in _rows(path):
            number += 1
            yield row
    except DataError:
        raise
    except (OSError, EOFError, ValueError, lzma.LZMAError, csv.Error, pa.ArrowException) as error:
        raise DataError(f"the file cannot be read after row {number}: {error}", where=str(path)) from error


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(_BATCH):
            yield from batch.to_pylist()
        return
    with _open(path) as text:
        match Path(path.stem).suffix if path.suffix in _PACKED else path.suffix:
            case ".jsonl":
                yield from (json.loads(line) for line in text if line.strip())
            case ".csv":
                yield from csv.DictReader(text)
            case _:
                content = json.load(text)
                if not isinstance(content, list):
                    raise DataError(
                        "the file holds no list of rows", where=str(path), given=type(content).__name__, allowed="[...]"
                    )
                yield from content


def _open(path: Path) -> IO[str]:
    match path.suffix:
        case ".gz":
            return gzip.open(path, "rt", encoding="utf-8", newline="")
        case ".xz":
            return lzma.open(path, "rt", encoding="utf-8", newline="")
        case _:
            return path.open(encoding="utf-8", newline="")
