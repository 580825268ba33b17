"""The mean paired difference of two methods over data sets, in units that data sets share, with its interval.

Two levels are random: the data sets, as a sample of those the methods may meet, and the seeds within each. A plain
two-level bootstrap counts the noise of the seeds twice, because the observed means of data sets already contain it;
here the means are first drawn together until their spread is that of the data sets alone, and the seeds put the noise
back (compare Davison & Hinkley 1997, section 3.8). Few data sets bound what can be said: with 5 of them a nominal 95 %
percentile interval covers 84 to 89 %. ``student`` keeps its level, and covers more where data sets hardly differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.bootstrap import HierarchicalMethod, Interval
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array

__all__ = ["PooledDifference", "pooled_difference", "standardised_difference"]


@dataclass(frozen=True)
class PooledDifference:
    """The mean standardised difference over data sets, and what it is made of."""

    interval: Interval
    differences: FloatArray
    """``[D]``, the standardised difference of each data set."""
    between_deviation: float
    """Standard deviation of the true differences over data sets; 0 where the noise of the seeds explains them all."""


def standardised_difference(differences: npt.ArrayLike) -> float:
    """Return the mean of paired differences in units of their standard deviation over seeds, corrected for few seeds.

    ``J(S - 1) mean / s`` with ``J(m) = Gamma(m/2) / (sqrt(m/2) Gamma((m - 1)/2))``: unbiased for ``mu / sigma`` of
    normal differences. Its variance is finite from 4 seeds up. Differences that are all 0 give 0.

    Args:
        differences: ``[S]``, first minus second, one a seed.

    Raises:
        DataError: for fewer than 3 seeds, NaN, infinity, or differences that are all equal to a number other than 0.

    Source: Hedges (1981), Distribution theory for Glass's estimator of effect size and related estimators.
    """
    values = checked_array(differences, name="paired differences", dimensions=1)
    return float(values.mean()) * _inverse_scale(values)


def pooled_difference(
    differences: Sequence[npt.ArrayLike],
    *,
    generator: np.random.Generator,
    scales: npt.ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 10_000,
    method: HierarchicalMethod = "student",
) -> PooledDifference:
    """Return the mean over data sets of standardised paired differences, with an interval for new data sets and seeds.

    With means e_d over seeds, their variance v over data sets and ``w = mean_d s_d^2 / S_d``, a replicate draws data
    sets and takes for each ``e + sqrt(max(0, 1 - w/v)) (e_d - e)`` plus the mean of redrawn deviations of its seeds.
    ``student`` draws one data set and one seed fewer than there are, which makes the variance of the replicates
    ``max(v, w) / D``, and takes Student's t with D - 1 degrees of freedom; ``percentile`` takes their quantiles.
    The unit of each data set is held fixed in the resamples.

    Args:
        differences: D arrays ``[S_d]``, first minus second, paired by seed; data sets may have unlike numbers of seeds.
        generator: source of the resamples.
        scales: ``[D]``, the unit of each data set, such as the deviation of its target; None takes
            :func:`standardised_difference`.
        level: coverage.
        replicates: bootstrap resamples.
        method: see the module.

    Raises:
        DataError: for fewer than 2 data sets, fewer than 2 seeds in one (3 without ``scales``), NaN, infinity, scales
            that are not positive, a level outside (0, 1) or fewer than 2 replicates.
    """
    samples = [
        checked_array(sample, name=f"data set {index}", dimensions=1) for index, sample in enumerate(differences)
    ]
    data_sets = len(samples)
    if data_sets < 2:
        raise DataError("an interval over data sets needs several", given=f"{data_sets} data set", allowed="at least 2")
    if min(sample.size for sample in samples) < 2:
        raise DataError(
            "an interval over seeds needs several", given="1 seed in a data set", allowed="at least 2 seeds"
        )
    if not 0 < level < 1:
        raise DataError("not a confidence level", where="level", given=level, allowed="between 0 and 1")
    if replicates < 2:
        raise DataError("too few bootstrap replicates", where="replicates", given=replicates, allowed="at least 2")
    units = _inverse_scales(samples, scales)
    scaled = [sample * unit for sample, unit in zip(samples, units, strict=True)]
    effects = np.array([sample.mean() for sample in scaled])
    estimate = float(effects.mean())
    observed = float(effects.var(ddof=1))
    noise = float(np.mean([sample.var(ddof=1) / sample.size for sample in scaled]))
    between = max(0.0, observed - noise)
    shrink = np.sqrt(between / observed) if observed > 0 else 0.0
    centres = estimate + shrink * (effects - estimate)
    fewer = 1 if method == "student" else 0
    means = _resampled_means(scaled, centres, generator, replicates, fewer)
    if method == "student":
        half = float(stats.t.ppf((1 + level) / 2, data_sets - 1)) * float(means.std(ddof=1))
        interval = Interval(estimate, estimate - half, estimate + half)
    else:
        lower, upper = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        interval = Interval(estimate, float(lower), float(upper))
    return PooledDifference(interval=interval, differences=effects, between_deviation=float(np.sqrt(between)))


def _resampled_means(
    samples: list[FloatArray], centres: FloatArray, generator: np.random.Generator, replicates: int, fewer: int
) -> FloatArray:
    data_sets = len(samples)
    chosen = generator.integers(0, data_sets, size=(replicates, data_sets - fewer))
    drawn = centres[chosen]
    # One data set fewer would leave more of the seeds' noise in the mean: w / (D - 1) in place of w / D.
    damped = np.sqrt((data_sets - fewer) / data_sets)
    for index, sample in enumerate(samples):
        here = chosen == index
        seeds = generator.integers(0, sample.size, size=(int(here.sum()), sample.size - fewer))
        drawn[here] += damped * (sample - sample.mean())[seeds].mean(axis=1)
    return np.asarray(drawn.mean(axis=1), dtype=np.float64)


def _inverse_scales(samples: list[FloatArray], scales: npt.ArrayLike | None) -> list[float]:
    if scales is None:
        return [_inverse_scale(sample) for sample in samples]
    given = checked_array(scales, name="scales", dimensions=1)
    if given.size != len(samples):
        raise DataError("not one scale a data set", where="scales", given=given.size, allowed=len(samples))
    if (given <= 0).any():
        raise DataError("a scale is not positive", where="scales", given=float(given.min()), allowed="greater than 0")
    return [float(1 / scale) for scale in given]


def _inverse_scale(values: FloatArray) -> float:
    if values.size < 3:
        raise DataError(
            "the unit of a data set needs several seeds", given=f"{values.size} seeds", allowed="at least 3 seeds"
        )
    if np.ptp(values) == 0:
        if values[0] == 0:
            return 1.0
        raise DataError("differences without spread have no unit", given=f"{values.size} times {values[0]}")
    freedom = values.size - 1
    correction = np.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2)
    return float(correction / values.std(ddof=1))
