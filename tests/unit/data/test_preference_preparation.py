import json
import logging

import numpy as np
import pytest

from bayesgrid.data.preference_pairs import read_preference_pairs
from bayesgrid.data.preference_preparation import pairs_digest
from bayesgrid.data.prepare import prepare_dataset
from bayesgrid.errors import DataError
from bayesgrid.grid.sources import PreferencePairsEntry

ROWS = [
    {"instruction": "choose", "chosen": "A", "reject": "B"},
    {"instruction": "choose", "chosen": "B", "reject": "B"},
    {"instruction": "choose", "chosen": "B", "reject": "C"},
    {"instruction": "choose", "chosen": "", "reject": "C"},
    {"instruction": "choose", "chosen": " ", "reject": "C"},
]
FAULTS = {"equal_responses": 1, "empty_response": 2}


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    return path


def entry(source=None, **changes):
    values = {
        "kind": "preference_pairs",
        "label": "own",
        "version": 1,
        "licence": "none",
        "citation": "nobody",
        "sources": [
            source or {"kind": "file", "loader": "instruction_pairs", "files": {"table": {"name": "own.jsonl"}}}
        ],
    }
    return PreferencePairsEntry.model_validate_json(json.dumps({**values, **changes}))


def prepare(tmp_path, path, **changes):
    return prepare_dataset("own", entry(**changes), tmp_path / "data", user_files={"own": path})


def test_faulty_row_is_refused_with_file_row_column_and_remedy(tmp_path, own_file):
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, own_file)
    message = str(caught.value)
    for words in [
        f"{own_file}: row 2, column 'reject': both responses are the same text (equal_responses)",
        "given: 'B'",
        "allowed: another text than 'chosen' has",
        "1 such rows in all, and the catalog knows of 0",
        "'known_faults' of 'own'",
    ]:
        assert words in message
    with pytest.raises(DataError, match=r"row 4, column 'chosen': the response is empty.*2 such rows.*knows of 1"):
        prepare(tmp_path, own_file, known_faults={"equal_responses": 1, "empty_response": 1})


def test_known_faults_are_left_out_and_counted(tmp_path, own_file):
    prepared = prepare(tmp_path, own_file, known_faults=FAULTS, prompts=1, responses=3, pairs=2)
    assert prepared.provenance["left_out"] == FAULTS
    assert prepared.provenance["pairs"] == 2
    pairs = read_preference_pairs(prepared.folder)
    assert (pairs.name, pairs.data_version) == ("own", prepared.data_version)
    assert pairs.pair_ids == ("table-1", "table-3")
    assert prepared.provenance["pairs_sha256"] == pairs_digest(pairs)
    assert str(tmp_path) not in json.dumps(dict(prepared.provenance))


def test_uncounted_faults_are_warned_about(tmp_path, own_file, caplog):
    with caplog.at_level(logging.WARNING):
        prepared = prepare(tmp_path, own_file, known_faults=None)
    assert prepared.provenance["left_out"] == FAULTS
    assert "2 rows left out (empty_response), the first: " in caplog.text
    assert "row 4, column 'chosen'" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pairs": 3}, "another size than the catalog says"),
        ({"pairs": 2, "prompts": 1, "responses": 3, "pairs_sha256": "0" * 64}, "'pairs_sha256' differs"),
    ],
)
def test_pairs_that_are_not_what_the_catalog_says_are_refused(tmp_path, own_file, changes, words):
    with pytest.raises(DataError, match=words):
        prepare(tmp_path, own_file, known_faults=FAULTS, **changes)


def test_files_without_a_usable_pair_are_refused(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(ROWS[1]))
    with pytest.raises(DataError, match=r"the files give no pair.*1 faulty rows"):
        prepare(tmp_path, path, known_faults=None)


def test_damaged_responses_are_prepared_again(tmp_path, own_file, caplog):
    prepared = prepare(tmp_path, own_file, known_faults=FAULTS)
    before = (prepared.folder / "responses.parquet").read_bytes()
    (prepared.folder / "responses.parquet").write_bytes(before[:-9])
    with caplog.at_level(logging.WARNING):
        again = prepare(tmp_path, own_file, known_faults=FAULTS)
    assert "damaged or cut off" in caplog.text
    assert (again.folder / "responses.parquet").read_bytes() == before
    (prepared.folder / "prompts.parquet").unlink()
    assert prepare(tmp_path, own_file, known_faults=FAULTS).provenance == prepared.provenance
    assert (prepared.folder / "prompts.parquet").is_file()


def test_game_is_prepared_with_the_features_of_its_items(tmp_path):
    source = {
        "kind": "generator",
        "name": "preference_game",
        "parameters": {
            "game": {"name": "blotto", "soldiers": 2, "fields": 2},
            "features": 5,
            "lift": "mlp",
            "votes": 3,
        },
    }
    game = entry(source)
    prepared = prepare_dataset("game", game, tmp_path)
    pairs = read_preference_pairs(prepared.folder)
    assert [response.text for response in pairs.responses] == ["0 2", "1 1", "2 0"]
    assert pairs.item_features.shape == (3, 5)
    # One of two fields is a tie for all: 0 2 wins one and loses one against both others.
    assert pairs.votes.sum(axis=1).tolist() == [3, 3, 3]
    features = prepared.folder / "item_features.parquet"
    features.write_bytes(features.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"item_features.parquet.*bayesgrid prepare game"):
        read_preference_pairs(prepared.folder)
    other = json.loads(json.dumps(source))
    other["parameters"]["seed"] = 1
    assert entry(other).data_version() != game.data_version()


def test_digest_tells_labels_and_sides_apart(tmp_path, own_file):
    pairs = read_preference_pairs(prepare(tmp_path, own_file, known_faults=FAULTS).folder)
    digests = {
        pairs_digest(pairs),
        pairs_digest(pairs.with_sides(np.array([True, False]))),
        pairs_digest(pairs.take(np.array([1, 0]))),
        pairs_digest(pairs.take(np.array([0]))),
    }
    assert len(digests) == 4
    assert pairs_digest(pairs.take(np.array([0, 1]))) == pairs_digest(pairs)
