"""How the loops of this package are compiled."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["compiled"]

_Function = TypeVar("_Function", bound=Callable[..., object])

# Sums may be reordered and products contracted, which vectorises the loops. The assumptions that there are no NaN and
# no infinities are left out: a diverged network must come out as NaN and be counted, not as an arbitrary score.
_FLOATING_POINT_FREEDOM = {"reassoc", "contract", "arcp", "afn", "nsz"}


def compiled(function: _Function) -> _Function:
    """Compile ``function`` for one thread without the interpreter lock, once per machine (cached on disk)."""
    decorate = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FLOATING_POINT_FREEDOM)
    return cast(_Function, decorate(function))
