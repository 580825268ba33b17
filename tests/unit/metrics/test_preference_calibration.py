import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from bayesgrid.errors import DataError
from bayesgrid.metrics.preference_calibration import (
    ANNOTATOR_METRICS,
    annotator_metrics,
    error_aurocs,
    vote_disagreement,
)


def panel(count=300, annotators=3, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.95, count)
    kinds = rng.random((count, annotators))
    tie = rng.random((count, annotators)) < 0.1
    first = (kinds < truth[:, None]) & ~tie
    return truth, np.stack([first.sum(1), (~first & ~tie).sum(1), tie.sum(1)], axis=1).astype(float)


def test_expected_log_score_is_the_mean_over_single_annotators():
    truth, votes = panel()
    scores = []
    for p, (first, second, tie) in zip(truth, votes, strict=True):
        own = first * np.log(p) + second * np.log(1 - p) + tie * (np.log(p) + np.log(1 - p)) / 2
        scores.append(-own / 3)
    found = annotator_metrics(truth, votes)
    assert tuple(found) == ANNOTATOR_METRICS
    assert found["annotator_nll"] == pytest.approx(np.mean(scores))
    assert found["annotator_nll"] > found["annotator_nll_floor"]


def test_shares_themselves_are_the_floor_and_match_entirely():
    _, votes = panel()
    share = (votes[:, 0] + votes[:, 2] / 2) / 3
    found = annotator_metrics(share, votes)
    assert found["annotator_nll"] == pytest.approx(found["annotator_nll_floor"])
    assert found["share_ece"] == pytest.approx(0, abs=1e-12)
    assert found["share_error"] == 0
    assert found["share_spearman"] == pytest.approx(1)


def test_uncertainty_that_knows_the_disagreement_correlates_with_it():
    truth, votes = panel(2000)
    disagreement = vote_disagreement(votes)
    found = annotator_metrics(truth, votes, {"oracle": disagreement, "constant": np.ones(2000)})
    assert found["disagreement_spearman_oracle"] == pytest.approx(1)
    assert np.isnan(found["disagreement_spearman_constant"])
    entropy = stats.entropy(np.stack([truth, 1 - truth]))
    assert found["disagreement_spearman"] == pytest.approx(stats.spearmanr(entropy, disagreement).statistic)
    assert found["disagreement_spearman"] > 0.2


def test_pairs_without_votes_have_no_part():
    truth, votes = panel(50)
    more = annotator_metrics(np.r_[truth, 0.9], np.vstack([votes, np.zeros(3)]))
    assert more == pytest.approx(annotator_metrics(truth, votes))
    with pytest.raises(DataError, match="no votes"):
        annotator_metrics([0.5], [[0, 0, 0]])


def test_no_value_depends_on_the_side():
    truth, votes = panel()
    swap = np.random.default_rng(1).random(len(truth)) < 0.5
    other = np.where(swap[:, None], votes[:, [1, 0, 2]], votes)
    swapped = annotator_metrics(np.where(swap, 1 - truth, truth), other)
    assert swapped == pytest.approx(annotator_metrics(truth, votes), abs=1e-9)


def test_disagreement_is_the_chance_that_two_drawn_votes_differ():
    np.testing.assert_allclose(vote_disagreement([[3, 0, 0], [0, 0, 3], [2, 1, 0], [1, 1, 1]]), [0, 0, 4 / 9, 2 / 3])


def test_error_auroc_agrees_with_scikit_learn_and_leaves_out_what_is_undecided():
    rng = np.random.default_rng(3)
    probability, score = rng.random(200), rng.random(200)
    target = (rng.random(200) < 0.5).astype(float)
    wrong = (probability > 0.5) != (target > 0.5)
    found = error_aurocs(np.r_[probability, 0.5, 0.9], np.r_[target, 1, 0.5], {"bald": np.r_[score, 9, 9]})
    assert found == {"error_auroc_bald": pytest.approx(roc_auc_score(wrong, score))}
    assert np.isnan(error_aurocs([0.9, 0.8], [1, 1], {"bald": [1, 2]})["error_auroc_bald"])
