import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesgrid.data.splits import initial_labels, published_split, split_rows, split_validation
from bayesgrid.errors import ConfigurationError, DataError


@pytest.mark.parametrize(("rows", "train"), [(5875, 3760), (21263, 13608), (44484, 28470), (53940, 34522), (1000, 640)])
def test_training_rows_are_as_many_as_published(rows, train):
    # BALSA, table 2.
    outer = split_rows(rows, "random", 0.2, 0)
    inner = split_validation(outer.kept, None, "random", 0.2, 3)
    assert inner.kept.size == train
    assert np.array_equal(np.sort(np.concatenate([inner.kept, inner.held_out, outer.held_out])), np.arange(rows))


def test_test_rows_depend_on_their_own_seed_only():
    first, again, other = (split_rows(200, "random", 0.2, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.held_out, again.held_out)
    assert not np.array_equal(first.held_out, other.held_out)


def test_published_split_holds_out_the_rows_of_its_mask_in_order():
    masks = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [0, 0]], dtype=bool)
    first, second = published_split(masks, 0), published_split(masks, 1)
    assert (first.held_out.tolist(), first.kept.tolist()) == ([0, 3], [1, 2, 4])
    assert (second.held_out.tolist(), second.kept.tolist()) == ([1, 2], [0, 3, 4])


@pytest.mark.parametrize(
    ("masks", "index", "words"),
    [
        (None, 0, "no test splits are published"),
        (np.eye(4, 3, dtype=bool), 3, "given: 3; allowed: 0 to 2"),
        (np.eye(4, 3, dtype=bool), -1, "allowed: 0 to 2"),
    ],
)
def test_published_split_that_does_not_exist_is_a_configuration_error(masks, index, words):
    with pytest.raises(ConfigurationError, match=words):
        published_split(masks, index)


def test_validation_rows_and_first_labels_differ_between_seeds():
    kept = split_rows(200, "random", 0.2, 0).kept
    validation = [split_validation(kept, None, "random", 0.2, seed).held_out.tolist() for seed in range(4)]
    labels = [initial_labels(kept, 20, seed).labelled.tolist() for seed in range(4)]
    assert len({tuple(rows) for rows in validation}) == 4
    assert len({tuple(rows) for rows in labels}) == 4


def test_every_row_is_held_out_equally_often():
    counts = np.zeros(50)
    for seed in range(800):
        counts[split_rows(50, "random", 0.2, seed).held_out] += 1
    # Binomial(800, 0.2): mean 160, standard deviation 11.3; five of them bound 50 rows with probability > 0.99996.
    assert abs(counts - 160).max() < 5 * 11.3


def test_first_labels_are_nested_and_disjoint_from_the_pool():
    train = np.arange(100, 160)
    small, large = initial_labels(train, 10, 7), initial_labels(train, 25, 7)
    assert set(small.labelled) < set(large.labelled)
    assert np.array_equal(np.sort(np.concatenate([large.labelled, large.pool])), train)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=10), st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 5))
def test_grouped_split_keeps_groups_whole_and_is_as_near_as_any(sizes, fraction, seed):
    groups = np.repeat(np.arange(len(sizes)) * 3, sizes)
    groups = groups[np.random.default_rng(seed).permutation(groups.size)]
    wanted = math.ceil(groups.size * Fraction(str(fraction)))
    if not 0 < wanted < groups.size:
        return
    split = split_rows(groups, "grouped", fraction, seed)
    assert not set(groups[split.kept]) & set(groups[split.held_out])
    assert np.array_equal(np.sort(np.concatenate([split.kept, split.held_out])), np.arange(groups.size))
    totals = [sum(chosen) for count in range(1, len(sizes)) for chosen in combinations(sizes, count)]
    assert abs(split.held_out.size - wanted) == min(abs(total - wanted) for total in totals)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_grouped_split_of_many_groups_is_exact_and_random(size):
    sizes = np.tile([size, 1, 3], 400)
    groups = np.repeat(np.arange(sizes.size), sizes)
    splits = [split_rows(groups, "grouped", 0.2, seed) for seed in range(2)]
    assert all(split.held_out.size == math.ceil(groups.size * Fraction(1, 5)) for split in splits)
    shared = np.isin(splits[0].held_out, splits[1].held_out).mean()
    assert 0.1 < shared < 0.3  # two independent fifths share a fifth


def test_groups_are_held_out_equally_often():
    groups = np.repeat(np.arange(10), 4)
    counts = np.zeros(10)
    for seed in range(500):
        counts[np.unique(groups[split_rows(groups, "grouped", 0.2, seed).held_out])] += 1
    # Two of ten groups each time: Binomial(500, 0.2), standard deviation 8.9.
    assert abs(counts - 100).max() < 5 * 8.9


def test_grouped_validation_uses_the_groups_of_the_kept_rows():
    groups = np.repeat(np.arange(12), 5)
    outer = split_rows(groups, "grouped", 0.25, 0)
    inner = split_validation(outer.kept, groups, "grouped", 0.2, 1)
    assert inner.held_out.size == 10
    sides = [set(groups[rows]) for rows in (inner.kept, inner.held_out, outer.held_out)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 12


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: split_rows(10, "grouped", 0.2, 0), "have no groups"),
        (lambda: split_rows(2, "random", 0.2, 0), None),
        (lambda: split_rows(1, "random", 0.2, 0), "one side of a split would be empty"),
        (lambda: split_rows(10, "random", 1.0, 0), "test_fraction"),
        (lambda: split_rows(10, "random", 0.0, 0), "test_fraction"),
        (lambda: split_validation(np.arange(10), None, "random", 1.5, 0), "validation_fraction"),
        (lambda: initial_labels(np.arange(10), 11, 0), "labels.initial"),
        (lambda: initial_labels(np.arange(10), 0, 0), "labels.initial"),
    ],
)
def test_impossible_splits_are_configuration_errors(call, words):
    if words is None:
        assert call().held_out.size == 1
        return
    with pytest.raises(ConfigurationError, match=words):
        call()


def test_one_group_cannot_be_split():
    with pytest.raises(DataError, match="at least two groups"):
        split_rows(np.zeros(10, dtype=np.int64), "grouped", 0.2, 0)
