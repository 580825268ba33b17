"""Folders of prepared data sets: where one version of a data set lies, and the record that makes it complete."""

import json
from pathlib import Path
from typing import Any

from bayesgrid.errors import DataError

__all__ = ["PROVENANCE_FILE", "prepared_folder", "read_provenance"]

PROVENANCE_FILE = "provenance.json"
"""Written last: a folder with this file is complete."""


def prepared_folder(data_root: Path, name: str, data_version: str) -> Path:
    """Return the folder below ``data_root`` that holds one version of a prepared data set."""
    return data_root / f"{name}-{data_version}"


def read_provenance(folder: Path, name: str) -> dict[str, Any]:
    """Return the record of the prepared data set ``name`` in ``folder``; it has the key ``parquet_sha256``.

    Raises:
        DataError: if the data set is not prepared, or its record is damaged.
    """
    remedy = f"run `bayesgrid prepare {name}`"
    try:
        provenance = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
        provenance["parquet_sha256"]
    except FileNotFoundError:
        raise DataError(f"data set {name!r} is not prepared", where=str(folder), remedy=remedy) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "the record of a prepared data set is damaged",
            where=str(folder / PROVENANCE_FILE),
            remedy=f"remove the folder and {remedy}",
        ) from error
    return dict(provenance)
