"""How the loops of this package are compiled."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["compiled"]

_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(function: _Function) -> _Function:
    """Compile ``function`` for one thread, once per machine (cached on disk), with strict IEEE arithmetic.

    Nothing may be reordered or contracted: an element then has the same bits wherever it lies in an array, which is
    what makes a seed's fit independent of the seeds beside it.
    """
    return cast(_Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
