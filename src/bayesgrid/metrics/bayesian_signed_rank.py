"""How probable it is that one method is practically better than, equivalent to or worse than another.

The Bayesian counterpart of Wilcoxon's test: a Dirichlet process prior on the distribution of paired differences, of
which the posterior is a Dirichlet distribution of weights on the differences seen and on one pseudo-difference of 0.

- Benavoli, Corani, Demsar & Zaffalon (2017), Time for a change: a tutorial for comparing multiple classifiers
  through Bayesian analysis.
- Benavoli, Mangili, Corani, Zaffalon & Ruggeri (2014), A Bayesian Wilcoxon signed-rank test.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import checked_array

__all__ = ["PracticalDifference", "bayesian_signed_rank"]

MAXIMUM_CHUNK_VALUES = 2_000_000
"""Weights held at once, 16 MB."""


@dataclass(frozen=True)
class PracticalDifference:
    """Posterior probabilities that differences are mostly below, inside and above the region; they sum to 1."""

    left: float
    rope: float
    right: float


def bayesian_signed_rank(
    differences: npt.ArrayLike,
    *,
    rope: float,
    generator: np.random.Generator,
    prior_strength: float = 0.5,
    draws: int = 50_000,
) -> PracticalDifference:
    """Return P(left), P(rope), P(right) for paired differences and a region of practical equivalence [-rope, rope].

    With ``z_0 = 0`` and weights ``w ~ Dirichlet(s, 1, ..., 1)``, a draw of the posterior gives
    ``theta_left = sum_ij w_i w_j [z_i + z_j < -2 rope]``, ``theta_right`` with ``> 2 rope`` and ``theta_rope`` the
    rest, i and j from 0 to D. Each probability is the share of draws in which its theta is the largest.

    For differences ``first - second`` of a loss, left is the probability that the first method is practically better.
    The share is known to about ``0.5 / sqrt(draws)``. With a rope of 0 only exact ties count as equivalent.

    Args:
        differences: ``[D]``, one a data set, in the unit of ``rope``.
        rope: half width of the region, 0 or more; declared before looking at the results.
        generator: source of the weights.
        prior_strength: s, the number of differences that the prior at 0 is worth; greater than 0.
        draws: draws of the posterior.

    Raises:
        DataError: for no difference, NaN, infinity, a negative rope, or a strength or number of draws not positive.
    """
    values = checked_array(differences, name="paired differences", dimensions=1)
    if not (np.isfinite(rope) and rope >= 0):
        raise DataError("not a region of equivalence", where="rope", given=rope, allowed="0 or more")
    if not (np.isfinite(prior_strength) and prior_strength > 0):
        raise DataError("not a strength", where="prior_strength", given=prior_strength, allowed="greater than 0")
    if draws < 1:
        raise DataError("no draw of the posterior", where="draws", given=draws, allowed="at least 1")
    atoms = np.concatenate([[0.0], values])
    sums = atoms[:, None] + atoms
    below = (sums < -2 * rope).astype(np.float64)
    above = (sums > 2 * rope).astype(np.float64)
    concentration = np.concatenate([[prior_strength], np.ones(values.size)])
    largest = np.zeros(3)
    chunk = max(1, MAXIMUM_CHUNK_VALUES // atoms.size)
    for start in range(0, draws, chunk):
        weights = generator.dirichlet(concentration, size=min(chunk, draws - start))
        left = (weights @ below * weights).sum(axis=1)
        right = (weights @ above * weights).sum(axis=1)
        shares = np.stack([left, 1 - left - right, right], axis=1)
        largest += np.bincount(shares.argmax(axis=1), minlength=3)
    left_share, rope_share, right_share = (largest / draws).tolist()
    return PracticalDifference(left=left_share, rope=rope_share, right=right_share)
