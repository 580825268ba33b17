from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics import rank_tests
from bayesgrid.metrics.multiple_comparisons import holm_adjusted
from bayesgrid.metrics.rank_tests import (
    friedman_test,
    indistinguishable_groups,
    nemenyi_critical_difference,
    nemenyi_groups,
    pairwise_signed_rank,
    signed_rank_p_value,
)

# Demsar (2006), table 5a: critical values of the two-tailed Nemenyi test for 2 to 10 methods.
NEMENYI_005 = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
NEMENYI_010 = [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]


@pytest.mark.parametrize("decimals", [6, 0], ids=["without ties", "with ties"])
@pytest.mark.parametrize("shape", [(4, 3), (8, 5), (17, 4)])
def test_friedman_equals_scipy(shape, decimals):
    values = np.round(np.random.default_rng(shape[0]).normal(size=shape), decimals)
    expected = stats.friedmanchisquare(*values.T)
    result = friedman_test(values)
    assert (result.chi_square, result.chi_square_p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert (result.data_sets, result.methods) == shape


@pytest.mark.parametrize("decimals", [6, 0], ids=["without ties", "with ties"])
def test_iman_davenport_is_the_two_way_analysis_of_variance_of_ranks(decimals):
    values = np.round(np.random.default_rng(3).normal(size=(9, 4)), decimals)
    ranks = stats.rankdata(values, axis=1)
    methods = ranks - ranks.mean(axis=1, keepdims=True)
    effect = methods.mean(axis=0)
    treatment = 9 * (effect**2).sum() / 3
    error = ((methods - effect) ** 2).sum() / (3 * 8)
    result = friedman_test(values)
    assert result.f_statistic == pytest.approx(treatment / error)
    assert result.f_p_value == pytest.approx(stats.f.sf(treatment / error, 3, 24))


def test_full_agreement_is_infinitely_significant_and_ties_everywhere_say_nothing():
    agreed = friedman_test([[1.0, 2.0, 3.0, 3.0]] * 6)
    assert agreed.f_statistic == np.inf
    assert agreed.f_p_value == 0
    tied = friedman_test([[1.0, 1.0, 1.0]] * 6)
    assert (tied.chi_square, tied.chi_square_p_value, tied.f_statistic, tied.f_p_value) == (0, 1, 0, 1)


@pytest.mark.parametrize(("significance", "table"), [(0.05, NEMENYI_005), (0.10, NEMENYI_010)])
def test_nemenyi_critical_difference_reproduces_the_published_table(significance, table):
    for methods, quantile in enumerate(table, start=2):
        difference = nemenyi_critical_difference(methods, 10, significance=significance)
        assert difference / np.sqrt(methods * (methods + 1) / 60) == pytest.approx(quantile, abs=1.5e-3)


def maximal_groups_by_enumeration(different: np.ndarray) -> set[tuple[int, ...]]:
    methods = range(len(different))
    groups = [
        set(group)
        for size in range(1, len(different) + 1)
        for group in combinations(methods, size)
        if not any(different[a, b] for a, b in combinations(group, 2))
    ]
    return {tuple(sorted(g)) for g in groups if len(g) > 1 and not any(g < other for other in groups)}


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6).flatmap(lambda m: hnp.arrays(np.bool_, (m, m))))
def test_groups_are_the_maximal_ones_of_all_subsets(half):
    different = np.triu(half, 1) | np.triu(half, 1).T
    groups = indistinguishable_groups(different)
    assert set(groups) == maximal_groups_by_enumeration(different)
    assert list(groups) == sorted(set(groups))


def test_a_part_of_a_group_found_earlier_is_not_reported_again():
    triangle = np.arange(6) // 3
    assert indistinguishable_groups(triangle[:, None] != triangle) == ((0, 1, 2), (3, 4, 5))


def test_nemenyi_groups_of_the_published_example():
    # Demsar (2006), section 3.2.2: at 0.10 on 14 data sets C4.5 is worse than the two with tuned m, and C4.5 with tuned
    # cf cannot be told from either side.
    assert nemenyi_critical_difference(4, 14, significance=0.1) == pytest.approx(1.12, abs=0.005)
    assert nemenyi_groups([3.143, 2.000, 2.893, 1.964], 1.12) == ((0, 2), (1, 2, 3))
    assert nemenyi_groups([1.0, 2.0, 3.0], 1.0) == ()
    assert nemenyi_groups([3.0, 1.0, 2.0], 1.5) == ((0, 2), (1, 2))


@settings(deadline=None)
@given(hnp.arrays(np.int64, st.integers(1, 9), elements=st.integers(-4, 4)))
def test_signed_rank_p_value_is_that_of_all_sign_patterns(differences):
    ranks = stats.rankdata(np.abs(differences))[differences != 0]
    observed = stats.rankdata(np.abs(differences))[differences > 0].sum()
    sums = np.array([ranks @ np.array(signs) for signs in product([0, 1], repeat=ranks.size)])
    expected = min(1.0, 2 * min((sums <= observed).mean(), (sums >= observed).mean()))
    assert signed_rank_p_value(differences) == pytest.approx(expected)


@pytest.mark.parametrize("count", [5, 12, 40])
def test_signed_rank_p_value_equals_scipy_exact_without_ties(count):
    differences = np.random.default_rng(count).normal(0.3, 1, size=count)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_p_value(differences) == pytest.approx(expected)


def test_zeros_are_treated_as_by_pratt_and_not_dropped_before_ranking():
    differences = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 2.5, -3.0, 4.0, 5.0])
    options = {"method": stats.PermutationMethod(n_resamples=np.inf)}
    pratt = stats.wilcoxon(differences, zero_method="pratt", **options).pvalue
    wilcox = stats.wilcoxon(differences, zero_method="wilcox", **options).pvalue
    assert signed_rank_p_value(differences) == pytest.approx(pratt)
    assert signed_rank_p_value(differences) != pytest.approx(wilcox)


def test_many_differences_use_the_normal_approximation_of_scipy(monkeypatch):
    differences = np.round(np.random.default_rng(1).normal(0.1, 1, size=200), 1)
    exact = signed_rank_p_value(differences)
    monkeypatch.setattr(rank_tests, "EXACT_DIFFERENCES", 50)
    expected = stats.wilcoxon(differences, zero_method="pratt", method="approx", correction=False).pvalue
    assert signed_rank_p_value(differences) == pytest.approx(expected)
    assert exact == pytest.approx(expected, rel=0.05)


def test_signed_rank_cannot_be_significant_below_six_data_sets():
    assert signed_rank_p_value([1.0, 2.0, 3.0, 4.0]) == 0.125
    assert signed_rank_p_value(np.arange(1.0, 6.0)) > 0.05 > signed_rank_p_value(np.arange(1.0, 7.0))
    assert signed_rank_p_value([0.0, 0.0]) == 1


def test_pairs_are_symmetric_and_holm_runs_over_all_of_them():
    values = np.random.default_rng(5).normal([0, 0.5, 1.5, 3], 1, size=(9, 4))
    result = pairwise_signed_rank(values)
    upper = np.triu_indices(4, k=1)
    plain = [stats.wilcoxon(values[:, i], values[:, j], method="exact").pvalue for i, j in zip(*upper, strict=True)]
    np.testing.assert_allclose(result.p_values[upper], plain)
    np.testing.assert_allclose(result.adjusted[upper], holm_adjusted(plain))
    for matrix in (result.p_values, result.adjusted):
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_array_equal(np.diag(matrix), 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: friedman_test([[1.0, 2.0]]),
        lambda: friedman_test([[1.0], [2.0]]),
        lambda: nemenyi_critical_difference(1, 5),
        lambda: nemenyi_critical_difference(3, 5, significance=0.0),
        lambda: nemenyi_groups([1.0, 2.0], 0.0),
        lambda: nemenyi_groups([1.0, 2.0], np.nan),
        lambda: indistinguishable_groups([[False, True], [False, False]]),
        lambda: indistinguishable_groups([[0, 1], [1, 0]]),
        lambda: indistinguishable_groups(np.zeros((2, 3), dtype=bool)),
        lambda: signed_rank_p_value([]),
        lambda: signed_rank_p_value([np.nan]),
        lambda: pairwise_signed_rank([[1.0], [2.0]]),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
