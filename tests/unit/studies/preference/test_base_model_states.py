"""A run of the study from files: features that another run left, of the set that is learnt from and of further ones."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bayesgrid.data.preference_pairs import PAIRS_FILE, write_preference_pairs
from bayesgrid.data.prepared_folders import PROVENANCE_FILE
from bayesgrid.errors import StateError
from bayesgrid.store.execution import RunInputs
from bayesgrid.studies.preference.model_inputs import BaseModelStates
from bayesgrid.studies.preference.run import run, run_on_pairs
from bayesgrid.studies.preference_features.feature_files import ResponseFeatures, write_features
from bayesgrid.studies.preference_features.kept_responses import kept_responses, texts_digest


def prepare(root, pairs):
    folder = root / f"{pairs.name}-v1"
    write_preference_pairs(pairs, folder)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.parquet")}
    record = {"dataset": pairs.name, "data_version": "v1", "parquet_sha256": digests.pop(PAIRS_FILE)}
    (folder / PROVENANCE_FILE).write_text(json.dumps({**record, "further_files": digests}))


def leave_features(state, pairs, systems, model="tiny"):
    """Write features of the responses of ``systems`` as their run does, and return what the study makes of them."""
    rng = np.random.default_rng(len(pairs.responses))
    positions = kept_responses(pairs, systems)
    responses = rng.standard_normal((len(positions), 5)).astype(np.float16)
    prompts = rng.standard_normal((len(pairs.prompts), 5)).astype(np.float16)
    count = len(positions)
    state.mkdir()
    settings = {"model": model, "dataset": pairs.name, "systems": systems, "texts_sha256": texts_digest(pairs, systems)}
    tokens, truncated = np.ones(count, dtype=np.int32), np.zeros(count, dtype=bool)
    write_features(state, ResponseFeatures(responses, prompts, positions, tokens, truncated, settings))
    return BaseModelStates(responses, prompts, positions)


@pytest.fixture
def texts(pairs):
    return replace(pairs, item_features=None)


@pytest.fixture
def other(texts):
    return replace(texts.take(np.arange(30)), name="other", responses=texts.responses[:40], prompts=texts.prompts[:10])


def inputs_of(tmp_path, names):
    needs = {"features": tmp_path / "features", "features:other": tmp_path / "features-other"}
    return RunInputs(data=tmp_path / "data", data_versions=dict.fromkeys(names, "v1"), needs=needs)


@pytest.mark.parametrize("gate", ["none", "linear"])
def test_run_reads_the_features_of_every_set(gate, tmp_path, texts, other, loop_spec, make_context):
    systems = ("system 0", "system 1", "system 2")
    for pairs in (texts, other):
        prepare(tmp_path / "data", pairs)
    states = leave_features(tmp_path / "features", texts, systems)
    further = leave_features(tmp_path / "features-other", other, None)
    spec = loop_spec(
        inputs={"model": "tiny", "systems": list(systems)},
        labels={"rounds": 1, "pool": 60},
        model={"gate": gate},
        evaluation={"sets": ["other"]},
    )
    found = run(spec, make_context("files"), inputs_of(tmp_path, ("pairs", "other")))
    expected = run_on_pairs(spec, texts, states, make_context("arrays"), {"other": (other, further)})
    for name in ("metrics", "predictions", "rounds"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name), check_exact=True)
    used = {response.response_id: response.system for response in texts.responses}
    assert set(found.metrics["split"]) == {"test", "other"}
    assert set(found.predictions["split"]) == {"test", "other"}
    ends = {pair: row for row, pair in enumerate(texts.pair_ids)}
    for pair in found.predictions.query("split == 'test'")["pair"]:
        row = ends[pair]
        assert {used[texts.responses[end].response_id] for end in (texts.first[row], texts.second[row])} <= set(systems)
    assert found.predictions["probability"].notna().all()
    # All prompts of the further set are prompts of the set that was learnt from, some of them in its pool.
    values = found.metrics.query("split == 'other' and seed == 0").set_index("metric")["value"]
    assert 0 <= values["clean_examples"] < values["examples"]


def test_features_of_another_model_are_refused(tmp_path, texts, loop_spec, make_context):
    prepare(tmp_path / "data", texts)
    leave_features(tmp_path / "features", texts, None, model="huge")
    with pytest.raises(StateError, match=r"another model.*huge.*tiny"):
        run(loop_spec(inputs={"model": "tiny"}), make_context(), inputs_of(tmp_path, ("pairs",)))
