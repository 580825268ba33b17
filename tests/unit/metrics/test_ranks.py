import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bayesgrid.errors import DataError
from bayesgrid.metrics.ranks import mean_ranks, ranks_of_methods

tables = hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(2, 6)), elements=st.integers(-3, 3))


@given(tables)
def test_rank_counts_the_better_methods_and_half_of_the_tied_ones(values):
    ranks = ranks_of_methods(values, lower_is_better=True)
    for row, rank_row in zip(values, ranks, strict=True):
        for value, rank in zip(row, rank_row, strict=True):
            assert rank == (row < value).sum() + ((row == value).sum() + 1) / 2


@given(tables)
def test_reversing_the_direction_mirrors_the_ranks(values):
    methods = values.shape[1]
    lower, higher = (mean_ranks(values, lower_is_better=flag) for flag in (True, False))
    np.testing.assert_allclose(lower + higher, methods + 1)


def test_mean_ranks_of_a_table_with_a_tie():
    accuracies = [[0.9, 0.8, 0.7], [0.5, 0.5, 0.1], [0.2, 0.3, 0.4], [0.9, 0.1, 0.2]]
    np.testing.assert_allclose(mean_ranks(accuracies, lower_is_better=False), [6.5 / 4, 8.5 / 4, 9 / 4])


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0], [2.0]], [[1.0, np.nan]], np.empty((0, 3))])
def test_malformed_input_is_a_data_error(values):
    with pytest.raises(DataError):
        mean_ranks(values, lower_is_better=True)
