import numpy as np
import pytest

from bayesgrid.errors import DataError
from bayesgrid.metrics.preference_scores import PREFERENCE_METRICS, preference_metrics
from bayesgrid.metrics.preference_statistics import preference_statistics


@pytest.fixture
def predicted():
    """Probabilities, some of them undecided, and labels, some of them ties or soft."""
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=80)
    target = np.where(rng.uniform(size=80) < probability, 1.0, 0.0)
    probability[:3], target[2:6], target[6] = 0.5, 0.5, 0.8
    return probability, target


def test_counts_of_one_give_the_metrics_of_the_pairs(predicted):
    found = preference_statistics(*predicted)
    wanted = preference_metrics(*predicted)
    assert set(found) == set(PREFERENCE_METRICS)
    for metric, statistic in found.items():
        assert statistic(np.ones((1, 80)))[0] == pytest.approx(wanted[metric]), metric


@pytest.mark.parametrize("metric", ["accuracy", "nll", "brier", "aurc", "error_auroc"])
def test_counts_are_copies_of_pairs(predicted, metric):
    counts = np.random.default_rng(1).integers(0, 4, size=80)
    copies = np.repeat(np.arange(80), counts)
    found = preference_statistics(*predicted)[metric](counts[None].astype(float))[0]
    wanted = preference_metrics(*(values[copies] for values in predicted))[metric]
    if metric == "aurc":
        # Copies of a pair share the risk after the last of them; here all entropies differ but those of undecided ones.
        assert found == pytest.approx(wanted, abs=0.01)
    else:
        assert found == pytest.approx(wanted)


def test_sides_make_no_difference(predicted):
    probability, target = predicted
    swapped = np.random.default_rng(2).integers(0, 2, size=80).astype(bool)
    counts = np.random.default_rng(3).integers(0, 3, size=(4, 80)).astype(float)
    other = preference_statistics(
        np.where(swapped, 1 - probability, probability), np.where(swapped, 1 - target, target)
    )
    for metric, statistic in preference_statistics(probability, target).items():
        assert statistic(counts) == pytest.approx(other[metric](counts)), metric


def test_predictions_that_are_all_undecided_have_no_separation_of_errors():
    assert "error_auroc" not in preference_statistics([0.5, 0.5], [1.0, 0.0])


@pytest.mark.parametrize(
    ("probability", "target", "message"),
    [([0.5, 1.2], [1, 0], "probability"), ([0.5, 0.2], [1, -1], "target"), ([0.3, 0.4], [0.5, 0.5], "decided")],
)
def test_what_is_no_prediction_is_refused(probability, target, message):
    with pytest.raises(DataError, match=message):
        preference_statistics(probability, target)
