"""D-optimal batches: the candidates whose labels together shrink the posterior of a linear model the most.

Around its fit a model with scores ``s`` and Jacobian rows ``phi = ds/dw`` has the precision
``Lambda = alpha I + sum_labelled w phi phi^T``, where ``w = p (1 - p) / tau^2`` is the Fisher information of a yes or
no with logit ``s / tau``. The batch B is to maximise ``log det(Lambda + sum_B w phi phi^T) - log det Lambda``, which is
twice what its labels tell about the parameters in the Gaussian approximation. It is submodular, and chosen greedily:
with ``C = Lambda^-1`` a candidate adds ``log(1 + w phi^T C phi)``, and once chosen lowers C by
``w C phi phi^T C / (1 + w phi^T C phi)`` (Sherman-Morrison). Beginning from the labelled examples makes it past-aware.

Source: Shen, Sun, Ton (2025), Active Reward Modeling: Adaptive Preference Labeling for Large Language Model Alignment,
arXiv 2502.04354 (D-optimal and past-aware D-optimal design); Nemhauser, Wolsey, Fisher (1978) for the guarantee of the
greedy choice, 1 - 1/e of the best.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from bayesgrid.acquisition.feature_space import feature_space
from bayesgrid.acquisition.per_prompt import PromptLimit
from bayesgrid.acquisition.selection import Choice
from bayesgrid.errors import ConfigurationError, DataError

__all__ = ["Design", "batch_log_determinant", "bernoulli_information", "fisher_design", "posterior_covariance"]

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """A greedy batch and what it adds.

    Args:
        choice: the candidates, in the order of choice.
        gains: `[q]`, by how much each raises the log-determinant of the precision; NaN for those that are not finite.
    """

    choice: Choice
    gains: _Array


def bernoulli_information(probabilities: npt.NDArray[np.floating], temperature: float = 1.0) -> _Array:
    """Return ``p (1 - p) / tau^2``, the Fisher information about a score s of a label with ``p = sigma(s / tau)``.

    Raises:
        DataError: if a probability is not within 0 .. 1.
        ConfigurationError: if the temperature is not positive.
    """
    if not temperature > 0.0:
        raise ConfigurationError("the temperature must be positive", given=temperature, allowed="greater than 0")
    if bool(np.any((probabilities < 0) | (probabilities > 1))):
        raise DataError(
            "a probability is out of range", given=float(np.nanmax(np.abs(probabilities))), allowed="0 to 1"
        )
    values = probabilities.astype(np.float64)
    return values * (1.0 - values) / temperature**2


def posterior_covariance(
    jacobians: npt.NDArray[np.floating], weights: npt.NDArray[np.floating], precision: float = 1.0
) -> _Array:
    """Return ``C = (alpha I + sum w phi phi^T)^-1``, `[h, h]`, of labelled examples.

    Args:
        jacobians: `[l, h]`, phi, possibly of no example.
        weights: `[l]`, w, 0 or greater.
        precision: alpha of the prior.

    Raises:
        DataError: if the lengths differ, a weight is negative, or something is not finite.
        ConfigurationError: if ``precision`` is not positive.
    """
    if not precision > 0.0:
        raise ConfigurationError("the precision of the prior must be positive", given=precision, allowed="> 0")
    rows, information = _weighted(jacobians, weights)
    scaled = rows * np.sqrt(information)[:, np.newaxis]
    if not np.isfinite(scaled).all():
        raise DataError("a labelled example is not finite, or its weight is not")
    matrix = precision * np.eye(rows.shape[1]) + scaled.T @ scaled
    inverse: _Array = cho_solve(cho_factor(matrix, lower=True), np.eye(len(matrix)))
    return inverse


def batch_log_determinant(
    jacobians: npt.NDArray[np.floating], weights: npt.NDArray[np.floating], covariance: _Array
) -> float:
    """Return ``log det(I + W^1/2 J C J^T W^1/2)`` of a batch: what its labels add to the log-determinant.

    Args:
        jacobians: `[q, h]`, J.
        weights: `[q]`, the diagonal of W.
        covariance: `[h, h]`, C before the batch.

    Raises:
        DataError: if the lengths differ, or a weight is negative.
    """
    rows, information = _weighted(jacobians, weights)
    scaled = rows * np.sqrt(information)[:, np.newaxis]
    return float(np.linalg.slogdet(np.eye(len(scaled)) + scaled @ covariance @ scaled.T)[1])


def fisher_design(
    jacobians: npt.NDArray[np.floating],
    weights: npt.NDArray[np.floating],
    query_size: int,
    *,
    covariance: _Array | None = None,
    limit: PromptLimit | None = None,
) -> Design:
    """Choose candidates one after another, each the one that adds the most to the log-determinant.

    Of equal ones the first is taken. O(n h + h^2) memory; O(n h^2) time once and O(n h + h^2) for each choice.

    Args:
        jacobians: `[n, h]`, phi. Rows that are not finite, or have no finite weight, are chosen last.
        weights: `[n]`, w, 0 or greater; see :func:`bernoulli_information`.
        query_size: q.
        covariance: `[h, h]`, C of the labelled examples (:func:`posterior_covariance`); the identity by default.
        limit: how many candidates a prompt may give.

    Raises:
        DataError: if q is not within 1 .. n, the shapes do not fit, or a weight is negative.
    """
    _, information = _weighted(jacobians, weights)
    space = feature_space(jacobians, jacobians[:0], query_size, usable=np.isfinite(information))
    rows = space.candidates * np.sqrt(information[space.positions])[:, np.newaxis]
    features = rows.shape[1]
    inverse = np.eye(features) if covariance is None else covariance.astype(np.float64)
    if inverse.shape != (features, features):
        raise DataError(
            "the covariance does not belong to the candidates",
            given=inverse.shape,
            allowed=f"[{features}, {features}]",
        )
    leverage = np.einsum("ij,ij->i", rows @ inverse, rows)
    room = limit.room(len(jacobians), space.positions) if limit else None
    free = np.ones(len(rows), dtype=np.bool_)
    chosen: list[int] = []
    gains = np.full(query_size, np.nan)
    for step in range(min(query_size, len(rows))):
        allowed = room.among(free) if room else free
        best = int(np.argmax(np.where(allowed, leverage, -np.inf)))
        gains[step] = np.log1p(max(leverage[best], 0.0))
        chosen.append(best)
        free[best] = False
        if room:
            room.take(best)
        direction = inverse @ rows[best]
        scale = 1.0 / (1.0 + float(rows[best] @ direction))
        along = rows @ direction
        leverage -= scale * along * along
        inverse -= scale * np.outer(direction, direction)
    return Design(space.choice(chosen, query_size), gains)


def _weighted(jacobians: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]) -> tuple[_Array, _Array]:
    if jacobians.ndim != 2 or weights.shape != jacobians.shape[:1]:
        raise DataError(
            "Jacobians and weights do not belong together",
            given=f"{jacobians.shape} and {weights.shape}",
            allowed="[n, h] and [n]",
        )
    if bool(np.any(weights < 0)):
        raise DataError("the weight of a candidate is negative", given=float(np.nanmin(weights)))
    return jacobians.astype(np.float64), weights.astype(np.float64)
