"""Predicted class probabilities and labels that a metric can trust, and the confidence in the class they favour."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array

__all__ = [
    "IntegerArray",
    "TopLabel",
    "checked_class_labels",
    "checked_class_probabilities",
    "checked_confidence",
    "top_label",
]

IntegerArray: TypeAlias = npt.NDArray[np.int64]

SUM_TOLERANCE = 1e-4
"""How far probabilities may sum from 1; single-precision softmax stays within 1e-6."""


@dataclass(frozen=True)
class TopLabel:
    """The confidence in the predicted class and whether it was right."""

    confidence: FloatArray
    """``[N]``, the largest probability."""
    correct: FloatArray
    """``[N]``, 1 where the first class of the largest probability is the label, else 0."""


def top_label(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> TopLabel:
    """Return the confidence in, and the correctness of, the most probable class; ties go to the lower index.

    Args:
        probabilities: ``[N, K]``.
        labels: ``[N]``, integers from 0 to K - 1.

    Raises:
        DataError: as :func:`checked_class_probabilities` and :func:`checked_class_labels`.
    """
    table = checked_class_probabilities(probabilities)
    target = checked_class_labels(labels, table)
    correct = (table.argmax(axis=1) == target).astype(np.float64)
    # Rounding may leave a certain prediction a hair above 1.
    return TopLabel(confidence=np.minimum(table.max(axis=1), 1.0), correct=correct)


def checked_class_probabilities(probabilities: npt.ArrayLike) -> FloatArray:
    """Return probabilities ``[N, K]`` as float64, after checking them; they are not renormalised.

    Raises:
        DataError: for fewer than 2 classes, NaN, negative values, or rows that do not sum to 1 within 1e-4.
    """
    table = checked_array(probabilities, name="class probabilities", dimensions=2)
    if table.shape[1] < 2:
        raise DataError("a classification needs classes", given=f"{table.shape[1]} class", allowed="at least 2 classes")
    if (table < 0).any():
        raise DataError("a probability is negative", where="class probabilities", given=float(table.min()))
    error = np.abs(table.sum(axis=1) - 1)
    if (error > SUM_TOLERANCE).any():
        row = int(error.argmax())
        raise DataError(
            "probabilities do not sum to 1",
            where=f"class probabilities of example {row}",
            given=float(table[row].sum()),
            allowed=f"1 within {SUM_TOLERANCE}",
        )
    return table


def checked_class_labels(labels: npt.ArrayLike, probabilities: FloatArray) -> IntegerArray:
    """Return labels ``[N]`` as integers, after checking them against ``probabilities`` ``[N, K]``.

    Raises:
        DataError: for another number of labels, NaN, fractions, or labels outside 0 to K - 1.
    """
    values = checked_array(labels, name="labels", dimensions=1)
    examples, classes = probabilities.shape
    if values.size != examples:
        raise DataError("not one label an example", where="labels", given=values.size, allowed=examples)
    if (values != np.rint(values)).any() or (values < 0).any() or (values >= classes).any():
        raise DataError(
            "a label is not a class",
            where="labels",
            given=f"{values.min()} to {values.max()}",
            allowed=f"0..{classes - 1}",
        )
    return values.astype(np.int64)


def checked_confidence(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> TopLabel:
    """Return probabilities ``[N]`` and outcomes ``[N]`` as float64, after checking them.

    Raises:
        DataError: for NaN, unlike numbers, confidence outside [0, 1], or outcomes other than 0 and 1.
    """
    probability = checked_array(confidence, name="confidence", dimensions=1)
    outcome = checked_array(correct, name="correct", dimensions=1)
    if probability.size != outcome.size:
        raise DataError("not one outcome a prediction", where="correct", given=outcome.size, allowed=probability.size)
    if (probability < 0).any() or (probability > 1).any():
        raise DataError(
            "a confidence is not a probability", given=f"{probability.min()} to {probability.max()}", allowed="0 to 1"
        )
    if ((outcome != 0) & (outcome != 1)).any():
        raise DataError("an outcome is neither right nor wrong", where="correct", allowed="0 or 1, False or True")
    return TopLabel(confidence=probability, correct=outcome)
