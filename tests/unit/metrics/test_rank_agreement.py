from itertools import combinations

import numpy as np
import pytest

from bayesgrid.errors import DataError
from bayesgrid.metrics.rank_agreement import kendall_agreement


def tau_by_counting(first, second):
    """Kendall's tau without ties: concordant minus discordant pairs over all pairs."""
    signs = [np.sign((first[i] - first[j]) * (second[i] - second[j])) for i, j in combinations(range(len(first)), 2)]
    return sum(signs) / len(signs)


def agreement(first, second, **options):
    return kendall_agreement(first, second, generator=np.random.default_rng(0), **options)


def test_the_estimate_counts_pairs_of_means_in_the_same_order():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 6, 8))
    wanted = tau_by_counting(first.mean(axis=1), second.mean(axis=1))
    assert agreement(first, second, replicates=10).estimate == pytest.approx(wanted)


def test_orders_that_no_seed_disturbs_have_no_width():
    levels = np.arange(4.0)[:, np.newaxis]
    noise = np.random.default_rng(1).normal(scale=0.01, size=(4, 7))
    same, reversed_ = agreement(levels + noise, 2 * levels - noise), agreement(levels + noise, -levels + noise)
    assert (same.lower, same.estimate, same.upper) == (1.0, 1.0, 1.0)
    assert (reversed_.lower, reversed_.estimate, reversed_.upper) == (-1.0, -1.0, -1.0)


def test_noise_that_swaps_methods_widens_the_interval():
    rng = np.random.default_rng(2)
    levels = np.arange(5.0)[:, np.newaxis]
    result = agreement(levels + rng.normal(scale=4, size=(5, 6)), levels + rng.normal(scale=4, size=(5, 6)))
    assert result.upper - result.lower > 0.5


def test_seeds_are_drawn_together_for_all_methods():
    # Each seed shifts all methods alike, so their order is that of every seed.
    shift = 100 * np.random.default_rng(4).normal(size=8)
    result = agreement(np.arange(3.0)[:, np.newaxis] + shift, np.arange(3.0)[:, np.newaxis] - shift)
    assert (result.lower, result.upper) == (1.0, 1.0)


def test_seeds_are_drawn_together_for_both_settings():
    # The order changes from resample to resample, but in the same way on both sides.
    values = np.random.default_rng(5).normal(size=(5, 6))
    result = agreement(values, 2 * values)
    assert (result.lower, result.upper) == pytest.approx((1.0, 1.0))


def test_equal_methods_have_no_order():
    assert agreement(np.zeros((3, 4)), np.arange(12.0).reshape(3, 4)).estimate == 0.0


@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        (((1, 5), (1, 5)), {}),
        (((3, 1), (3, 1)), {}),
        (((3, 5), (3, 4)), {}),
        (((3, 5), (3, 5)), {"level": 1.0}),
        (((3, 5), (3, 5)), {"replicates": 1}),
    ],
)
def test_what_has_no_interval_is_refused(shapes, options):
    with pytest.raises(DataError):
        agreement(*(np.zeros(shape) for shape in shapes), **options)
