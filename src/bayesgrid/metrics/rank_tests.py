"""Whether methods differ over data sets, by tests of ranks: Friedman, Nemenyi and Wilcoxon's signed ranks.

All of them take data sets as the independent units, so their rows are means over seeds, one row a data set. With few
data sets they can find little: Wilcoxon's two-sided p-value is at least ``2^(1-D)``, 0.125 for 4 data sets, and no pair
is significant at 0.05 before 6 data sets, or later still after Holm's correction.

- Demsar (2006), Statistical comparisons of classifiers over multiple data sets.
- Iman & Davenport (1980), Approximations of the critical region of the Friedman statistic.
- Pratt (1959), Remarks on zeros and ties in the Wilcoxon signed rank procedures.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array
from bayesgrid.metrics.multiple_comparisons import holm_adjusted
from bayesgrid.metrics.ranks import ranks_of_methods

__all__ = [
    "FriedmanTest",
    "PairwiseSignedRank",
    "friedman_test",
    "indistinguishable_groups",
    "nemenyi_critical_difference",
    "nemenyi_groups",
    "pairwise_signed_rank",
    "signed_rank_p_value",
]

EXACT_DIFFERENCES = 300
"""Up to so many differences that are not 0 the signed-rank distribution is enumerated; cost grows with the cube."""


@dataclass(frozen=True)
class FriedmanTest:
    """Friedman's chi-square with Iman and Davenport's F, which is the less conservative of the two."""

    chi_square: float
    chi_square_p_value: float
    f_statistic: float
    f_p_value: float
    data_sets: int
    methods: int


@dataclass(frozen=True)
class PairwiseSignedRank:
    """Two-sided p-values of every pair of methods, ``[M, M]`` symmetric with 1 on the diagonal."""

    p_values: FloatArray
    adjusted: FloatArray
    """The same after Holm over all M (M - 1) / 2 pairs."""


def friedman_test(values: npt.ArrayLike) -> FriedmanTest:
    """Return the test that all methods have the same mean rank over data sets.

    ``chi2 = (M - 1) sum_m (R_m - D (M + 1) / 2)^2 / sum_dm (r_dm - (M + 1) / 2)^2`` for ranks r and rank sums R, which
    is Friedman's statistic corrected for ties, and ``F = (D - 1) chi2 / (D (M - 1) - chi2)``. The p-values come from
    chi-square with M - 1 and F with M - 1 and (M - 1)(D - 1) degrees of freedom, both of them large-D approximations:
    the same order on all data sets gives an infinite F and p = 0 where the exact one is ``M!^(1-D)``. Methods that tie
    on every data set give statistics of 0 and p-values of 1.

    Args:
        values: ``[D, M]``, one row a data set; whether lower or higher is better does not matter.

    Raises:
        DataError: for fewer than 2 data sets or methods, NaN or infinity.
    """
    ranks = ranks_of_methods(values, lower_is_better=True)
    data_sets, methods = ranks.shape
    if data_sets < 2:
        raise DataError("a test over data sets needs several", given=f"{data_sets} data set", allowed="at least 2")
    centred = ranks - (methods + 1) / 2
    within = float((centred**2).sum())
    if within == 0:
        return FriedmanTest(0.0, 1.0, 0.0, 1.0, data_sets, methods)
    chi_square = (methods - 1) * float((centred.sum(axis=0) ** 2).sum()) / within
    # Ranks are halves of integers, so that a full agreement of all data sets is found exactly.
    remainder = data_sets * (methods - 1) - chi_square
    f_statistic = (data_sets - 1) * chi_square / remainder if remainder > 0 else float("inf")
    return FriedmanTest(
        chi_square=chi_square,
        chi_square_p_value=float(stats.chi2.sf(chi_square, methods - 1)),
        f_statistic=f_statistic,
        f_p_value=float(stats.f.sf(f_statistic, methods - 1, (methods - 1) * (data_sets - 1))),
        data_sets=data_sets,
        methods=methods,
    )


def nemenyi_critical_difference(methods: int, data_sets: int, *, significance: float = 0.05) -> float:
    """Return the difference of mean ranks from which on two of ``methods`` differ: ``q sqrt(M (M + 1) / (6 D))``.

    q is the quantile of the studentised range of M values with infinite degrees of freedom, divided by sqrt(2). The
    level holds for all pairs together.

    Raises:
        DataError: for fewer than 2 methods or 1 data set, or a significance outside (0, 1).

    Source: Demsar (2006), section 3.2.2 and table 5a.
    """
    if methods < 2 or data_sets < 1:
        raise DataError("no pair to compare", given=f"{methods} methods, {data_sets} data sets", allowed="2 and 1")
    if not 0 < significance < 1:
        raise DataError("not a level", where="significance", given=significance, allowed="between 0 and 1")
    quantile = float(stats.studentized_range.ppf(1 - significance, methods, np.inf)) / np.sqrt(2)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * data_sets)))


def nemenyi_groups(mean_ranks: npt.ArrayLike, critical_difference: float) -> tuple[tuple[int, ...], ...]:
    """Return the bars of a critical-difference diagram: maximal groups whose mean ranks span less than it.

    Args:
        mean_ranks: ``[M]``.
        critical_difference: of :func:`nemenyi_critical_difference`.

    Returns:
        As :func:`indistinguishable_groups`; each group is a run of neighbours in mean rank.

    Raises:
        DataError: for fewer than 2 methods, NaN, infinity, or a critical difference that is not positive.
    """
    ranks = checked_array(mean_ranks, name="mean ranks", dimensions=1)
    if not critical_difference > 0:
        raise DataError("not a critical difference", given=critical_difference, allowed="greater than 0")
    return indistinguishable_groups(np.abs(ranks[:, None] - ranks) >= critical_difference)


def indistinguishable_groups(different: npt.ArrayLike) -> tuple[tuple[int, ...], ...]:
    """Return all maximal groups of two or more methods of which no two are significantly different.

    These are the maximal cliques of the graph of pairs not told apart (Bron & Kerbosch 1973). With pairwise tests a
    group need not be a run of neighbours in mean rank.

    Args:
        different: ``[M, M]``, symmetric; True where a pair is significantly different. The diagonal is ignored.

    Returns:
        Groups of increasing method indices, in lexicographic order; a method told apart from all others is in none.

    Raises:
        DataError: for fewer than 2 methods, or a matrix that is not square, Boolean and symmetric.
    """
    matrix = np.asarray(different)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] < 2 or matrix.dtype != np.bool_:
        raise DataError(
            "not a Boolean matrix of pairs", given=f"{matrix.dtype} of shape {matrix.shape}", allowed="bool [M, M]"
        )
    if (matrix != matrix.T).any():
        raise DataError("the matrix of pairs is not symmetric", where="different")
    methods = range(matrix.shape[0])
    alike = [{other for other in methods if other != method and not matrix[method, other]} for method in methods]
    groups: list[tuple[int, ...]] = []

    def grow(group: set[int], candidates: set[int], excluded: set[int]) -> None:
        if not candidates and not excluded:
            groups.append(tuple(sorted(group)))
            return
        pivot = max(candidates | excluded, key=lambda method: len(alike[method] & candidates))
        for method in sorted(candidates - alike[pivot]):
            grow(group | {method}, candidates & alike[method], excluded & alike[method])
            candidates = candidates - {method}
            excluded = excluded | {method}

    grow(set(), set(methods), set())
    return tuple(sorted(group for group in groups if len(group) > 1))


def signed_rank_p_value(differences: npt.ArrayLike) -> float:
    """Return Wilcoxon's two-sided p-value that paired differences are symmetric about 0, zeros treated as by Pratt.

    Zeros take part in the ranking of ``|z|`` and are dropped afterwards; ties share their average rank. The p-value is
    ``min(1, 2 min(P(W <= w), P(W >= w)))`` for the sum W of the ranks of positive differences, over all sign patterns
    of the differences that are not 0 (exact also with ties). Beyond ``EXACT_DIFFERENCES`` of them it is the normal
    approximation with mean ``sum r / 2`` and variance ``sum r^2 / 4``, without continuity correction. Differences that
    are all 0 give 1.

    Args:
        differences: ``[D]``, one a data set.

    Raises:
        DataError: for no difference, NaN or infinity.
    """
    values = checked_array(differences, name="paired differences", dimensions=1)
    ranks = stats.rankdata(np.abs(values))
    signed = values != 0
    doubled = np.rint(2 * ranks[signed]).astype(np.int64)
    observed = int(np.rint(2 * ranks[values > 0]).sum())
    if doubled.size == 0:
        return 1.0
    if doubled.size > EXACT_DIFFERENCES:
        z = (observed - doubled.sum() / 2) / np.sqrt((doubled.astype(np.float64) ** 2).sum() / 4)
        return float(2 * stats.norm.sf(abs(z)))
    # Probabilities of every doubled rank sum, which ties keep an integer; one more difference is + or - with 1/2.
    probability = np.zeros(int(doubled.sum()) + 1)
    probability[0] = 1.0
    for rank in doubled:
        probability[rank:] = (probability[rank:] + probability[:-rank]) / 2
        probability[:rank] /= 2
    return float(min(1.0, 2 * min(probability[: observed + 1].sum(), probability[observed:].sum())))


def pairwise_signed_rank(values: npt.ArrayLike) -> PairwiseSignedRank:
    """Return :func:`signed_rank_p_value` of every pair of methods, plain and after Holm over all pairs.

    Args:
        values: ``[D, M]``, one row a data set.

    Raises:
        DataError: for fewer than 2 methods, NaN or infinity.
    """
    table = checked_array(values, name="values per data set and method", dimensions=2)
    methods = table.shape[1]
    if methods < 2:
        raise DataError("no pair to compare", given=f"{methods} method", allowed="at least 2 methods")
    first, second = np.triu_indices(methods, k=1)
    plain = np.array([signed_rank_p_value(table[:, i] - table[:, j]) for i, j in zip(first, second, strict=True)])
    return PairwiseSignedRank(
        p_values=_symmetric(plain, first, second, methods),
        adjusted=_symmetric(holm_adjusted(plain), first, second, methods),
    )


def _symmetric(
    values: FloatArray, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp], methods: int
) -> FloatArray:
    matrix = np.ones((methods, methods))
    matrix[first, second] = values
    matrix[second, first] = values
    return matrix
