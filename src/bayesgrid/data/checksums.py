"""SHA-256 of files, and the error when a file is not the one that was meant."""

import hashlib
from pathlib import Path

from bayesgrid.errors import DataError

__all__ = ["sha256_of_file", "verify_sha256"]


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of the file's bytes as 64 hexadecimal digits.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=str(path)) from error


def verify_sha256(path: Path, expected: str | None, *, remedy: str) -> str:
    """Return the checksum of ``path`` after comparing it with ``expected``, if one is given.

    Raises:
        DataError: if they differ or the file cannot be read.
    """
    found = sha256_of_file(path)
    if expected is not None and found != expected:
        raise DataError(
            "the file is not the one the catalog means: its SHA-256 differs",
            where=str(path),
            given=found,
            allowed=expected,
            remedy=remedy,
        )
    return found
