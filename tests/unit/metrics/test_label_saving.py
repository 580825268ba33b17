import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.label_saving import accuracy_grid, label_saving, labels_at_accuracies
from bayesgrid.metrics.labels_to_target import labels_to_target

LABELS = np.arange(100, 801, 100)


def saving(rule, reference, grid, labelled=LABELS):
    return label_saving(labelled, rule, reference, grid, generator=np.random.default_rng(0), replicates=500)


def straight(slope, seeds=(0.0,), labelled=LABELS, start=0.5):
    """Return accuracies that rise by ``slope`` a thousand labels, from ``start`` at no label, shifted by seed."""
    return start + slope * labelled / 1000 + np.array(seeds)[:, None]


def test_a_rule_that_learns_twice_as_fast_saves_half_of_all_labels_at_every_accuracy():
    grid = accuracy_grid(LABELS, straight(0.1))
    found = saving(straight(0.2), straight(0.1), grid)
    # The first fit has 100 labels, so accuracies that the reference has with fewer than 200 cost the rule 100.
    exact = 1 - np.maximum(100, (grid - 0.5) / 0.2 * 1000) / ((grid - 0.5) / 0.1 * 1000)
    assert found.estimate == pytest.approx(exact)
    assert found.at_most == pytest.approx(exact)
    assert exact[-1] == pytest.approx(0.5)
    assert (found.unreached == 0).all()
    assert np.isnan(found.lower).all()


def test_the_same_curves_save_nothing_on_any_seed():
    curves = straight(0.1, seeds=(0.0, 0.02, -0.01))
    found = saving(curves, curves, accuracy_grid(LABELS, straight(0.1)))
    assert (found.estimate == 0).sum() >= 1
    assert found.estimate[:8] == pytest.approx(0)
    assert found.lower[:8] == pytest.approx(0)


def test_the_grid_lies_between_the_accuracies_at_a_quarter_and_at_95_percent_of_the_labels_bought():
    grid = accuracy_grid(LABELS, straight(0.1), points=5)
    # 100 labels at the start and 700 bought: 275 and 765 labels.
    assert grid[[0, -1]] == pytest.approx([0.5275, 0.5765])
    assert np.diff(grid) == pytest.approx(np.diff(grid)[0])


def test_a_target_on_a_plateau_is_reached_whatever_rounding_says():
    curves = np.full((3, 8), 0.7)
    grid = accuracy_grid(LABELS, curves)
    assert labels_at_accuracies(LABELS, curves, grid).tolist() == [[100]] * 3


def test_a_flat_reference_has_one_accuracy():
    assert accuracy_grid(LABELS, np.full((3, 8), 0.7)) == pytest.approx([0.7])


def test_falling_curves_are_read_after_isotonic_regression():
    curve = [[0.5, 0.7, 0.6, 0.8]]
    # Least squares pools the second and the third value to 0.65, which is reached at the second number of labels.
    assert labels_at_accuracies([10, 20, 30, 40], curve, [0.65, 0.725]) == pytest.approx(np.array([[20, 35]]))


def test_what_is_never_reached_is_infinite_and_an_accuracy_of_the_first_fit_costs_its_labels():
    found = labels_at_accuracies([10, 20], [[0.6, 0.7]], [0.5, 0.6, 0.7, 0.71])
    assert found.tolist() == [[10, 10, 20, np.inf]]


@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=9),
    st.lists(st.integers(1, 79), min_size=1, max_size=6),
    st.integers(1, 50),
)
def test_labels_are_those_of_the_curve_of_one_seed(counts, halves, step):
    # Targets lie between the values that means of up to nine such curves can take, but for common fractions.
    values, targets = np.array(counts) / 40, (np.array(halves) + 1 / 997) / 80
    labelled = np.arange(1, len(values) + 1) * step
    found = labels_at_accuracies(labelled, [values], targets)[0]
    for target, labels in zip(targets, found, strict=True):
        one = labels_to_target(labelled, [values], target, lower_is_better=False)
        assert np.isinf(labels) == one.censored
        assert one.censored or labels == pytest.approx(one.labels)


def test_a_rule_that_half_of_the_seeds_never_bring_there_saves_less_than_any_number():
    reference = straight(0.1, seeds=(0, 0, 0, 0))
    rule = straight(0.1, seeds=(0, 0, -0.2, -0.2))
    found = saving(rule, reference, [0.55])
    assert found.unreached.tolist() == [0.5]
    assert found.estimate.tolist() == [-np.inf]
    # On the censored seeds the rule needs over 800 labels and the reference 500: at most -0.6; 0 on the others.
    assert found.at_most == pytest.approx([-0.3])
    assert found.lower.tolist() == [-np.inf]


def test_a_minority_of_censored_seeds_leaves_the_median_alone():
    reference = straight(0.1, seeds=(0, 0, 0))
    found = saving(straight(0.1, seeds=(0, 0, -0.2)), reference, [0.55])
    assert (found.estimate[0], found.at_most[0]) == (pytest.approx(0), pytest.approx(0))
    assert found.unreached == pytest.approx(1 / 3)


def test_where_the_reference_is_censored_its_labels_are_at_least_the_last():
    found = saving(straight(0.2), straight(0.1), [0.64])
    assert (found.estimate[0], found.at_most[0]) == (pytest.approx(1 - 700 / 800), 1.0)
    assert found.reference_unreached.tolist() == [1.0]


def test_seeds_are_paired():
    # Each seed has a level of its own: unpaired curves would differ by hundreds of labels.
    levels = np.linspace(-0.02, 0.02, 9)
    reference = straight(0.1, seeds=levels)
    found = saving(straight(0.1, seeds=levels + 0.001), reference, [0.55])
    exact = 1 - (0.049 - levels) / (0.05 - levels)
    assert found.estimate == pytest.approx(np.median(exact))
    assert exact.min() - 1e-9 <= found.lower[0] < found.upper[0] <= exact.max() + 1e-9


def test_the_interval_is_a_bootstrap_of_the_median():
    levels = np.random.default_rng(1).uniform(0, 0.02, 17)
    found = label_saving(
        LABELS,
        straight(0.1, seeds=levels),
        straight(0.1, seeds=np.zeros(17)),
        [0.55],
        generator=np.random.default_rng(2),
        replicates=20_000,
    )
    ratios = np.sort(1 - (0.05 - levels) / 0.05)
    # P(median of a resample <= k-th smallest) = P(Bin(17, k/17) >= 9).
    below = stats.binom.sf(8, 17, np.arange(1, 18) / 17)
    assert found.lower[0] == pytest.approx(ratios[np.argmax(below >= 0.025)])
    assert found.upper[0] == pytest.approx(ratios[np.argmax(below >= 0.975)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labelled": [0, 1, 2]}, "needs labels"),
        ({"labelled": [1, 1, 2]}, "do not increase"),
        ({"labelled": [1, 2]}, "another number of rounds"),
        ({"reference": [[0.5, 0.6, 0.7]] * 2}, "shape"),
        ({"rule": [[0.5, np.nan, 0.7]]}, "rule|curves"),
        ({"level": 1.0}, "no interval"),
        ({"replicates": 1}, "no interval"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    values = {"labelled": [1, 2, 3], "rule": [[0.5, 0.6, 0.7]], "reference": [[0.5, 0.6, 0.7]], "grid": [0.6]}
    values |= {"level": 0.95, "replicates": 10} | change
    options = {name: values.pop(name) for name in ("level", "replicates")}
    with pytest.raises(DataError, match=message):
        label_saving(**values, **options, generator=np.random.default_rng(0))


@pytest.mark.parametrize(("points", "between"), [(1, (0.25, 0.95)), (5, (0.9, 0.2)), (5, (0.2, 1.2))])
def test_a_range_that_is_none_is_refused(points, between):
    with pytest.raises(DataError, match="no range"):
        accuracy_grid(LABELS, straight(0.1), points=points, between=between)
