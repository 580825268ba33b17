"""Scores as functions of how often each example counts, for resampling by :mod:`bayesgrid.metrics.crossed_bootstrap`.

Each function here prepares one model's predictions once and returns a function from counts ``[B, N]`` to scores
``[B]``. Counts of 1 give the score of the module that defines it.
"""

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.calibration_error import adaptive_bins, expected_calibration_error_under_calibration, width_bins
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape
from bayesgrid.metrics.class_probabilities import IntegerArray, checked_confidence
from bayesgrid.metrics.crossed_bootstrap import ExampleStatistic

__all__ = [
    "adaptive_calibration_statistic",
    "calibration_statistic",
    "debiased_calibration_statistic",
    "mean_statistic",
    "risk_coverage_statistic",
    "roc_statistic",
    "selective_risk_statistic",
]


def mean_statistic(values: npt.ArrayLike) -> ExampleStatistic:
    """Return the mean of ``values`` ``[N]`` as a statistic.

    Raises:
        DataError: for no value, NaN or infinity.
    """
    scores = checked_array(values, name="values of examples", dimensions=1)
    return lambda counts: np.asarray(counts @ scores / counts.sum(axis=1), dtype=np.float64)


def calibration_statistic(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> ExampleStatistic:
    """Return the expected calibration error over bins of equal width as a statistic.

    Raises:
        DataError: as :func:`~bayesgrid.metrics.calibration_error.expected_calibration_error`.
    """
    checked = checked_confidence(confidence, correct)
    return _binned(checked.confidence - checked.correct, width_bins(checked.confidence, bins))


def debiased_calibration_statistic(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15
) -> ExampleStatistic:
    """Return the expected calibration error less its mean under calibration, which resampling holds fixed.

    Raises:
        DataError: as :func:`~bayesgrid.metrics.calibration_error.expected_calibration_error`.
    """
    error = calibration_statistic(confidence, correct, bins=bins)
    chance = expected_calibration_error_under_calibration(confidence, bins=bins)
    return lambda counts: error(counts) - chance


def adaptive_calibration_statistic(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15
) -> ExampleStatistic:
    """Return the calibration error over bins of equal mass as a statistic; resampling holds the bins fixed.

    Raises:
        DataError: as :func:`~bayesgrid.metrics.calibration_error.adaptive_calibration_error`.
    """
    checked = checked_confidence(confidence, correct)
    return _binned(checked.confidence - checked.correct, adaptive_bins(checked.confidence, bins))


def risk_coverage_statistic(confidence: npt.ArrayLike, loss: npt.ArrayLike) -> ExampleStatistic:
    """Return AURC as a statistic: the mean over examples of the risk among those at least as confident.

    Examples of equal confidence share their mean loss, and all copies of an example the risk after the last of them.

    Raises:
        DataError: as :func:`~bayesgrid.metrics.selective_prediction.area_under_risk_coverage`.
    """
    order, shared = _by_confidence(confidence, loss)

    def area(counts: FloatArray) -> FloatArray:
        drawn = np.take(counts, order, axis=1)
        kept = np.cumsum(drawn, axis=1)
        risk = np.cumsum(drawn * shared, axis=1) / np.maximum(kept, 1.0)
        return np.asarray((drawn * risk).sum(axis=1) / kept[:, -1], dtype=np.float64)

    return area


def selective_risk_statistic(confidence: npt.ArrayLike, loss: npt.ArrayLike, *, coverage: float) -> ExampleStatistic:
    """Return the mean loss of the share ``coverage`` of most confident predictions as a statistic.

    The last example counts in part where the share is no whole number of examples.

    Raises:
        DataError: as :func:`~bayesgrid.metrics.selective_prediction.risk_coverage_curve`, or for a coverage outside
            (0, 1].
    """
    if not 0 < coverage <= 1:
        raise DataError("not a coverage", where="coverage", given=coverage, allowed="above 0, at most 1")
    order, shared = _by_confidence(confidence, loss)
    # By parts: the sum of losses times examples taken is that of falls of the loss times examples taken so far.
    falls = shared - np.append(shared[1:], 0.0)

    def risk(counts: FloatArray) -> FloatArray:
        kept = np.cumsum(np.take(counts, order, axis=1), axis=1)
        wanted = coverage * kept[:, -1]
        return np.asarray(np.minimum(kept, wanted[:, None]) @ falls / wanted, dtype=np.float64)

    return risk


def roc_statistic(score: npt.ArrayLike, positive: npt.ArrayLike) -> ExampleStatistic:
    """Return the area under the ROC curve as a statistic; NaN for a resample with examples of one kind only.

    Args:
        score: ``[N]``, higher for positives.
        positive: ``[N]``, True for what is to be detected.

    Raises:
        DataError: for no example, NaN, or shapes that differ.
    """
    values = checked_array(score, name="score", dimensions=1)
    kinds = checked_array(positive, name="positive", dimensions=1) == 1
    same_shape(score=values, positive=kinds)
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    ties = starts.size < values.size
    is_positive = kinds[order].astype(np.float64)

    def area(counts: FloatArray) -> FloatArray:
        drawn = np.take(counts, order, axis=1)
        positives = drawn * is_positive
        negatives = drawn - positives
        if ties:
            positives = np.add.reduceat(positives, starts, axis=1)
            negatives = np.add.reduceat(negatives, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        ordered = np.einsum("bn,bn->b", positives, below)
        return np.where(pairs > 0, ordered / np.where(pairs > 0, pairs, 1.0), np.nan)

    return area


def _by_confidence(confidence: npt.ArrayLike, loss: npt.ArrayLike) -> tuple[IntegerArray, FloatArray]:
    """Return the order from the most confident example down, and the losses in it, shared by equal confidences."""
    score = checked_array(confidence, name="confidence", dimensions=1)
    losses = checked_array(loss, name="loss", dimensions=1)
    same_shape(confidence=score, loss=losses)
    order = np.argsort(-score, kind="stable")
    _, group, size = np.unique(-score[order], return_inverse=True, return_counts=True)
    return order, (np.bincount(group, weights=losses[order]) / size)[group]


def _binned(gap: FloatArray, index: IntegerArray) -> ExampleStatistic:
    by_bin = np.zeros((gap.size, int(index.max()) + 1))
    by_bin[np.arange(gap.size), index] = gap
    by_bin = by_bin[:, np.abs(by_bin).sum(axis=0) > 0]
    return lambda counts: np.asarray(np.abs(counts @ by_bin).sum(axis=1) / counts.sum(axis=1), dtype=np.float64)
