"""Named random streams."""

import numpy as np
import pytest
from scipy import stats

from bayesgrid.random_streams import random_stream


def test_a_stream_is_a_function_of_seed_name_and_index():
    first = random_stream(3, "batches", 2, 1).random(5)
    random_stream(3, "other").random(100)
    np.testing.assert_array_equal(first, random_stream(3, "batches", 2, 1).random(5))


def test_values_are_the_same_on_every_machine():
    assert random_stream(0, "a", 1).random() == 0.4175096087041512


def test_streams_differ_in_each_part_of_the_key():
    keys = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", 0, 0), (256, "a")]
    assert len({random_stream(*key).integers(2**62) for key in keys}) == len(keys)


def test_neighbouring_streams_are_uncorrelated_and_uniform():
    draws = np.array([random_stream(seed, "x", step).random(20) for seed in range(20) for step in range(20)])
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    correlation = np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(draws.size)


@pytest.mark.parametrize("key", [(-1, "a"), (0, "a", -1)])
def test_negative_keys_are_refused(key):
    with pytest.raises(ValueError, match="non-negative"):
        random_stream(*key)
