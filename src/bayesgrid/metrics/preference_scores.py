"""Scores of predicted preferences: the probability that the first of two responses is preferred.

None of them depends on the side a response stands on: exchanging both responses, and with them probability and label,
changes nothing.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import special

from bayesgrid.errors import DataError
from bayesgrid.metrics.calibration_error import adaptive_bins
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape
from bayesgrid.metrics.discrimination import area_under_roc
from bayesgrid.metrics.selective_prediction import area_under_risk_coverage

__all__ = ["CALIBRATION_BINS", "PREFERENCE_METRICS", "preference_metrics", "symmetric_calibration_error"]

CALIBRATION_BINS = 15
PREFERENCE_METRICS = ("accuracy", "nll", "brier", "ece", "aurc", "error_auroc")


def preference_metrics(probability: npt.ArrayLike, target: npt.ArrayLike) -> Mapping[str, float]:
    """Return the metrics of predicted preferences by name.

    ``accuracy`` counts an undecided prediction, or an undecided label, as half; ``nll`` (nats), ``brier`` and ``ece``
    take soft labels as they are; ``aurc`` and ``error_auroc`` (of the entropy, for wrong predictions) are over the
    pairs with a decided label. ``error_auroc`` is NaN where all predictions are right or all are wrong.

    Args:
        probability: ``[N]``, that the first is preferred.
        target: ``[N]``, 1 where it is, 0 where it is not, or between.

    Raises:
        DataError: for NaN, unlike numbers, values outside [0, 1], or no decided label.
    """
    p, y = _probabilities(probability, target)
    decided = y != 0.5
    if not decided.any():
        raise DataError("no label is decided", given=f"{len(y)} labels of 0.5")
    agreement = np.sign(p - 0.5) * np.sign(y - 0.5)
    clipped = np.clip(p, 1e-12, 1 - 1e-12)
    wrong = (1 - agreement[decided]) / 2
    entropy = special.entr(p) + special.entr(1 - p)
    # An undecided prediction is half wrong, and on neither side of a separation.
    clear = agreement[decided] != 0
    kinds = wrong[clear]
    return {
        "accuracy": float((0.5 + agreement / 2).mean()),
        "nll": float(-(y * np.log(clipped) + (1 - y) * np.log1p(-clipped)).mean()),
        "brier": float(np.square(p - y).mean()),
        "ece": symmetric_calibration_error(p, y),
        "aurc": area_under_risk_coverage(-entropy[decided], wrong),
        "error_auroc": area_under_roc(entropy[decided][clear], kinds) if 0 < kinds.sum() < len(kinds) else float("nan"),
    }


def symmetric_calibration_error(probability: npt.ArrayLike, target: npt.ArrayLike) -> float:
    """Return the calibration error over every pair seen from both sides, in 15 bins of equal mass.

    Each bin compares the mean probability with the mean label, soft or not: ``sum_b n_b / N |label_b - probability_b|``
    of the 2 N views. Labels that always name the first response make every confident model look calibrated; seen from
    both sides, ``{(p, y), (1 - p, 1 - y)}``, they do not.

    Args:
        probability: ``[N]``, that the first is preferred.
        target: ``[N]``, 1 where it is, 0 where it is not, or the probability that it is.

    Raises:
        DataError: for NaN, unlike numbers, or values outside [0, 1].
    """
    p, y = _probabilities(probability, target)
    both = np.concatenate([p, 1 - p])
    gap = np.concatenate([y, 1 - y]) - both
    bins = adaptive_bins(both, min(CALIBRATION_BINS, both.size))
    return float(np.abs(np.bincount(bins, weights=gap)).sum() / both.size)


def _probabilities(probability: npt.ArrayLike, target: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    p, y = checked_array(probability, name="probability", dimensions=1), checked_array(target, name="target")
    same_shape(probability=p, target=y)
    for name, values in (("probability", p), ("target", y)):
        if (values < 0).any() or (values > 1).any():
            raise DataError(f"{name} is not a probability", given=f"{values.min()} to {values.max()}", allowed="0 to 1")
    return p, y
