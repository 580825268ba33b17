"""How often one method beats another over seeds, with an interval that holds for few seeds and extreme shares."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.checked_arrays import same_shape

__all__ = ["Wins", "wilson_interval", "win_probability"]


@dataclass(frozen=True)
class Wins:
    """In how many of the pairs the first method had the lower value, and the probability that follows."""

    wins: int
    ties: int
    pairs: int
    interval: Interval
    """The estimate counts a tie as half a win."""


def win_probability(first: npt.ArrayLike, second: npt.ArrayLike, *, level: float = 0.95) -> Wins:
    """Return the probability over seeds that ``first`` is lower than ``second``, with Wilson's interval.

    A value that is not finite counts as worse than every finite one; two of them are a tie.

    Args:
        first: ``[S]``, a lower-is-better metric, one value a seed.
        second: ``[S]``, the same seeds in the same order.
        level: coverage.

    Raises:
        DataError: without a pair, for shapes that differ, or a level outside (0, 1).
    """
    left, right = (np.asarray(values, dtype=np.float64) for values in (first, second))
    same_shape(first=left, second=right)
    left, right = (np.where(np.isfinite(values), values, np.inf) for values in (left, right))
    wins, ties = int(np.count_nonzero(left < right)), int(np.count_nonzero(left == right))
    return Wins(wins, ties, left.size, wilson_interval(wins + ties / 2, left.size, level=level))


def wilson_interval(successes: float, trials: int, *, level: float = 0.95) -> Interval:
    """Return the share of successes with Wilson's score interval, which stays inside [0, 1].

    ``(p + z^2/2n ± z sqrt(p (1-p) / n + z^2 / 4n^2)) / (1 + z^2/n)`` for the share p of n trials.

    Args:
        successes: may be fractional, where a tie counts as half.
        trials: at least 1.
        level: coverage.

    Raises:
        DataError: for no trial, successes outside [0, trials], or a level outside (0, 1).

    Source: Wilson (1927); recommended for few trials by Brown, Cai & DasGupta (2001), Interval estimation for a
    binomial proportion.
    """
    if trials < 1:
        raise DataError("a share needs a trial", given=trials, allowed="at least 1")
    if not 0 <= successes <= trials:
        raise DataError("not a number of successes", given=successes, allowed=f"0 to {trials}")
    if not 0 < level < 1:
        raise DataError("not a confidence level", where="level", given=level, allowed="between 0 and 1")
    z = float(stats.norm.ppf((1 + level) / 2))
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    # At the ends the formula gives 0 and 1 but for rounding.
    lower = 0.0 if successes == 0 else max(centre - half, 0.0)
    upper = 1.0 if successes == trials else min(centre + half, 1.0)
    return Interval(share, lower, upper)
