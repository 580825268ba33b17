import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import chisquare

from bayesgrid.acquisition.k_means_plus_plus import k_means_plus_plus

TRIALS = 4000


def _probabilities(candidates, labelled, query_size):
    """Return the probability of every ordered choice, by multiplying those of its steps."""
    table = {}
    for order in itertools.permutations(range(len(candidates)), query_size):
        probability = 1.0
        for step, taken in enumerate(order):
            centres = np.concatenate([labelled, candidates[list(order[:step])]])
            weights = cdist(candidates, centres).min(axis=1) ** 2 if len(centres) else np.ones(len(candidates))
            probability *= weights[taken] / weights.sum()
        table[order] = probability
    return table


@pytest.mark.parametrize("labelled", [0, 2])
def test_ordered_choices_have_the_probability_of_their_steps(labelled):
    rng = np.random.default_rng(11)
    points = rng.normal(size=(4 + labelled, 2))
    expected = _probabilities(points[:4], points[4:], 2)
    assert sum(expected.values()) == pytest.approx(1.0)
    counts = dict.fromkeys(expected, 0)
    stream = np.random.default_rng(1)
    for _ in range(TRIALS):
        counts[tuple(k_means_plus_plus(points[:4], points[4:], 2, stream).positions.tolist())] += 1
    probabilities = np.array(list(expected.values()))
    assert chisquare(list(counts.values()), TRIALS * probabilities).pvalue > 1e-3


def test_a_repetition_of_a_centre_is_drawn_last():
    candidates = np.array([[1.0], [0.0], [1.0], [2.0]])
    for seed in range(200):
        positions = k_means_plus_plus(candidates, np.zeros((1, 1)), 4, np.random.default_rng(seed)).positions.tolist()
        assert set(positions[:2]) in ({0, 3}, {2, 3})


def test_the_first_candidate_can_be_given():
    points = np.random.default_rng(2).normal(size=(9, 2))
    points[1] = np.nan
    for first in (0, 2, 8):
        choice = k_means_plus_plus(points, points[:0], 5, np.random.default_rng(0), first=first)
        assert choice.positions[0] == first
        assert len(set(choice.positions.tolist())) == 5
