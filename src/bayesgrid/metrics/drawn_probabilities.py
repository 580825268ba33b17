"""Class probabilities of several draws from a posterior, their average, and where its uncertainty comes from.

Probabilities are averaged, never logits: the mean of ``softmax(z_s)`` is the predictive distribution, the softmax of
the mean logit is not. All sums run in log space and double precision.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array

__all__ = ["UncertaintySplit", "averaged_log_probabilities", "drawn_log_probabilities", "uncertainty_split"]

ROUNDING = 1e-12
"""Mutual information in nats that is taken for 0."""


@dataclass(frozen=True)
class UncertaintySplit:
    """The entropy of the averaged prediction of every example, ``[N]`` in nats, and its two parts."""

    total: FloatArray
    """``H[mean_s p_s]``."""
    aleatoric: FloatArray
    """``mean_s H[p_s]``, what every draw says is undecidable."""
    epistemic: FloatArray
    """``total - aleatoric``, the mutual information of draw and class: 0 where all draws agree."""


def drawn_log_probabilities(
    logits: npt.ArrayLike, options: npt.ArrayLike, *, inverse_temperature: float = 1.0
) -> FloatArray:
    """Return ``log softmax(t z_s)`` over the options that an example has, ``[S, N, C]``; minus infinity for the others.

    Args:
        logits: ``[S, N, C]``, one row of logits a draw and example.
        options: ``[N]``, how many options an example has: its first so many classes.
        inverse_temperature: t, above 0.

    Raises:
        DataError: for NaN, infinite logits, another rank, options outside 1 to C, or t not above 0.
    """
    values = checked_array(logits, name="logits", dimensions=3)
    present = checked_array(options, name="options", dimensions=1)
    _, examples, classes = values.shape
    if present.size != examples:
        raise DataError("not one number of options an example", where="options", given=present.size, allowed=examples)
    if (present != np.rint(present)).any() or (present < 1).any() or (present > classes).any():
        raise DataError(
            "not a number of options",
            where="options",
            given=f"{present.min():g} to {present.max():g}",
            allowed=f"1..{classes}",
        )
    if not (np.isfinite(inverse_temperature) and inverse_temperature > 0):
        raise DataError("not an inverse temperature", given=inverse_temperature, allowed="above 0")
    masked = np.where(np.arange(classes) < present[:, None], inverse_temperature * values, -np.inf)
    return np.asarray(special.log_softmax(masked, axis=2), dtype=np.float64)


def averaged_log_probabilities(log_probabilities: npt.ArrayLike) -> FloatArray:
    """Return ``log mean_s p_s``, ``[N, C]``, of ``log p_s`` ``[S, N, C]``.

    Raises:
        DataError: for NaN, another rank, or no draw.
    """
    values = checked_array(log_probabilities, name="log probabilities", dimensions=3, finite=False)
    return np.asarray(special.logsumexp(values, axis=0) - np.log(values.shape[0]), dtype=np.float64)


def uncertainty_split(log_probabilities: npt.ArrayLike) -> UncertaintySplit:
    """Return total, aleatoric and epistemic entropy of every example from ``log p_s`` ``[S, N, C]``.

    Raises:
        DataError: for NaN, another rank, or no draw.

    Source: Houlsby et al. (2011), Bayesian active learning for classification and preference learning; the split after
    Depeweg et al. (2018), Decomposition of uncertainty in Bayesian deep learning.
    """
    values = checked_array(log_probabilities, name="log probabilities", dimensions=3, finite=False)
    total = _entropy(averaged_log_probabilities(values))
    aleatoric = np.asarray(_entropy(values).mean(axis=0), dtype=np.float64)
    gap = total - aleatoric
    # Entropy is concave: what lies below 0, or as little above it, is rounding, and would rank examples at random.
    return UncertaintySplit(total=total, aleatoric=aleatoric, epistemic=np.where(gap > ROUNDING, gap, 0.0))


def _entropy(log_probabilities: FloatArray) -> FloatArray:
    probabilities = np.exp(log_probabilities)
    information = np.where(probabilities > 0, -probabilities * np.where(probabilities > 0, log_probabilities, 0.0), 0.0)
    return np.asarray(information.sum(axis=-1), dtype=np.float64)
