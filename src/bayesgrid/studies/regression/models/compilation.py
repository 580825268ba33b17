"""How the loops of this package are compiled."""

from collections.abc import Callable
from typing import TypeVar

from bayesgrid.acquisition.compilation import compiled_with

__all__ = ["compiled"]

_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(function: _Function) -> _Function:
    """Compile ``function`` for one thread, once per machine (kept on disk), with strict IEEE arithmetic.

    Nothing may be reordered or contracted: an element then has the same bits wherever it lies in an array, which is
    what makes a seed's fit independent of the seeds beside it.
    """
    return compiled_with(function)
