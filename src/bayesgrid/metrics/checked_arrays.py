"""Arrays that a metric can trust: of the right rank and shape, not empty, without NaN."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError

__all__ = ["FloatArray", "checked_array", "same_shape"]

FloatArray: TypeAlias = npt.NDArray[np.float64]


def checked_array(
    values: npt.ArrayLike, *, name: str, dimensions: int | None = None, finite: bool = True
) -> FloatArray:
    """Return ``values`` as float64, after checking them.

    Args:
        values: anything NumPy reads as numbers.
        name: what the values are, for the message.
        dimensions: required rank; None accepts every rank but 0.
        finite: refuse infinities too, not only NaN.

    Raises:
        DataError: if the array is empty, of another rank, not numeric, or holds NaN (or infinity).
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("not an array of numbers", where=name, given=str(error)) from None
    if array.ndim == 0 or (dimensions is not None and array.ndim != dimensions):
        allowed = "at least 1 dimension" if dimensions is None else f"{dimensions} dimension(s)"
        raise DataError("array of the wrong rank", where=name, given=f"shape {array.shape}", allowed=allowed)
    if array.size == 0:
        raise DataError("empty array", where=name, given=f"shape {array.shape}", allowed="at least one value")
    wrong = ~np.isfinite(array) if finite else np.isnan(array)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{int(wrong.sum())} of {array.size} values are not {'finite' if finite else 'numbers'}",
            where=name,
            given=f"{array[first]} at index {first}",
        )
    return array


def same_shape(**arrays: npt.NDArray[Any]) -> None:
    """Check that the named arrays have one shape.

    Raises:
        DataError: naming the arrays and their shapes.
    """
    if len({array.shape for array in arrays.values()}) > 1:
        given = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DataError("arrays of different shapes", given=given, allowed="one shape")
