"""Which rows of a table are equal."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["equal_row_classes"]


def equal_row_classes(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a class per row ``[n]`` such that two rows of ``rows [n, d]`` share it exactly when they are equal.

    Classes are numbered from 0 in the order in which they first appear.
    """
    # Adding zero turns -0.0 into 0.0: equal numbers then have equal bytes, and a row is compared as one item.
    contiguous = np.ascontiguousarray(rows, dtype=np.float64) + 0.0
    items = contiguous.view(np.dtype((np.void, contiguous.itemsize * contiguous.shape[1])))[:, 0]
    _, first, inverse = np.unique(items, return_index=True, return_inverse=True)
    renumbered = np.empty(first.size, dtype=np.int64)
    renumbered[np.argsort(first)] = np.arange(first.size)
    return renumbered[inverse]
