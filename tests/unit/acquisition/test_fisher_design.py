import itertools

import numpy as np
import pytest

from bayesgrid.acquisition.fisher_design import (
    batch_log_determinant,
    bernoulli_information,
    fisher_design,
    posterior_covariance,
)
from bayesgrid.acquisition.per_prompt import PromptLimit
from bayesgrid.errors import ConfigurationError, DataError


def _pool(seed, candidates=40, features=5, labelled=0):
    rng = np.random.default_rng(seed)
    jacobians = rng.normal(size=(candidates + labelled, features)) * np.geomspace(3.0, 0.2, features)
    weights = bernoulli_information(rng.uniform(size=len(jacobians)), temperature=0.5)
    return jacobians[:candidates], weights[:candidates], jacobians[candidates:], weights[candidates:]


def _log_determinant(precision, jacobians, weights):
    return np.linalg.slogdet(precision + jacobians.T @ (weights[:, None] * jacobians))[1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("labelled", [0, 3, 30])
def test_choices_and_gains_are_those_of_determinants_taken_anew(seed, labelled):
    jacobians, weights, known, known_weights = _pool(seed, labelled=labelled)
    precision = 0.7 * np.eye(5) + known.T @ (known_weights[:, None] * known)
    design = fisher_design(jacobians, weights, 12, covariance=posterior_covariance(known, known_weights, 0.7))
    batch, before = [], _log_determinant(precision, jacobians[:0], weights[:0])
    for step in range(12):
        rest = [i for i in range(40) if i not in batch]
        values = {i: _log_determinant(precision, jacobians[[*batch, i]], weights[[*batch, i]]) for i in rest}
        best = max(rest, key=values.__getitem__)
        batch.append(best)
        assert design.gains[step] == pytest.approx(values[best] - before, rel=1e-9)
        before = values[best]
    assert design.choice.positions.tolist() == batch


def test_long_updates_do_not_drift():
    jacobians, weights, known, known_weights = _pool(5, candidates=400, features=20, labelled=10)
    covariance = posterior_covariance(known, known_weights, 1e-4)
    design = fisher_design(jacobians, weights, 300, covariance=covariance)
    batch = design.choice.positions
    total = batch_log_determinant(jacobians[batch], weights[batch], covariance)
    assert design.gains.sum() == pytest.approx(total, rel=1e-9)
    assert np.all(np.diff(design.gains) <= 1e-9)  # submodular: a later choice never adds more


def test_the_batch_is_within_the_guarantee_of_the_best_of_all_batches():
    for seed in range(4):
        jacobians, weights, _, _ = _pool(seed, candidates=12, features=3)
        identity = np.eye(3)
        values = {
            batch: batch_log_determinant(jacobians[list(batch)], weights[list(batch)], identity)
            for batch in itertools.combinations(range(12), 4)
        }
        found = values[tuple(sorted(fisher_design(jacobians, weights, 4).choice.positions.tolist()))]
        assert found > 0.95 * max(values.values())
        assert max(values.values()) > 1.2 * np.mean(list(values.values()))


def test_a_repeated_candidate_is_left_for_one_that_says_something_new():
    jacobians = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert fisher_design(jacobians, np.ones(3), 2).choice.positions.tolist() == [0, 2]
    # With the first direction known from labels, the other comes first.
    known = posterior_covariance(np.array([[30.0, 0.0]]), np.ones(1))
    assert fisher_design(jacobians, np.ones(3), 1, covariance=known).choice.positions.tolist() == [2]


def test_a_sure_answer_teaches_nothing():
    jacobians = np.array([[9.0, 0.0], [0.0, 1.0]])
    weights = bernoulli_information(np.array([1.0, 0.5]))
    design = fisher_design(jacobians, weights, 2)
    assert design.choice.positions.tolist() == [1, 0]
    np.testing.assert_allclose(design.gains, [np.log(1.25), 0.0], atol=1e-12)


def test_information_is_the_curvature_of_the_log_likelihood():
    temperature, step = 0.3, 1e-4
    for score in (-0.4, 0.0, 1.1):

        def loss(s):
            return np.log1p(np.exp(-s / temperature))

        curvature = (loss(score + step) - 2 * loss(score) + loss(score - step)) / step**2
        probability = np.array([1 / (1 + np.exp(-score / temperature))])
        assert bernoulli_information(probability, temperature)[0] == pytest.approx(curvature, rel=1e-5)


def test_a_prompt_gives_no_more_than_its_limit():
    jacobians, weights, _, _ = _pool(7)
    prompts = np.arange(40) // 4
    chosen = fisher_design(jacobians, weights, 10, limit=PromptLimit(prompts)).choice.positions
    assert np.bincount(prompts[chosen]).max() == 1
    free = fisher_design(jacobians, weights, 10).choice.positions
    assert np.bincount(prompts[free]).max() > 1
    # More places than the limit leaves are filled all the same.
    assert len(set(fisher_design(jacobians, weights, 15, limit=PromptLimit(prompts)).choice.positions.tolist())) == 15


def test_weights_that_are_not_finite_come_last():
    jacobians, weights, _, _ = _pool(8)
    weights[3], jacobians[5, 1] = np.nan, np.inf
    design = fisher_design(jacobians, weights, 40)
    assert design.choice.positions[38:].tolist() == [3, 5]
    assert design.choice.nonfinite == 2
    assert np.isnan(design.gains).tolist() == [False] * 38 + [True] * 2


def test_impossible_input_is_refused():
    jacobians, weights, _, _ = _pool(9)
    with pytest.raises(DataError, match="do not belong together"):
        fisher_design(jacobians, weights[:-1], 3)
    with pytest.raises(DataError, match="negative"):
        fisher_design(jacobians, -weights, 3)
    with pytest.raises(DataError, match="covariance"):
        fisher_design(jacobians, weights, 3, covariance=np.eye(4))
    with pytest.raises(DataError, match="belong to the candidates"):
        fisher_design(jacobians, weights, 3, limit=PromptLimit(np.zeros(7, dtype=np.int64)))
    with pytest.raises(DataError, match="not finite"):
        posterior_covariance(np.array([[np.nan]]), np.ones(1))
    with pytest.raises(ConfigurationError, match="precision"):
        posterior_covariance(jacobians, weights, 0.0)
    with pytest.raises(DataError, match="out of range"):
        bernoulli_information(np.array([1.2]))
    with pytest.raises(ConfigurationError, match="temperature"):
        bernoulli_information(np.array([0.2]), 0.0)
