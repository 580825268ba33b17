"""How much is lost on the predictions that are kept when the least confident are refused.

- Geifman & El-Yaniv (2017), Selective classification for deep neural networks.
- Geifman, Uziel & El-Yaniv (2019), Bias-reduced uncertainty estimation for deep neural classifiers: AURC.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["RiskCoverage", "area_under_risk_coverage", "risk_coverage_curve"]


@dataclass(frozen=True)
class RiskCoverage:
    """The mean loss of the most confident predictions at every coverage."""

    coverage: FloatArray
    """``[N]``, 1/N to 1."""
    risk: FloatArray
    """``[N]``, in the unit of the loss."""


def risk_coverage_curve(confidence: npt.ArrayLike, loss: npt.ArrayLike) -> RiskCoverage:
    """Return ``r(k/N)``, the mean loss of the k most confident predictions, for k from 1 to N.

    Predictions of equal confidence are taken in random order and the curve is the mean over orders, in closed form: it
    does not depend on the order of examples.

    Args:
        confidence: ``[N]``, any score that is higher where a prediction is trusted more, such as minus an entropy.
        loss: ``[N]``, such as 1 where a prediction is wrong.

    Raises:
        DataError: for no prediction, NaN, infinity or shapes that differ.
    """
    score = checked_array(confidence, name="confidence", dimensions=1)
    losses = checked_array(loss, name="loss", dimensions=1)
    same_shape(confidence=score, loss=losses)
    order = np.argsort(-score, kind="stable")
    _, group, size = np.unique(-score[order], return_inverse=True, return_counts=True)
    expected = (np.bincount(group, weights=losses[order]) / size)[group]
    kept = np.arange(1, score.size + 1)
    return RiskCoverage(coverage=kept / score.size, risk=np.cumsum(expected) / kept)


def area_under_risk_coverage(confidence: npt.ArrayLike, loss: npt.ArrayLike) -> float:
    """Return AURC, the mean of ``r(k/N)`` over k from 1 to N; a random order gives the mean loss in expectation.

    Raises:
        DataError: as :func:`risk_coverage_curve`.
    """
    return float(risk_coverage_curve(confidence, loss).risk.mean())
