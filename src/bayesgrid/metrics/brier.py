"""The squared error of predicted class probabilities; a proper score, lower is better."""

import numpy as np
import numpy.typing as npt

from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.class_probabilities import checked_class_labels, checked_class_probabilities

__all__ = ["brier_score", "brier_scores"]


def brier_scores(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    """Return ``sum_k (p_k - [k = y])^2`` of each example, ``[N]``, between 0 and 2.

    The sum runs over all classes: with 2 classes it is twice the ``(p_1 - y)^2`` of binary forecasts.

    Args:
        probabilities: ``[N, K]``.
        labels: ``[N]``, integers from 0 to K - 1.

    Raises:
        DataError: for NaN, negative probabilities, rows that do not sum to 1, or labels that are no class.

    Source: Brier (1950), Verification of forecasts expressed in terms of probability.
    """
    table = checked_class_probabilities(probabilities)
    target = checked_class_labels(labels, table)
    of_label = table[np.arange(target.size), target]
    others = (table**2).sum(axis=1) - of_label**2
    return np.asarray((1 - of_label) ** 2 + np.maximum(others, 0.0), dtype=np.float64)


def brier_score(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the mean over examples of :func:`brier_scores`.

    Raises:
        DataError: as :func:`brier_scores`.
    """
    return float(brier_scores(probabilities, labels).mean())
