import dataclasses
import hashlib
import json

import numpy as np
import pytest

from bayesgrid.data.preference_pairs import (
    Message,
    PreferencePairs,
    Prompt,
    Response,
    read_preference_pairs,
    write_preference_pairs,
)
from bayesgrid.data.preference_sides import swapped_sides
from bayesgrid.errors import DataError


def toy(**changes):
    """Three pairs of two prompts: a vote, three votes with a tie, and no label."""
    values = {
        "name": "toy",
        "data_version": "v1-0",
        "prompts": (
            Prompt("p", (Message("system", "be brief"), Message("user", "héllo"))),
            Prompt("q", (Message("user", "bye"),)),
        ),
        "responses": (
            Response("p-0", 0, "one", "a"),
            Response("p-1", 0, "two", None),
            Response("p-2", 0, "three"),
            Response("q-0", 1, "four"),
            Response("q-1", 1, "five"),
        ),
        "first": np.array([0, 1, 3]),
        "second": np.array([1, 2, 4]),
        "prompt": np.array([0, 0, 1]),
        "votes": np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0]], dtype=np.float32),
        "probability": np.array([1.0, 0.5, np.nan]),
        "pair_ids": ("x", "y", "z"),
        "subsets": ("s", None, "s"),
        "margins": np.array([2.0, np.nan, np.nan], dtype=np.float32),
    }
    return PreferencePairs(**{**values, **changes})


def assert_same(left, right):
    for field in dataclasses.fields(PreferencePairs):
        one, other = getattr(left, field.name), getattr(right, field.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other, err_msg=field.name)
            assert one.dtype == other.dtype, field.name
        else:
            assert one == other, field.name


@pytest.mark.parametrize("features", [None, np.arange(10, dtype=np.float32).reshape(5, 2)])
def test_pairs_are_read_back_as_they_were(tmp_path, features):
    pairs = toy(item_features=features)
    folder = tmp_path / "toy-v1-0"
    write_preference_pairs(pairs, folder)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    record = {
        "dataset": "toy",
        "data_version": "v1-0",
        "parquet_sha256": files.pop("pairs.parquet"),
        "further_files": files,
    }
    (folder / "provenance.json").write_text(json.dumps(record))
    assert_same(read_preference_pairs(folder), pairs)
    (folder / "responses.parquet").write_bytes(b"other")
    with pytest.raises(DataError, match=r"responses.parquet.*bayesgrid prepare toy"):
        read_preference_pairs(folder)


def test_pairs_that_are_not_prepared_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"'toy' is not prepared.*bayesgrid prepare toy"):
        read_preference_pairs(tmp_path / "toy-v1-0123456789ab")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pair_ids": ("x", "y", "x")}, ["two pairs have the same id", "given: x"]),
        ({"second": np.array([1, 2, 5])}, ["'second' is no position", "pair 'z'", "given: 5", "0 to 4"]),
        ({"first": np.array([-1, 1, 3])}, ["'first' is no position", "pair 'x'"]),
        ({"second": np.array([1, 3, 4])}, ["answers another prompt", "pair 'y'"]),
        ({"second": np.array([1, 1, 4])}, ["two responses of a pair are equal", "pair 'y'"]),
        ({"probability": np.array([1.5, 0.5, np.nan])}, ["outside its scale", "given: 1.5"]),
        ({"probability": np.array([1.0, 0.75, np.nan])}, ["not that of the votes", "pair 'y'"]),
        ({"probability": np.array([1.0, np.nan, np.nan])}, ["not that of the votes", "pair 'y'"]),
        ({"votes": np.array([[1, 0, 0], [-1, 1, 1], [0, 0, 0]], dtype=np.float32)}, ["negative", "pair 'y'"]),
        ({"subsets": ("s",)}, ["'subsets' has another shape", "(1,)", "(3,)"]),
        ({"item_features": np.zeros((4, 2), dtype=np.float32)}, ["'item_features'", "(5, features)"]),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(DataError) as caught:
        toy(**changes)
    for word in ["toy", *words]:
        assert word in str(caught.value)


def test_texts_that_are_equal_or_empty_are_refused():
    responses = list(toy().responses)
    responses[1] = Response("p-1", 0, " one ")
    with pytest.raises(DataError, match=r"pair 'x'.*are equal"):
        toy(responses=tuple(responses))
    responses[1] = Response("p-1", 0, " \n")
    with pytest.raises(DataError, match="response 'p-1': a response is empty"):
        toy(responses=tuple(responses))


def test_swapping_sides_swaps_all_that_has_sides_and_twice_is_nothing():
    pairs, swapped = toy(), np.array([True, False, True])
    other = pairs.with_sides(swapped)
    assert other.first.tolist() == [1, 1, 4]
    assert other.second.tolist() == [0, 2, 3]
    assert other.votes.tolist() == [[0, 1, 0], [1, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(other.probability, [0, 0.5, np.nan])
    assert other.margins[0] == -2
    assert_same(other.with_sides(swapped), pairs)


def test_taking_pairs_leaves_responses_where_they_are():
    pairs = toy()
    some = pairs.take(np.array([2, 0]))
    assert (some.pair_ids, some.subsets, some.first.tolist()) == (("z", "x"), ("s", "s"), [3, 0])
    assert some.responses is pairs.responses
    assert_same(pairs.take(np.array([True, False, True])), pairs.take(np.array([0, 2])))


def test_sides_are_a_fair_coin_of_seed_and_id_alone():
    ids = [f"pair-{number}" for number in range(4000)]
    sides = swapped_sides(ids, 0)
    # Four standard deviations of 4,000 fair coins are 126.
    assert abs(sides.sum() - 2000) < 126
    assert abs((sides == swapped_sides(ids, 1)).sum() - 2000) < 126
    np.testing.assert_array_equal(swapped_sides(ids[::-7], 0), sides[::-7])
    # No two of (seed, id) run into each other.
    assert (swapped_sides([f"1{one}" for one in ids], 1) != swapped_sides(ids, 11)).any()
