"""Checkpoints: exact round trip, and damage that is noticed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bayesgrid.errors import StateError
from bayesgrid.store.checkpoint import CheckpointStore


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path, "run-1")


ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], dtype=np.int64)}


def test_nothing_saved_means_none(store):
    assert store.latest() is None


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64]), hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)
    ),
    st.integers(0, 10**6),
)
def test_arrays_and_metadata_come_back_bit_for_bit(tmp_path_factory, array, step):
    store = CheckpointStore(tmp_path_factory.mktemp("c"), "run")
    metadata = {"text": "ü", "numbers": [1, 2.5, None], "nested": {"a": True}}
    store.save(step, {"x": array}, metadata)
    checkpoint = store.latest()
    assert checkpoint.step == step
    assert checkpoint.metadata == metadata
    assert checkpoint.arrays["x"].dtype == array.dtype
    assert checkpoint.arrays["x"].tobytes() == array.tobytes()


def test_a_transposed_array_comes_back_as_it_looked(store):
    array = np.arange(6.0).reshape(2, 3).T
    store.save(1, {"x": array}, {})
    np.testing.assert_array_equal(store.latest().arrays["x"], array)


def test_the_last_two_are_kept_and_the_newest_is_read(store, tmp_path):
    for step in (1, 2, 9, 10, 11):
        store.save(step, ARRAYS, {"step": step})
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-00000010.safetensors",
        "step-00000011.safetensors",
    ]
    assert store.latest().metadata == {"step": 11}


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_damage_is_named_and_nothing_is_deleted(store, tmp_path, damage):
    store.save(1, ARRAYS, {})
    path = store.save(2, ARRAYS, {"k": 1})
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[: len(content) - 5]
    elif damage == "flip":
        content[-1] ^= 1
    elif damage == "empty":
        content = bytearray()
    else:
        content = bytearray(b"not a checkpoint at all")
    path.write_bytes(bytes(content))
    with pytest.raises(StateError, match="damaged") as caught:
        store.latest()
    assert str(path) in str(caught.value)
    assert "move the file away" in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 2
    path.unlink()
    assert store.latest().step == 1


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    CheckpointStore(tmp_path, "other").save(1, ARRAYS, {})
    with pytest.raises(StateError, match="another run"):
        CheckpointStore(tmp_path, "mine").latest()


def test_clear_deletes_all(store, tmp_path):
    store.save(1, ARRAYS, {})
    store.clear()
    assert store.latest() is None
    assert not list(tmp_path.iterdir())
