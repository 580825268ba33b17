import numpy as np
import pytest

from bayesgrid.studies.bayesian_lora_active.bought_labels import held_out, initial_labels, pool
from bayesgrid.studies.bayesian_lora_active.spec import AcquisitionSpec

USUAL = AcquisitionSpec()


def test_initial_labels_are_distinct_nested_and_of_their_seed():
    first = initial_labels(0, 50, 10)
    assert len(set(first.tolist())) == 10
    assert initial_labels(0, 50, 20)[:10].tolist() == first.tolist()
    assert initial_labels(1, 50, 10).tolist() != first.tolist()


def test_a_tenth_is_held_out_from_twenty_labels_on():
    sizes = [len(held_out(0, USUAL, 0.1, [""] * USUAL.labels_after(number))) for number in range(20)]
    assert sizes == [0, *range(2, 21)]


def test_what_is_held_out_stays_so_and_what_was_learnt_is_never_held_out():
    earlier: set[int] = set()
    for number in range(20):
        labelled = USUAL.labels_after(number)
        now = held_out(3, USUAL, 0.25, [""] * labelled)
        assert (np.diff(now) > 0).all()
        assert len(now) == 0 or now[-1] < labelled
        assert {place for place in now.tolist() if place < labelled - USUAL.per_round} == earlier
        earlier = set(now.tolist())


def test_held_out_labels_are_not_always_those_chosen_last():
    # A purchase is sorted by score, and its end would not stand for the whole.
    places = [int(place) % 10 for seed in range(20) for place in held_out(seed, USUAL, 0.1, [""] * 200)]
    assert set(places) == set(range(10))
    assert abs(np.mean(places) - 4.5) < 0.5


def test_nothing_is_held_out_if_none_is_to_be():
    assert len(held_out(0, AcquisitionSpec(hold_out_from=None), 0.1, [""] * 200)) == 0


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("largest", [2, 5])
def test_a_group_is_held_out_or_learnt_as_a_whole_whenever_its_questions_are_bought(seed, largest):
    # Groups of up to so many questions, and some alone, in a random order of purchase.
    draw = np.random.default_rng(seed)
    groups = [name for name in range(200) for _ in range(draw.integers(1, largest + 1))]
    bought = [f"g{name}" if name % 3 else "" for name in draw.permutation(groups)[:200]]
    earlier: set[int] = set()
    sizes = []
    for number in range(20):
        labelled = USUAL.labels_after(number)
        now = set(held_out(seed, USUAL, 0.2, bought[:labelled]).tolist())
        outside = {bought[place] for place in now} - {""}
        assert all((place in now) == (bought[place] in outside) for place in range(labelled) if bought[place])
        assert {place for place in now if place < labelled - USUAL.per_round} == earlier
        earlier = now
        sizes.append(len(now))
    assert sizes[0] == 0
    assert all(int(0.2 * USUAL.labels_after(number)) <= size for number, size in enumerate(sizes) if number)
    assert sizes[-1] <= 40 + 3 * largest


def test_groups_of_one_change_nothing():
    alone, named = ([""] * 100, [f"g{place}" for place in range(100)])
    assert held_out(1, USUAL, 0.2, alone).tolist() == held_out(1, USUAL, 0.2, named).tolist()


def test_a_single_group_leaves_something_to_learn():
    acquisition = AcquisitionSpec(initial=20)
    assert len(held_out(0, acquisition, 0.1, ["passage"] * 20)) == 0


@pytest.mark.parametrize("subsamples", ["independent", "reseeded"])
def test_pool_holds_unlabelled_questions_once(subsamples):
    acquisition = AcquisitionSpec(pool=100, subsamples=subsamples)
    labelled = np.arange(0, 500, 7)
    found = pool(0, acquisition, labelled, 500, 4)
    assert len(found) == 100
    assert (np.diff(found) > 0).all()
    assert not set(found.tolist()) & set(labelled.tolist())
    assert pool(0, AcquisitionSpec(pool=None), labelled, 500, 4).tolist() == sorted(set(range(500)) - {*labelled})


def test_reseeded_subsamples_of_rounds_overlap_more_than_chance_and_independent_ones_do_not():
    def overlap(subsamples):
        acquisition = AcquisitionSpec(pool=100, subsamples=subsamples)
        shared = []
        for seed in range(40):
            first = pool(seed, acquisition, np.arange(10), 1000, 0)
            second = pool(seed, acquisition, np.arange(20), 1000, 1)
            shared.append(len(set(first.tolist()) & set(second.tolist())))
        return np.mean(shared)

    # A question of the first subset is still there with probability 980 / 990, and then drawn with 100 / 980.
    chance = 100 * 100 / 990
    assert abs(overlap("independent") - chance) < 2.0
    assert overlap("reseeded") > chance + 3.0
