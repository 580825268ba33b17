"""How far a policy is from one that nothing beats: the symmetric game of two policies with preferences as payoffs."""

import numpy as np
import numpy.typing as npt
from scipy import optimize

from bayesgrid.errors import DataError, NumericalError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array
from bayesgrid.studies.preference.downstream.judgements import checked_probabilities

__all__ = ["duality_gap", "nash_policy"]

_TOLERANCE = 1e-9


def duality_gap(policies: npt.ArrayLike, probability: npt.ArrayLike) -> FloatArray:
    """Return the exploitability of policies, ``[...]``: 0 for an equilibrium (von Neumann's winner), at most 1.

    ``max_p P(p beats pi) - min_p P(pi beats p) = 2 max_i P(i beats pi) - 1``, since a best response may be one item.

    Args:
        policies: ``[..., n]``, probabilities of n items.
        probability: ``[n, n]``, the true chance that the row's item is preferred.

    Raises:
        DataError: if policies are not distributions over the items, or the table is not one of probabilities.
    """
    table = checked_probabilities(probability, name="probability")
    weights = checked_array(policies, name="policies")
    if weights.shape[-1] != len(table):
        raise DataError("policies over other items", given=weights.shape[-1], allowed=f"{len(table)} items")
    if weights.min() < -_TOLERANCE or not np.allclose(weights.sum(axis=-1), 1.0, rtol=0, atol=1e-6):
        raise DataError("not a distribution", where="policies", allowed="0 or greater, with sum 1")
    return np.asarray(2 * (weights @ table.T).max(axis=-1) - 1, dtype=np.float64)


def nash_policy(payoff: npt.ArrayLike) -> FloatArray:
    """Return a policy ``[n]`` that no item beats on average, by linear programming; there may be others.

    Args:
        payoff: ``[n, n]``, skew-symmetric: scores, or probabilities less 1/2.

    Raises:
        DataError: if the payoff is not a skew-symmetric table.
        NumericalError: if the program is not solved.
    """
    table = checked_array(payoff, name="payoff", dimensions=2)
    if table.shape[0] != table.shape[1] or not np.allclose(table, -table.T, rtol=1e-6, atol=_TOLERANCE):
        raise DataError("not a symmetric game", given=f"shape {table.shape}", allowed="payoff[i, j] = -payoff[j, i]")
    count = len(table)
    solved = optimize.linprog(
        np.zeros(count), A_ub=table, b_ub=np.zeros(count), A_eq=np.ones((1, count)), b_eq=[1.0], bounds=(0, 1)
    )
    if not solved.success:
        raise NumericalError("the equilibrium was not found", given=solved.message)
    found = np.maximum(solved.x, 0.0)
    return np.asarray(found / found.sum())
