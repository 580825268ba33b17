"""Scores of predicted preferences as functions of how often each pair counts, for resampling.

Counts of 1 give the scores of :func:`~bayesgrid.metrics.preference_scores.preference_metrics`.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import special

from bayesgrid.errors import DataError
from bayesgrid.metrics.calibration_error import adaptive_bins
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape
from bayesgrid.metrics.crossed_bootstrap import ExampleStatistic
from bayesgrid.metrics.example_statistics import mean_statistic, risk_coverage_statistic, roc_statistic
from bayesgrid.metrics.preference_scores import CALIBRATION_BINS

__all__ = ["preference_statistics"]

SMALLEST_PROBABILITY = 1e-12


def preference_statistics(probability: npt.ArrayLike, target: npt.ArrayLike) -> Mapping[str, ExampleStatistic]:
    """Return each metric of predicted preferences, by name, as a statistic of counts ``[B, N]``.

    Bins of the calibration error are those of the pairs as they are; resampling holds them fixed.

    Args:
        probability: ``[N]``, that the first is preferred.
        target: ``[N]``, 1 where it is, 0 where it is not, or between.

    Raises:
        DataError: for NaN, unlike numbers, values outside [0, 1], or no decided label.
    """
    p, y = checked_array(probability, name="probability"), checked_array(target, name="target")
    same_shape(probability=p, target=y)
    for name, values in (("probability", p), ("target", y)):
        if (values < 0).any() or (values > 1).any():
            raise DataError(f"{name} is not a probability", given=f"{values.min()} to {values.max()}", allowed="0 to 1")
    decided = y != 0.5
    if not decided.any():
        raise DataError("no label is decided", given=f"{len(y)} labels of 0.5")
    agreement = np.sign(p - 0.5) * np.sign(y - 0.5)
    clipped = np.clip(p, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    entropy = special.entr(p) + special.entr(1 - p)
    wrong = (1 - agreement) / 2
    clear = decided & (agreement != 0)
    found = {
        "accuracy": mean_statistic(0.5 + agreement / 2),
        "nll": mean_statistic(-(y * np.log(clipped) + (1 - y) * np.log1p(-clipped))),
        "brier": mean_statistic(np.square(p - y)),
        "ece": _both_sides(p, y),
        "aurc": _of_some(risk_coverage_statistic(-entropy[decided], wrong[decided]), decided),
    }
    if clear.any():
        found["error_auroc"] = _of_some(roc_statistic(entropy[clear], wrong[clear]), clear)
    return found


def _of_some(statistic: ExampleStatistic, chosen: npt.NDArray[np.bool_]) -> ExampleStatistic:
    return lambda counts: statistic(counts[:, chosen])


def _both_sides(p: FloatArray, y: FloatArray) -> ExampleStatistic:
    both = np.concatenate([p, 1 - p])
    bins = adaptive_bins(both, min(CALIBRATION_BINS, both.size))
    gaps = np.zeros((both.size, int(bins.max()) + 1))
    gaps[np.arange(both.size), bins] = np.concatenate([y, 1 - y]) - both
    by_pair = gaps[: p.size] + gaps[p.size :]
    return lambda counts: np.asarray(np.abs(counts @ by_pair).sum(axis=1) / (2 * counts.sum(axis=1)), dtype=np.float64)
