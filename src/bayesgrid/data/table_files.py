"""Reading tables of numbers from files that others wrote, with errors that name file, column and line."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgrid.errors import DataError

__all__ = ["integers", "labels", "numbers", "read_columns", "read_matrix", "read_unnamed_columns"]

_DAMAGED = "obtain the file again: it is damaged or was cut off"
_FIRST_DATA_LINE = 2


def read_columns(path: Path, columns: Sequence[str], *, others_allowed: bool = False) -> pd.DataFrame:
    """Read a comma-separated file (compressed if its name ends so) that has exactly ``columns``, as text.

    The columns may stand in any order; they are returned in the given one. With ``others_allowed`` the file may have
    further columns, which are left out.

    Raises:
        DataError: if the file is missing, empty, damaged, not text, or has other columns.
    """
    where = str(path)
    frame = _read_text(path, header=0)
    missing = [column for column in columns if column not in frame.columns]
    unexpected = [] if others_allowed else [column for column in frame.columns if column not in columns]
    if missing or unexpected:
        raise DataError(
            "the file has other columns",
            where=where,
            given=f"missing {missing}, unexpected {unexpected}",
            allowed=", ".join(columns),
            remedy="check that the file is the one the data set means",
        )
    if frame.empty:
        raise DataError("the file holds column names but no rows", where=where, remedy=_DAMAGED)
    return frame[list(columns)]


def read_unnamed_columns(path: Path) -> pd.DataFrame:
    """Read a comma-separated file without a line of names, as text; its columns are called 1, 2, ...

    Raises:
        DataError: if the file is missing, empty, damaged, not text, or has a line longer than the first.
    """
    frame = _read_text(path, header=None)
    return frame.set_axis(range(1, frame.shape[1] + 1), axis="columns")


def numbers(frame: pd.DataFrame, path: Path, *, first_line: int = _FIRST_DATA_LINE) -> NDArray[np.float64]:
    """Return the columns of ``frame`` as float64 ``[rows, columns]``, each the double nearest to what is written.

    ``first_line`` is the line of ``path`` that holds the first row: 2, or 1 for a file without names.

    Raises:
        DataError: at the first cell that is empty, not a number, or not finite, by column and line of ``path``.
    """
    values = np.empty(frame.shape, dtype=np.float64)
    for position, column in enumerate(frame.columns):
        values[:, position] = [_number(cell) for cell in frame[column]]
        broken = np.flatnonzero(~np.isfinite(values[:, position]))
        if broken.size:
            line = int(broken[0]) + first_line
            raise DataError(
                f"column {column!r}, line {line}: not a finite number ({broken.size} such cells in the column)",
                where=str(path),
                given=repr(frame[column].iloc[broken[0]]),
                remedy="the data sets have no missing values: check the file",
            )
    return values


def integers(frame: pd.DataFrame, column: str, path: Path) -> NDArray[np.int64]:
    """Return one column as int64 ``[rows]``.

    Raises:
        DataError: at the first cell that is not a whole number.
    """
    values = numbers(frame[[column]], path)[:, 0]
    broken = np.flatnonzero(values != np.round(values))
    if broken.size:
        line = int(broken[0]) + _FIRST_DATA_LINE
        raise DataError(
            f"column {column!r}, line {line}: not a whole number", where=str(path), given=float(values[broken[0]])
        )
    return values.astype(np.int64)


def labels(frame: pd.DataFrame, column: str, levels: Sequence[str], path: Path) -> NDArray[np.float64]:
    """Return one categorical column as 0/1 indicators ``[rows, levels]``.

    Raises:
        DataError: at the first cell that is none of ``levels``.
    """
    cells = frame[column].to_numpy(dtype=object)
    indicators = np.stack([cells == level for level in levels], axis=1)
    broken = np.flatnonzero(~indicators.any(axis=1))
    if broken.size:
        line = int(broken[0]) + _FIRST_DATA_LINE
        raise DataError(
            f"column {column!r}, line {line}: unknown level",
            where=str(path),
            given=repr(cells[broken[0]]),
            allowed=", ".join(levels),
        )
    return indicators.astype(np.float64)


def read_matrix(path: Path, variable: str, columns: int) -> NDArray[np.float64]:
    """Read one matrix ``[rows, columns]`` of a MATLAB file (version 7 or older).

    Raises:
        DataError: if the file cannot be read, lacks the variable, or the matrix has another width or a value that is
            not finite.
    """
    # Imported here because only this reader needs it and every planning command would pay for it.
    from scipy.io import loadmat

    where = f"{path}, variable {variable!r}"
    if not path.is_file():
        raise DataError("the file does not exist", where=str(path))
    try:
        variables = loadmat(path, variable_names=[variable])
    except Exception as error:
        # scipy lets errors of many kinds through for a damaged file.
        raise DataError(f"not a readable MATLAB file: {error}", where=str(path), remedy=_DAMAGED) from error
    if variable not in variables:
        raise DataError("the file has no such variable", where=where, remedy="check that it is the file that is meant")
    matrix = np.asarray(variables[variable])
    if matrix.ndim != 2 or matrix.shape[1] != columns or not matrix.size or matrix.dtype.kind not in "fiu":
        shape = " × ".join(str(length) for length in matrix.shape)
        raise DataError("the matrix has another shape", where=where, given=shape, allowed=f"rows × {columns} numbers")
    values = matrix.astype(np.float64)
    broken = np.argwhere(~np.isfinite(values))
    if broken.size:
        row, column = (int(index) + 1 for index in broken[0])
        raise DataError(f"row {row}, column {column}: not a finite number", where=where)
    return values


def _read_text(path: Path, *, header: int | None) -> pd.DataFrame:
    where = str(path)
    try:
        return pd.read_csv(
            path, header=header, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True
        )
    except pd.errors.EmptyDataError:
        raise DataError("the file is empty", where=where, remedy=_DAMAGED) from None
    except FileNotFoundError:
        raise DataError("the file does not exist", where=where) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DataError(f"the file cannot be read as a table: {error}", where=where, remedy=_DAMAGED) from error


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
