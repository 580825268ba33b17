"""Sending the pairs that a model is least sure of to a judge who costs more: accuracy against the share sent.

The order of pairs is measured against two others: a random one, which buys accuracy at a constant rate, and the ideal
one, which knows where the judge does better than the model and sends those pairs first.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape

__all__ = ["RoutingCost", "RoutingCurve", "routing_cost", "routing_curve"]


@dataclass(frozen=True, eq=False)
class RoutingCurve:
    """Accuracy with the judge's answer for k = 0, ..., m of m pairs and the model's for the rest, all ``[m + 1]``.

    Args:
        share: ``k / m``.
        accuracy: most uncertain pairs first; the mean over orders of equally uncertain ones.
        random: pairs in random order, in expectation: a straight line.
        ideal: most useful pairs first; no order is above it anywhere.
    """

    share: FloatArray
    accuracy: FloatArray
    random: FloatArray
    ideal: FloatArray

    @property
    def area(self) -> float:
        """Mean accuracy over all shares, by the trapezoidal rule."""
        return _area(self.accuracy)

    @property
    def area_over_random(self) -> float:
        """What the order adds to the area of a random one; negative for an order that is worse."""
        return _area(self.accuracy - self.random)

    @property
    def share_of_ideal(self) -> float:
        """``area_over_random`` as a share of the ideal order's: 0 for a random one, 1 at best.

        NaN where the judge is as useful for every pair, so that no order is better than another.
        """
        possible = _area(self.ideal - self.random)
        return self.area_over_random / possible if possible > 0 else math.nan


@dataclass(frozen=True)
class RoutingCost:
    """The cheapest way along an order to a wanted accuracy.

    Args:
        share: of the pairs that are sent.
        cost: for each pair, sent or not.
    """

    share: float
    cost: float


def routing_curve(
    uncertainty: npt.ArrayLike, model_right: npt.ArrayLike, judge_right: npt.ArrayLike | None = None
) -> RoutingCurve:
    """Return the accuracy against the share of m pairs that go to the judge.

    Args:
        uncertainty: ``[m]``, higher for pairs that are sent first: an entropy, BALD, a variance.
        model_right: ``[m]``, how right the model's answers are: 0 or 1, a half for a tie, or a probability.
        judge_right: ``[m]``, the same of the judge's; always right by default.

    Raises:
        DataError: for no pair, unlike shapes, NaN, or a rightness outside [0, 1].
    """
    doubts = checked_array(uncertainty, name="uncertainty", dimensions=1)
    model = _rightness(model_right, "model_right")
    judge = np.ones_like(model) if judge_right is None else _rightness(judge_right, "judge_right")
    same_shape(uncertainty=doubts, model_right=model, judge_right=judge)
    gain = judge - model
    _, group, size = np.unique(-doubts, return_inverse=True, return_counts=True)
    # In a random order each of equally uncertain pairs adds what they add on average.
    by_doubt = np.repeat(np.bincount(group, weights=gain) / size, size)
    every = np.full(gain.size, gain.mean())

    def along(gains: FloatArray) -> FloatArray:
        return np.asarray(model.mean() + np.concatenate([[0.0], np.cumsum(gains)]) / gain.size)

    return RoutingCurve(
        share=np.arange(gain.size + 1) / gain.size,
        accuracy=along(by_doubt),
        random=along(every),
        ideal=along(-np.sort(-gain)),
    )


def routing_cost(
    share: npt.ArrayLike, accuracy: npt.ArrayLike, wanted: float, *, judge_cost: float, model_cost: float = 0.0
) -> RoutingCost | None:
    """Return the least share with the wanted accuracy, and its cost; None if no share has it.

    The model answers every pair, for its uncertainty is what pairs are sent by. Between two numbers of pairs accuracy
    is taken as linear: the next pair is sent with some chance.

    Args:
        share: ``[m + 1]``, of a :class:`RoutingCurve`.
        accuracy: ``[m + 1]``, one of its three.
        wanted: accuracy, 0 to 1.
        judge_cost: of a pair that is sent, in any unit.
        model_cost: of every pair, in the same unit.

    Raises:
        DataError: for unlike shapes, or shares that do not rise from 0 to 1.
        ConfigurationError: for an accuracy outside [0, 1], or a negative cost.
    """
    shares, reached = (
        checked_array(values, name=name, dimensions=1) for name, values in (("share", share), ("accuracy", accuracy))
    )
    same_shape(share=shares, accuracy=reached)
    if shares[0] != 0 or shares[-1] != 1 or (np.diff(shares) <= 0).any():
        raise DataError("not shares of a routing curve", given=shares.tolist()[:3], allowed="rising from 0 to 1")
    if not 0 <= wanted <= 1:
        raise ConfigurationError("not an accuracy", where="wanted", given=wanted, allowed="0 to 1")
    if judge_cost < 0 or model_cost < 0:
        raise ConfigurationError("a cost is negative", given=min(judge_cost, model_cost), allowed="0 or greater")
    # Sums of thirds and the like miss a wanted accuracy by rounding alone.
    enough = np.flatnonzero(reached >= wanted - 1e-12)
    if not enough.size:
        return None
    place = int(enough[0])
    least = float(shares[place])
    if place > 0:
        low, high = reached[place - 1], reached[place]
        part = min((wanted - low) / (high - low), 1.0)
        least = float(shares[place - 1] + part * (shares[place] - shares[place - 1]))
    return RoutingCost(least, model_cost + least * judge_cost)


def _rightness(values: npt.ArrayLike, name: str) -> FloatArray:
    right = checked_array(values, name=name, dimensions=1)
    if right.min() < 0 or right.max() > 1:
        raise DataError("not how right answers are", where=name, given=f"{right.min()} to {right.max()}", allowed="0-1")
    return right


def _area(accuracy: FloatArray) -> float:
    return float((accuracy[:-1] + accuracy[1:]).mean() / 2)
