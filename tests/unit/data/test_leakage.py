import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesgrid.data.leakage import find_leaks, require_no_leaks
from bayesgrid.data.regression_tables import RegressionTable
from bayesgrid.data.splits import split_rows
from bayesgrid.errors import DataError


def table(features, target=None, groups=None):
    features = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    target = np.arange(len(features), dtype=np.float64) if target is None else np.asarray(target, dtype=np.float64)
    names = tuple(f"x{j}" for j in range(features.shape[1]))
    return RegressionTable("toy", features, target, names, None if groups is None else np.asarray(groups))


def test_each_kind_of_leak_is_counted():
    rows = table([1, 2, 1, 1, 3, 4], target=[0, 1, 0, 9, 3, 4], groups=[0, 1, 2, 2, 3, 1])
    (leak,) = find_leaks(rows, {"train": np.array([0, 1, 4]), "test": np.array([2, 3, 4, 5])}).leaks
    assert (leak.first, leak.second) == ("train", "test")
    assert leak.shared_rows == 1  # row 4
    assert leak.equal_features == 3  # rows 2 and 3 equal row 0; row 4 equals itself
    assert leak.equal_rows == 2  # rows 2 and 4
    assert leak.shared_groups == 2  # groups 1 and 3
    assert leak.rows_of_shared_groups == 2  # rows 4 and 5
    assert leak.examples == ((0, 2), (0, 3), (4, 4))


def test_disjoint_parts_without_equal_rows_are_clean():
    report = find_leaks(table([1, 2, 3, 4], groups=[0, 0, 1, 1]), {"train": np.array([0, 1]), "test": np.array([2, 3])})
    assert report.clean
    require_no_leaks(report)


@pytest.mark.parametrize(
    ("features", "groups", "words"),
    [
        ([1, 2, 1, 4], None, "1 rows with equal features.*rows 0 and 2"),
        ([1, 2, 3, 4], [0, 1, 1, 2], "1 shared groups"),
    ],
)
def test_a_leak_is_an_error_that_counts_it(features, groups, words):
    report = find_leaks(table(features, groups=groups), {"train": np.array([0, 1]), "test": np.array([2, 3])})
    assert not report.clean
    with pytest.raises(DataError, match=words):
        require_no_leaks(report)


def test_every_two_parts_are_compared():
    parts = {"train": np.array([0]), "validation": np.array([1]), "test": np.array([2])}
    report = find_leaks(table([1, 5, 5]), parts)
    assert [(leak.first, leak.second, leak.equal_features) for leak in report.leaks] == [
        ("train", "validation", 0),
        ("train", "test", 0),
        ("validation", "test", 1),
    ]


@given(st.lists(st.integers(0, 4), min_size=6, max_size=25), st.integers(0, 3))
def test_counts_equal_a_count_by_hand(features, seed):
    rows = table(features, target=[value % 2 for value in features])
    split = split_rows(len(features), "random", 0.3, seed)
    (leak,) = find_leaks(rows, {"train": split.kept, "test": split.held_out}).leaks
    kept = [features[i] for i in split.kept]
    assert leak.equal_features == leak.equal_rows == sum(features[i] in kept for i in split.held_out)
    assert leak.shared_rows == 0


def test_index_outside_the_table_is_refused():
    with pytest.raises(DataError, match="no row"):
        find_leaks(table([1, 2]), {"train": np.array([0]), "test": np.array([2])})
