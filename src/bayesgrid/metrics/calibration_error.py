"""How far confidence is from the share of correct predictions, and how far it would be by chance.

All functions take a confidence and an outcome per prediction: the top label's of
:func:`~bayesgrid.metrics.class_probabilities.top_label`, or the probability of the positive class and the label. The
plain errors are biased upwards, since a calibrated model's bins too miss their confidence by chance: by about
``sum_b sqrt(2 n_b c_b (1 - c_b) / pi) / N``. Compare with :func:`calibration_test`, or use the debiased error.

- Naeini, Cooper & Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning.
- Nguyen & O'Connor (2015), Posterior calibration and exploratory analysis: bins of equal mass.
- Kumar, Liang & Ma (2019), Verified uncertainty calibration: the debiased estimator.
- Broecker & Smith (2007), Increasing the reliability of reliability diagrams: consistency resampling.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.class_probabilities import IntegerArray, checked_confidence

__all__ = [
    "CalibrationTest",
    "adaptive_bins",
    "adaptive_calibration_error",
    "calibration_test",
    "debiased_squared_calibration_error",
    "expected_calibration_error",
    "expected_calibration_error_under_calibration",
    "width_bins",
]

EXACT_BIN = 2000
"""Up to so many predictions in a bin the distribution of their outcomes is exact; cost grows with the square."""


@dataclass(frozen=True)
class CalibrationTest:
    """An estimate of miscalibration beside what a calibrated model with the same confidences would show."""

    observed: float
    null: FloatArray
    """``[B]``, the estimate on outcomes drawn with the stated confidences."""
    p_value: float
    """``(1 + #{null >= observed}) / (B + 1)``."""

    @property
    def excess(self) -> float:
        """The estimate less its mean under calibration; negative values are chance."""
        return self.observed - float(self.null.mean())


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> float:
    """Return ``sum_b n_b / N |accuracy_b - mean confidence_b|`` over bins of equal width.

    Bins are ``[b / bins, (b + 1) / bins)`` and a confidence of exactly 1 has a bin of its own, as in torchmetrics.
    Edges are in double precision: a single-precision confidence that falls on an edge may be binned otherwise there.

    Args:
        confidence: ``[N]``, in [0, 1].
        correct: ``[N]``, 0 or 1.
        bins: number of bins below 1.

    Raises:
        DataError: for no prediction, NaN, unlike numbers, values out of range, or fewer than 1 bin.
    """
    checked = checked_confidence(confidence, correct)
    return _binned_error(checked.confidence, checked.correct, width_bins(checked.confidence, bins))


def adaptive_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> float:
    """Return ``sum_b n_b / N |accuracy_b - mean confidence_b|`` over bins of equal mass.

    Bins are cut at the sorted confidences of rank ``floor(b N / bins) + 1``. Equal confidences share a bin, so that the
    error does not depend on the order of examples; ties therefore make bins of unlike mass, and fewer of them.

    Args:
        confidence: ``[N]``, in [0, 1].
        correct: ``[N]``, 0 or 1.
        bins: number of bins, at most N.

    Raises:
        DataError: for no prediction, NaN, unlike numbers, values out of range, fewer than 1 bin or more bins than
            predictions.
    """
    checked = checked_confidence(confidence, correct)
    return _binned_error(checked.confidence, checked.correct, adaptive_bins(checked.confidence, bins))


def debiased_squared_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = 15) -> float:
    """Return ``sum_b n_b / N ((accuracy_b - mean confidence_b)^2 - accuracy_b (1 - accuracy_b) / (n_b - 1))``.

    Unbiased for the squared calibration error between bins of equal mass; it can be negative, and then reads as 0. A
    bin is still an average, so errors of opposite sign within one stay hidden. A bin left with one prediction by ties
    joins its neighbour.

    Args:
        confidence: ``[N]``, in [0, 1].
        correct: ``[N]``, 0 or 1.
        bins: number of bins, at most N / 2.

    Raises:
        DataError: for no prediction, NaN, unlike numbers, values out of range, fewer than 1 bin or more than N / 2.

    Source: Kumar, Liang & Ma (2019), section 5; the correction is that of Broecker (2012), Estimating reliability
    and resolution of probability forecasts through decomposition of the empirical score.
    """
    checked = checked_confidence(confidence, correct)
    _check_bins(bins, checked.confidence.size // 2)
    index = _joined_with_neighbour(_equal_mass(checked.confidence, bins))
    counts = np.bincount(index)
    accuracy = np.bincount(index, weights=checked.correct) / counts
    gap = np.bincount(index, weights=checked.confidence - checked.correct) / counts
    return float(counts @ (gap**2 - accuracy * (1 - accuracy) / (counts - 1)) / counts.sum())


def expected_calibration_error_under_calibration(confidence: npt.ArrayLike, *, bins: int = 15) -> float:
    """Return the mean of :func:`expected_calibration_error` over outcomes drawn with the stated confidences.

    What a calibrated model with these predictions would show by chance; the error less this is the debiased error. In
    every bin ``E |Y - sum_i c_i|`` for the Poisson-binomial count Y of right predictions, exact by convolution, and by
    the normal approximation ``sqrt(2 sum_i c_i (1 - c_i) / pi)`` for more than 2,000 predictions in a bin.

    Args:
        confidence: ``[N]``, in [0, 1].
        bins: number of bins below 1.

    Raises:
        DataError: for no prediction, NaN, values out of range, or fewer than 1 bin.
    """
    values = np.asarray(confidence, dtype=np.float64)
    checked = checked_confidence(values, np.zeros(values.shape))
    index = width_bins(checked.confidence, bins)
    total = sum(_mean_absolute_gap(checked.confidence[index == place]) for place in np.unique(index))
    return float(total / checked.confidence.size)


def width_bins(confidence: FloatArray, bins: int) -> IntegerArray:
    """Return the bin of equal width of every confidence, ``[N]``, 0 to ``bins``; that of 1 is its own.

    Raises:
        DataError: for fewer than 1 bin.
    """
    _check_bins(bins)
    return np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="right").astype(np.int64) - 1


def adaptive_bins(confidence: FloatArray, bins: int) -> IntegerArray:
    """Return the bin of equal mass of every confidence, ``[N]``; equal confidences share one, so some may be empty.

    Raises:
        DataError: for fewer than 1 bin or more bins than predictions.
    """
    _check_bins(bins, confidence.size)
    return _equal_mass(confidence, bins)


def calibration_test(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    estimator: Callable[[FloatArray, FloatArray], float] = expected_calibration_error,
    replicates: int = 1000,
) -> CalibrationTest:
    """Return an estimate of miscalibration beside its null distribution by consistency resampling.

    Confidences are held fixed and outcomes redrawn, 1 with the stated confidence, independently. Broecker & Smith also
    redraw the confidences; held fixed, the null is that of the predictions at hand. It knows the examples as
    independent: outcomes of one group, such as questions on one passage, make the test claim too much.

    Args:
        confidence: ``[N]``, in [0, 1].
        correct: ``[N]``, 0 or 1.
        generator: source of the outcomes.
        estimator: maps confidences ``[N]`` and outcomes ``[N]`` to a number that miscalibration makes larger.
        replicates: outcomes drawn.

    Raises:
        DataError: for no prediction, NaN, unlike numbers, values out of range, or fewer than 1 replicate.
    """
    checked = checked_confidence(confidence, correct)
    if replicates < 1:
        raise DataError("no replicate", where="replicates", given=replicates, allowed="at least 1")
    observed = estimator(checked.confidence, checked.correct)
    null = np.empty(replicates)
    for replicate in range(replicates):
        outcomes = (generator.random(checked.confidence.size) < checked.confidence).astype(np.float64)
        null[replicate] = estimator(checked.confidence, outcomes)
    # Equal outcomes may be summed in another order; rounding must not make them count as smaller.
    exceeding = int((null >= observed - 1e-12).sum())
    return CalibrationTest(observed=observed, null=null, p_value=(1 + exceeding) / (replicates + 1))


def _binned_error(confidence: FloatArray, correct: FloatArray, index: IntegerArray) -> float:
    return float(np.abs(np.bincount(index, weights=correct - confidence)).sum() / confidence.size)


def _mean_absolute_gap(confidence: FloatArray) -> float:
    if confidence.size > EXACT_BIN:
        return float(np.sqrt(2 * (confidence * (1 - confidence)).sum() / np.pi))
    chances = np.ones(1)
    for probability in confidence:
        longer = np.zeros(chances.size + 1)
        longer[:-1] = chances * (1 - probability)
        longer[1:] += chances * probability
        chances = longer
    return float(chances @ np.abs(np.arange(chances.size) - confidence.sum()))


def _equal_mass(confidence: FloatArray, bins: int) -> IntegerArray:
    ordered = np.sort(confidence)
    cuts = np.unique(ordered[np.arange(1, bins) * ordered.size // bins])
    # Where the smallest value is a cut, nothing lies below it and bin 0 is empty.
    return np.searchsorted(cuts, confidence, side="right").astype(np.int64)


def _joined_with_neighbour(index: IntegerArray) -> IntegerArray:
    joined: list[int] = []
    group, size = 0, 0
    counts = np.bincount(index)
    for position, count in enumerate(counts):
        alone = count == 1 and position > 0
        if size >= 2 and not alone:
            group, size = group + 1, 0
        joined.append(group)
        size += int(count)
    return np.asarray(joined, dtype=np.int64)[index]


def _check_bins(bins: int, most: int | None = None) -> None:
    if bins < 1 or (most is not None and bins > most):
        allowed = "at least 1" if most is None else f"1 to {most}"
        raise DataError("not a number of bins", where="bins", given=bins, allowed=allowed)
