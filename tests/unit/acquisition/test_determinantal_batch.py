import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from bayesgrid.acquisition.determinantal_batch import determinantal_batch, median_distance
from bayesgrid.acquisition.per_prompt import PromptLimit
from bayesgrid.errors import ConfigurationError, DataError


def _pool(seed, candidates=30):
    rng = np.random.default_rng(seed)
    return rng.normal(size=candidates), rng.normal(size=(candidates, 4))


def _log_determinant(scores, features, batch, weight, scale):
    kernel = np.exp(-0.5 * cdist(features, features, "sqeuclidean") / scale**2)
    quality = np.exp(0.5 * weight * scores)
    matrix = quality[:, None] * kernel * quality
    return np.linalg.slogdet(matrix[np.ix_(batch, batch)])[1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weight", [0.0, 1.0, 4.0])
def test_choices_are_those_of_determinants_taken_anew(seed, weight):
    scores, features = _pool(seed)
    batch = []
    for _ in range(12):
        rest = [i for i in range(30) if i not in batch]
        batch.append(max(rest, key=lambda i: _log_determinant(scores, features, [*batch, i], weight, 1.5)))
    choice = determinantal_batch(scores, features, 12, score_weight=weight, length_scale=1.5)
    assert choice.positions.tolist() == batch


def test_the_batch_comes_near_the_best_of_all_batches():
    for seed in range(4):
        scores, features = _pool(seed, candidates=12)
        values = {
            batch: _log_determinant(scores, features, list(batch), 1.0, 1.5)
            for batch in itertools.combinations(range(12), 4)
        }
        found = values[tuple(sorted(determinantal_batch(scores, features, 4, length_scale=1.5).positions.tolist()))]
        best, typical = max(values.values()), np.mean(list(values.values()))
        assert (best - found) / (best - typical) < 0.25


def test_a_repetition_waits_until_nothing_else_is_left():
    features = np.array([[0.0], [0.0], [3.0], [0.0]])
    scores = np.array([1.0, 5.0, 0.0, 4.0])
    assert determinantal_batch(scores, features, 4, length_scale=1.0).positions.tolist() == [1, 2, 3, 0]


def test_a_large_weight_takes_the_highest_scores():
    scores, features = _pool(5)
    found = determinantal_batch(scores, features, 8, score_weight=1e5, length_scale=0.5).positions.tolist()
    assert found == np.argsort(-scores)[:8].tolist()


def test_the_length_scale_is_the_median_distance():
    features = _pool(6, candidates=101)[1]
    assert median_distance(features) == pytest.approx(np.median(pdist(features)), rel=1e-9)
    assert median_distance(features + 1e5) == pytest.approx(np.median(pdist(features)), rel=1e-6)
    assert median_distance(np.ones((5, 2))) == 1.0
    scores = np.zeros(101)
    default = determinantal_batch(scores, features, 10)
    assert default.positions.tolist() == determinantal_batch(scores, 7.0 * features, 10).positions.tolist()


def test_a_prompt_gives_no_more_than_its_limit():
    scores, features = _pool(7)
    prompts = np.arange(30) // 5
    scores[:10] += 5.0
    chosen = determinantal_batch(scores, features, 6, limit=PromptLimit(prompts)).positions
    assert sorted(prompts[chosen]) == list(range(6))


def test_impossible_input_is_refused():
    scores, features = _pool(8)
    with pytest.raises(DataError, match="do not belong together"):
        determinantal_batch(scores[:-1], features, 2)
    with pytest.raises(ConfigurationError, match="weight"):
        determinantal_batch(scores, features, 2, score_weight=-1.0)
    with pytest.raises(ConfigurationError, match="length scale"):
        determinantal_batch(scores, features, 2, length_scale=0.0)
