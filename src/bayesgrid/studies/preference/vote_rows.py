"""Rows of files of answers: CSV as pages and spreadsheets write it, or JSON lines."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bayesgrid.errors import DataError, did_you_mean

__all__ = ["REQUIRED_COLUMNS", "vote_rows"]

REQUIRED_COLUMNS = ("pair_id", "choice", "annotator")
_ENDINGS = (".csv", ".jsonl")
_LONGEST_CELL = 2**31 - 1


def vote_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the place, as file and line, and the cells of every row.

    Raises:
        DataError: if the file cannot be read, or lacks a column.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise DataError("a file of answers is CSV or JSON lines", where=str(path), allowed=" or ".join(_ENDINGS))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the file cannot be read: {error}", where=str(path), remedy="name a file that is saved as UTF-8"
        ) from error
    read = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    for line, row in read(path, text):
        yield f"{path}, line {line}", row


def _csv_rows(path: Path, text: str) -> list[tuple[int, Mapping[str, Any]]]:
    first = text.partition("\n")[0]
    # Spreadsheets of countries with a decimal comma separate cells by semicolons.
    delimiter = ";" if "," not in first and ";" in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, Mapping[str, Any]]] = []
    # Texts may stand beside the answers, longer than the module admits.
    earlier = csv.field_size_limit(_LONGEST_CELL)
    try:
        header = [name.strip() for name in next(reader, [])]
        _require_columns(header, f"{path}, line 1")
        start = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise DataError(
                    "the row has another number of cells than the header",
                    where=f"{path}, line {start}",
                    given=len(cells),
                    allowed=len(header),
                )
            if cells:
                rows.append((start, dict(zip(header, cells, strict=True))))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"the file is no CSV: {error}", where=f"{path}, line {reader.line_num}") from error
    finally:
        csv.field_size_limit(earlier)
    return rows


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        where = f"{path}, line {line}"
        try:
            row = json.loads(written)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the line is no JSON: {error}", where=where) from error
        if not isinstance(row, dict):
            raise DataError("the line is no object", where=where, given=type(row).__name__, allowed='{"pair_id": …}')
        _require_columns(list(row), where)
        yield line, row


def _require_columns(given: Sequence[str], where: str) -> None:
    lacking = [name for name in REQUIRED_COLUMNS if name not in given]
    if lacking:
        raise DataError(
            f"the column {lacking[0]!r} is missing",
            where=where,
            given=", ".join(given) or "nothing",
            allowed=", ".join(REQUIRED_COLUMNS) + ", and seconds, run, round, left, right",
            remedy=did_you_mean(lacking[0], given),
        )
