"""How good the best of n responses is that a score picks, in expectation over which n of N responses there are.

The n are drawn without replacement. A score that does not depend on which others were drawn picks the best-ranked one,
whose rank is an order statistic: the chance that no better one is among the n is a ratio of binomials. A rule that
sees only the n has its choice looked at in every subset, or in drawn ones.

Sources: Stiennon et al. (2020), arXiv 2009.01325, and Gao, Schulman, Hilton (2023), Scaling Laws for Reward Model
Overoptimization, arXiv 2210.10760 (gold score against n, and ``log n - (n - 1) / n`` as the divergence for large N).
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array, same_shape
from bayesgrid.studies.preference.downstream.judgements import checked_probabilities
from bayesgrid.studies.preference.downstream.response_values import borda_values

__all__ = [
    "BestOfN",
    "OverOptimisation",
    "SubsetChoices",
    "best_of_n",
    "best_within_subsets",
    "gold_values",
    "mean_curve",
    "over_optimisation",
    "selection_probabilities",
]

SubsetRule = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""From the positions ``[n]`` of a subset, ascending, to the scores ``[n]`` whose largest is picked."""


@dataclass(frozen=True, eq=False)
class BestOfN:
    """Expectations over the subsets of each size n = 1, ..., N, all ``[N]``.

    Args:
        score: of the picked response, in the unit of the score.
        gold: of the picked response.
        ideal: the largest gold value of a subset.
        divergence: of the picked response's distribution from the uniform one, in nats: how hard n optimises.
    """

    score: FloatArray
    gold: FloatArray
    ideal: FloatArray
    divergence: FloatArray

    @property
    def regret(self) -> FloatArray:
        """What a perfect judge would have had more from the same responses, ``[N]``."""
        return self.ideal - self.gold


@dataclass(frozen=True)
class OverOptimisation:
    """Where more responses begin to hurt.

    Args:
        size: the n with the largest expected gold value, the smallest of equal ones.
        gold: that value.
        loss: what is lost of it at n = N; 0 if nothing is.
    """

    size: int
    gold: float
    loss: float


@dataclass(frozen=True)
class SubsetChoices:
    """What a rule that sees n responses picks, in expectation over subsets.

    Args:
        gold: of the picked response, equally high scores in equal shares.
        ideal: the largest gold value of a subset.
        subsets: how many were looked at.
        exact: whether these are all.
    """

    gold: float
    ideal: float
    subsets: int
    exact: bool


def gold_values(probability: npt.ArrayLike) -> FloatArray:
    """Return the chance of each response to be preferred to another one drawn from the rest, ``[N]``.

    Args:
        probability: ``[N, N]``, the true chances of all pairs.

    Raises:
        DataError: if it is not a table of probabilities of all pairs.
    """
    return borda_values(checked_probabilities(probability, name="gold"))


def selection_probabilities(scores: npt.ArrayLike) -> FloatArray:
    """Return the chance of each of N responses to have the highest score of a random subset, ``[N, N]``.

    Row n - 1 is for subsets of n. Of equally high scores each is picked with the same chance. With b better ones and g
    equal ones (itself among them) it is ``[C(N - b, n) - C(N - b - g, n)] / (g C(N, n))``.

    Args:
        scores: ``[N]``.

    Raises:
        DataError: if scores are not finite numbers in one row.
    """
    values = checked_array(scores, name="scores", dimensions=1)
    _, group, size = np.unique(-values, return_inverse=True, return_counts=True)
    better = np.concatenate([[0], np.cumsum(size)[:-1]])
    missed = _chances_within(values.size)
    of_group = missed[:, values.size - better] - missed[:, values.size - better - size]
    return np.asarray((of_group / size)[:, group])


def best_of_n(scores: npt.ArrayLike, probability: npt.ArrayLike) -> BestOfN:
    """Return the curve over n = 1, ..., N of a score that does not depend on the subset.

    Args:
        scores: ``[N]``, such as ``borda_values`` against all N, or lower bounds on them.
        probability: ``[N, N]``, the true chances of all pairs.

    Raises:
        DataError: for unlike shapes, or what :func:`gold_values` and :func:`selection_probabilities` refuse.
    """
    values = checked_array(scores, name="scores", dimensions=1)
    gold = gold_values(probability)
    same_shape(scores=values, gold=gold)
    chosen = selection_probabilities(values)
    logs = np.log(np.where(chosen > 0, chosen * values.size, 1.0))
    return BestOfN(
        score=chosen @ values,
        gold=chosen @ gold,
        ideal=selection_probabilities(gold) @ gold,
        divergence=np.asarray((chosen * logs).sum(axis=1)),
    )


def mean_curve(curves: Sequence[BestOfN]) -> BestOfN:
    """Return the mean over prompts with equally many responses.

    Raises:
        DataError: without a prompt, or for unlike numbers of responses.
    """
    if len({curve.gold.size for curve in curves}) != 1:
        raise DataError(
            "no mean over these prompts",
            given=f"numbers of responses {sorted({curve.gold.size for curve in curves})}",
            allowed="one number, for all prompts",
        )
    parts = zip(*((curve.score, curve.gold, curve.ideal, curve.divergence) for curve in curves), strict=True)
    return BestOfN(*(np.asarray(np.mean(part, axis=0)) for part in parts))


def over_optimisation(curve: BestOfN) -> OverOptimisation:
    """Return the best n of a curve, and what is lost by going on to N although the score keeps rising."""
    peak = int(np.argmax(curve.gold))
    return OverOptimisation(peak + 1, float(curve.gold[peak]), float(curve.gold[peak] - curve.gold[-1]))


def best_within_subsets(
    rule: SubsetRule, probability: npt.ArrayLike, size: int, *, most: int, generator: np.random.Generator
) -> SubsetChoices:
    """Return what a rule that sees only ``size`` responses picks, by looking at subsets.

    For scores against all N use :func:`best_of_n`, which needs no enumeration. Values against the drawn ones alone are
    ``lambda own: borda_values(table[np.ix_(own, own)])``.

    Args:
        rule: from positions to scores.
        probability: ``[N, N]``, the true chances of all pairs.
        size: n, 2 to N.
        most: all subsets are looked at if there are no more; else this many, drawn with replacement.
        generator: of the drawn subsets.

    Raises:
        DataError: if the rule's scores are not ``[n]``, finite, or for what :func:`gold_values` refuses.
        ConfigurationError: if ``size`` or ``most`` is out of range.
    """
    gold = gold_values(probability)
    if not 2 <= size <= gold.size:
        raise ConfigurationError("not a size of subsets", where="size", given=size, allowed=f"2 to {gold.size}")
    if most < 1:
        raise ConfigurationError("no subset to look at", where="most", given=most, allowed="at least 1")
    exact = math.comb(gold.size, size) <= most
    subsets = (
        np.array(list(itertools.combinations(range(gold.size), size)), dtype=np.int64)
        if exact
        else np.stack([np.sort(generator.choice(gold.size, size, replace=False)) for _ in range(most)])
    )
    return SubsetChoices(
        gold=float(np.mean([_picked_gold(rule, subset, gold) for subset in subsets])),
        ideal=float(gold[subsets].max(axis=1).mean()),
        subsets=len(subsets),
        exact=exact,
    )


def _picked_gold(rule: SubsetRule, subset: NDArray[np.int64], gold: FloatArray) -> float:
    scores = checked_array(rule(subset), name="scores of the rule", dimensions=1)
    same_shape(scores=scores, subset=subset)
    return float(gold[subset[scores == scores.max()]].mean())


def _chances_within(total: int) -> FloatArray:
    """Return ``C(m, n) / C(N, n)``, the chance that all n are among m of the N, ``[N, N + 1]`` by n - 1 and m."""
    drawn, among = np.arange(total)[:, None], np.arange(total + 1)
    return np.asarray(np.cumprod(np.maximum(among - drawn, 0) / (total - drawn), axis=0), dtype=np.float64)
