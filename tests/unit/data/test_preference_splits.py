import numpy as np
import pytest

from bayesgrid.data.preference_contamination import clean_pool_pairs, find_contamination
from bayesgrid.data.preference_games import game_pairs
from bayesgrid.data.preference_pairs import Message, PreferencePairs, Prompt, Response
from bayesgrid.data.preference_splits import (
    label_gaps,
    length_matched,
    of_systems,
    split_by_item,
    split_by_pair,
    split_by_prompt,
)
from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.preference_sets import GameParameters, RockPaperScissors


def of_prompts(texts, answers=("yes", "no"), name="toy", systems=(None, None)):
    """Return one pair for each prompt, with the same two answers."""
    count = len(texts)
    prompts = tuple(Prompt(f"p{n}", (Message("user", text),)) for n, text in enumerate(texts))
    responses = tuple(
        Response(f"p{n}-{side}", n, answers[side], systems[side]) for n in range(count) for side in (0, 1)
    )
    return PreferencePairs(
        name,
        "v1-0",
        prompts,
        responses,
        first=2 * np.arange(count),
        second=2 * np.arange(count) + 1,
        prompt=np.arange(count),
        votes=np.zeros((count, 3), dtype=np.float32),
        probability=np.linspace(0.1, 0.9, count),
        pair_ids=tuple(str(n) for n in range(count)),
        subsets=(None,) * count,
    )


def game(items=21):
    return game_pairs(GameParameters(game=RockPaperScissors(name="rock_paper_scissors", items=items)))


def test_prompts_are_on_one_side_each_and_all_are_used():
    pairs = of_prompts([f"question {n // 3}" if n % 3 else f"  QUESTION   {n // 3}" for n in range(90)])
    split = split_by_prompt(pairs, validation=0.2, test=0.3, seed=0)
    # 30 different texts, three pairs each.
    assert [side.size for side in (split.train, split.validation, split.test)] == [45, 18, 27]
    everything = np.concatenate([split.train, split.validation, split.test])
    assert sorted(everything.tolist()) == list(range(90))
    texts = [{n // 3 for n in side.tolist()} for side in (split.train, split.validation, split.test)]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
    again = split_by_prompt(pairs, validation=0.2, test=0.3, seed=0)
    np.testing.assert_array_equal(again.test, split.test)
    assert split_by_prompt(pairs, validation=0.2, test=0.3, seed=1).test.tolist() != split.test.tolist()


def test_items_of_test_pairs_are_new_when_items_are_split():
    pairs = game()
    split = split_by_item(pairs, validation=0.2, test=0.3, seed=5)
    items = [
        set(pairs.first[side].tolist()) | set(pairs.second[side].tolist())
        for side in (split.train, split.validation, split.test)
    ]
    assert [len(one) for one in items] == [11, 4, 6]
    assert not (items[0] & items[1] or items[0] & items[2] or items[1] & items[2])
    # All pairs within a side, and none between sides: n (n - 1) / 2.
    assert [side.size for side in (split.train, split.validation, split.test)] == [55, 6, 15]


def test_items_of_test_pairs_are_known_when_pairs_are_split():
    pairs = game()
    split = split_by_pair(pairs, validation=0.0, test=0.1, seed=5)
    assert (split.train.size, split.validation.size, split.test.size) == (189, 0, 21)
    trained = set(pairs.first[split.train].tolist()) | set(pairs.second[split.train].tolist())
    assert trained == set(range(21))
    # The two orders of a pair are one pair.
    twice = of_prompts(["a", "b"]).take(np.array([0, 1]))
    doubled = PreferencePairs(
        **{
            **{name: getattr(twice, name) for name in ("name", "data_version", "prompts", "responses")},
            "first": np.array([0, 1, 2]),
            "second": np.array([1, 0, 3]),
            "prompt": np.array([0, 0, 1]),
            "votes": np.zeros((3, 3), dtype=np.float32),
            "probability": np.array([0.2, 0.8, 0.5]),
            "pair_ids": ("a", "b", "c"),
            "subsets": (None,) * 3,
        }
    )
    for seed in range(4):
        split = split_by_pair(doubled, validation=0.0, test=0.5, seed=seed)
        assert {frozenset(split.train.tolist()), frozenset(split.test.tolist())} == {frozenset({0, 1}), frozenset({2})}


def test_shares_that_leave_a_side_empty_are_refused():
    with pytest.raises(ConfigurationError, match=r"test with too few prompts.*given: 0 of 2.*1 or more"):
        split_by_prompt(of_prompts(["a", "b"]), validation=0.0, test=0.1, seed=0)
    with pytest.raises(ConfigurationError, match=r"validation with too few prompts"):
        split_by_prompt(of_prompts(["a", "b"]), validation=0.1, test=0.5, seed=0)
    with pytest.raises(ConfigurationError, match=r"train with too few items.*2 or more"):
        split_by_item(game(5), validation=0.4, test=0.4, seed=0)


def test_length_matched_pairs_differ_by_a_tenth_at_most():
    lengths = [100, 110, 111, 90, 91]
    for other, expected in zip(lengths, [True, True, False, False, True], strict=True):
        # exp(0.1) is 1.105: 110 is within, 111 without; exp(-0.1) is 0.905.
        (found,) = length_matched(of_prompts(["a"], ("x" * 100, "y" * other)))
        assert found == expected, other
    assert length_matched(of_prompts(["a"], ("x" * 100, "y" * 200)), tolerance=0.7).all()


def test_gaps_are_distances_of_logits_from_a_tie():
    gaps = label_gaps(of_prompts(["a", "b", "c"]))
    np.testing.assert_allclose(gaps, [np.log(9), 0, np.log(9)], atol=1e-12)


def test_pairs_of_systems_have_both_sides_from_them():
    pairs = of_prompts(["a", "b"], systems=("small", "large"))
    assert of_systems(pairs, {"small", "large"}).all()
    assert not of_systems(pairs, {"small"}).any()
    with pytest.raises(ConfigurationError, match=r"given: medium; allowed: large, small"):
        of_systems(pairs, {"medium"})


LONG = "write a short story about a fox that learns how to sail across the sea"


def test_equal_and_overlapping_prompts_are_found():
    pool = of_prompts([LONG, "how are you", "one two three four five six seven eight"], ("pool", "no"), "pool")
    tests = of_prompts(
        [
            "How  are YOU",
            "please " + LONG,
            "zero one two three four five six seven",
            "how are you today my good old friend",
            "something else",
        ],
        ("test", "NO"),
        "tests",
    )
    found = find_contamination(pool, tests)
    assert (found.equal_prompts, found.equal_responses) == (1, 1)
    # 9 of the 10 runs of seven words, and 1 of 2.
    np.testing.assert_allclose(found.evaluation_overlap, [1, 9 / 10, 1 / 2, 0, 0])
    np.testing.assert_allclose(found.pool_overlap, [1, 1, 1 / 2])
    assert found.overlapping_prompts == 3
    assert found.examples == ("p0", "p1", "p2")
    assert not found.clean
    assert "3 prompts share 50%" in str(found)
    assert find_contamination(pool, tests, share=0.8).overlapping_prompts == 2
    assert clean_pool_pairs(pool, find_contamination(pool, tests, share=0.8)).tolist() == [False, False, True]


def test_only_prompts_of_pairs_count():
    pool = of_prompts(["shared question", "other"], ("left", "right"), "pool")
    tests = of_prompts(["shared question", "third"], ("a", "b"), "tests")
    assert find_contamination(pool, tests).equal_prompts == 1
    assert find_contamination(pool.take(np.array([1])), tests).clean
    assert find_contamination(pool, tests.take(np.array([1]))).clean
