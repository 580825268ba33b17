"""How loops are compiled, and where the machine code is kept.

Numba keeps compiled code beside the file of each function and compiles again when that file changes, but not when the
file of a function that it calls does: an edit would then leave its callers as they were. So the code is kept in a
folder that is named by a digest of every file with a compiled function.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled", "compiled_with"]

_Function = TypeVar("_Function", bound=Callable[..., object])

# Sums may be reordered and products contracted, which vectorises the loops. The assumptions that there are no NaN and
# no infinities are left out: a diverged network must come out as NaN and be counted, not as an arbitrary score.
_FLOATING_POINT_FREEDOM = {"reassoc", "contract", "arcp", "afn", "nsz"}
_PACKAGE = Path(__file__).parents[1]


def compiled(function: _Function) -> _Function:
    """Compile ``function`` for one thread without the interpreter lock, once per machine (kept on disk)."""
    return compiled_with(function, fastmath=_FLOATING_POINT_FREEDOM)


def compiled_with(function: _Function, **options: Any) -> _Function:
    """Compile ``function`` like :func:`compiled`, with strict arithmetic unless ``options`` of njit say otherwise."""
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(_folder(before))
    try:
        return cast(_Function, numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function))
    finally:
        settings.CACHE_DIR = before


@cache
def _folder(chosen: str) -> Path:
    """Return where machine code goes: below the folder that numba's setting names, the package, or the user's cache."""
    if chosen:
        base = Path(chosen)
    elif os.access(_PACKAGE, os.W_OK):
        base = _PACKAGE / "__pycache__"
    else:
        base = Path.home() / ".cache" / "bayesgrid"
    return base / f"compiled-{_digest_of_sources(_PACKAGE)}"


def _digest_of_sources(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if b"@compiled" in source or path == Path(__file__):
            digest.update(source)
    return digest.hexdigest()[:16]
