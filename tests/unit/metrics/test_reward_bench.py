import itertools

import numpy as np
import pytest

from bayesgrid.errors import DataError
from bayesgrid.metrics.reward_bench import (
    EXAMPLE_COUNTS,
    SECTIONS,
    borda_scores,
    copeland_scores,
    section_scores,
    total_score,
)
from bayesgrid.metrics.reward_bench_2 import SUBSETS_2, best_of_score, mean_of_subsets, ties_score

# Sections of the four results that the authors of GPM uploaded (allenai/reward-bench, pull request 201), and their
# means as published there.
PUBLISHED = {
    "GPM-Gemma-2B": ((78.49, 66.23, 84.32, 80.47), 77.38),
    "GPM-Gemma-2-2B": ((81.84, 72.81, 87.97, 84.42), 81.76),
    "GPM-Gemma-2-9B": ((93.58, 87.72, 92.30, 95.71), 92.33),
    "GPM-Llama-3.1-8B-Instruct": ((93.30, 86.18, 91.22, 95.69), 91.60),
}


@pytest.mark.parametrize(("sections", "total"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_sections_have_the_published_mean(sections, total):
    assert total_score(dict(zip(SECTIONS, sections, strict=True))) == pytest.approx(total, abs=0.005001)


def test_counts_are_those_of_the_published_set():
    assert len(EXAMPLE_COUNTS) == 23
    assert sum({**EXAMPLE_COUNTS, "math-prm": 447}.values()) == 2985
    assert [sum(counts.values()) for counts in SECTIONS.values()] == [358, 456, 740, 984 + 6 * 164]


def test_section_is_the_accuracy_over_its_pooled_pairs():
    rng = np.random.default_rng(0)
    right = {subset: rng.random(count) < 0.7 for subset, count in EXAMPLE_COUNTS.items()}
    found = section_scores({subset: values.mean() for subset, values in right.items()})
    for name, counts in SECTIONS.items():
        pooled = np.concatenate([right[subset] for subset in counts])
        assert found[name].score == found[name].of_present == pytest.approx(pooled.mean())
        assert found[name].absent == ()


def test_section_that_lacks_a_subset_has_no_score_and_names_it():
    # The five subsets that LLMBar has of Chat Hard; the sixth is MT-Bench's.
    llmbar = {subset: 0.5 for subset in SECTIONS["Chat Hard"] if subset.startswith("llmbar")}
    found = section_scores({**llmbar, "llmbar-natural": 1.0})
    hard = found["Chat Hard"]
    assert hard.score is None
    assert hard.absent == ("mt-bench-hard",)
    assert hard.of_present == pytest.approx((100 + 0.5 * 319) / 419)
    assert found["Chat"].of_present is None
    assert total_score({name: section.score for name, section in found.items()}) is None


def test_prior_sets_count_half_a_section():
    sections = dict.fromkeys(SECTIONS, 80.0)
    # Weights 2, 2, 2, 2, 1.
    assert total_score(sections, 53.0) == pytest.approx((8 * 80 + 53) / 9)


def test_unknown_names_and_values_are_refused():
    with pytest.raises(DataError, match="xstest"):
        section_scores({"xstest": 0.5})
    with pytest.raises(DataError, match="not an accuracy"):
        section_scores({"hep-go": 50.0})
    with pytest.raises(DataError, match="Chatty"):
        total_score({"Chatty": 1.0})


def test_scalars_of_a_transitive_model_order_responses_as_it_does():
    reward = np.array([0.3, -1.0, 2.0, 0.9])
    scores = reward[:, None] - reward
    np.testing.assert_array_equal(np.argsort(borda_scores(scores)), np.argsort(reward))
    np.testing.assert_allclose(borda_scores(scores), (4 * reward - reward.sum()) / 3)
    np.testing.assert_allclose(copeland_scores(scores), [-1 / 3, -1, 1, 1 / 3])


def test_both_scalars_of_a_circle_are_zero():
    circle = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    assert not borda_scores(circle).any()
    assert not copeland_scores(circle).any()
    # Borda weighs wins, Copeland counts them.
    uneven = np.array([[0, 5, -1], [-5, 0, 1], [1, -1, 0]])
    assert borda_scores(uneven).argmax() == 0
    assert not copeland_scores(uneven).any()


def test_table_that_is_not_skew_is_refused():
    with pytest.raises(DataError, match="opposite"):
        borda_scores([[0, 1], [1, 0]])
    with pytest.raises(DataError, match="all pairs"):
        borda_scores([[0, 1, 2], [1, 0, 3]])


def test_best_of_shares_a_tie_among_the_maxima():
    first = [True, False, False, False]
    assert best_of_score([1, 0, 0, 0], first) == 1
    assert best_of_score([1, 1, 1, 0], first) == pytest.approx(1 / 3)
    assert best_of_score([0, 1, 0, 0], first) == 0
    # Whatever a model that knows nothing says, it reaches chance: the mean over all orders of four scores.
    orders = itertools.permutations([0.0, 1.0, 2.0, 2.0])
    assert np.mean([best_of_score(order, first) for order in orders]) == pytest.approx(0.25)
    with pytest.raises(DataError, match="not one right"):
        best_of_score([1, 2], [True, True])


def test_ties_score_by_hand():
    tied = {
        "1": ([3.0, 2.0, 0.0], [True, True, False]),  # spread 1, distance 2
        "2": ([5.0, 1.0, 0.0], [True, True, False]),  # spread 4, distance 1
        "3": ([1.0, 0.0, 2.0], [True, True, False]),  # wrong: spread 1, distance -2
    }
    reference = {
        "1": ([1.5, 0.0], [True, False]),
        "2": ([1.0, 0.0], [True, False]),
        "3": ([0.0, 1.0], [True, False]),
        "4": ([1.0, 0.0], [True, False]),
    }
    found = ties_score(tied, reference)
    assert found.tied_accuracy == pytest.approx(2 / 3)
    assert found.reference_accuracy == pytest.approx(3 / 4)
    assert (found.margins_kept, found.margins_kept_by_both) == pytest.approx((1 / 3, 1 / 3))
    margin = np.mean(np.tanh([1.5 / 1 - 1, 1 / 4 - 1, -2 / 1 - 1]))
    assert found.margin == pytest.approx(margin)
    expected = 0.3 * (2 / 3 + 3 / 4) + 0.2 * (2 / 3) + 0.01 * margin
    assert found.score == pytest.approx(expected)


def test_right_responses_that_are_equal_have_the_largest_margin():
    prompts = {"1": ([1.0, 1.0, 0.0], [True, True, False])}
    assert ties_score(prompts, {"1": ([1.0, 0.0], [True, False])}).score == pytest.approx(1.01)
    with pytest.raises(DataError, match="no prompt has both"):
        ties_score(prompts, {"2": ([1.0, 0.0], [True, False])})


def test_second_total_is_a_mean_of_six_and_none_without_one():
    scores = dict(zip(SUBSETS_2, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), strict=True))
    assert mean_of_subsets(scores) == pytest.approx(0.35)
    assert mean_of_subsets({name: scores[name] for name in SUBSETS_2[:-1]}) is None
