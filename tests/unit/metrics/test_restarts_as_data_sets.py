import numpy as np
import pytest
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.rank_tests import friedman_test, pairwise_signed_rank
from bayesgrid.metrics.restarts_as_data_sets import restarts_as_data_sets


def peculiar_data_sets(generator, data_sets, methods, seeds):
    """Methods equally good over data sets, each data set favouring some of them by chance."""
    favour = generator.normal(size=(data_sets, methods, 1))
    return list(favour + generator.normal(scale=0.5, size=(data_sets, methods, seeds)))


def test_rows_are_restarts_in_one_analysis_and_means_in_the_other():
    values = peculiar_data_sets(np.random.default_rng(1), 7, 3, 5)
    values[2] = values[2][:, :2]
    result = restarts_as_data_sets(values)
    restarts = np.array([table[:, seed] for table in values for seed in range(table.shape[1])])
    means = np.array([table.mean(axis=1) for table in values])
    assert (result.restarts.rows, result.data_sets.rows) == (32, 7)
    assert result.restarts.friedman == friedman_test(restarts)
    assert result.data_sets.friedman.chi_square == pytest.approx(stats.friedmanchisquare(*means.T).statistic)
    np.testing.assert_allclose(result.restarts.pairs.adjusted, pairwise_signed_rank(restarts).adjusted)
    np.testing.assert_allclose(result.data_sets.pairs.p_values, pairwise_signed_rank(means).p_values)


def test_more_restarts_claim_differences_that_are_not_there():
    trials = 150
    generator = np.random.default_rng(3)
    friedman, pairs = np.zeros(2), np.zeros(2)
    for _ in range(trials):
        result = restarts_as_data_sets(peculiar_data_sets(generator, 8, 3, 10))
        for index, evidence in enumerate((result.restarts, result.data_sets)):
            friedman[index] += evidence.friedman.f_p_value <= 0.05
            pairs[index] += (evidence.pairs.adjusted <= 0.05).any()
    limit = trials * 0.05 + 4 * np.sqrt(trials * 0.05 * 0.95)
    assert max(friedman[1], pairs[1]) <= limit
    assert min(friedman[0], pairs[0]) > trials / 2


@pytest.mark.parametrize("values", [[], [np.ones((2, 3))], [np.ones((2, 3)), np.ones((3, 3))], [np.ones((1, 3))] * 2])
def test_malformed_input_is_a_data_error(values):
    with pytest.raises(DataError):
        restarts_as_data_sets(values)
