import json
from itertools import combinations, product

import numpy as np
import pytest

from bayesgrid.data.preference_cycles import find_cycle, load_usr_cycles, load_usr_cycles_with_criterion
from bayesgrid.data.preference_graded import read_usr_scores
from bayesgrid.data.preference_pairs import read_preference_pairs, write_preference_pairs
from bayesgrid.data.preference_preparation import pairs_digest
from bayesgrid.data.preference_splits import split_by_group, split_by_pair, split_by_prompt
from bayesgrid.errors import ConfigurationError
from bayesgrid.metrics.transitive_ceiling import accuracy_ceiling

CRITERIA = ("clear", "useful", "kind")


def written(tmp_path, scores):
    """Return a file of grades ``[contexts, systems, criteria]`` in the form of UniEval."""
    rows = [
        {
            "source": f"hello {context}",
            "context": f"fact {context}",
            "system_id": f"s{system}",
            "system_output": f"reply {context} of {system}",
            "scores": dict(zip(CRITERIA, grades, strict=True)),
        }
        for context, of_context in enumerate(scores)
        for system, grades in enumerate(of_context)
    ]
    path = tmp_path / "grades.json"
    path.write_text(json.dumps(rows))
    return {"table": path}


def admits_cycle(scores, systems):
    """Return whether some three criteria make a cycle in some orientation, by trying all of them."""
    return any(
        all(scores[order[n], c] > scores[order[(n + 1) % 3], c] for n, c in enumerate(criteria))
        for order in (systems, systems[::-1])
        for criteria in product(range(scores.shape[1]), repeat=3)
    )


@pytest.fixture
def grades():
    return np.random.default_rng(0).integers(1, 4, (12, 5, 3)).astype(float)


def test_cycles_are_all_triples_for_which_some_criteria_make_one(grades):
    found = 0
    for scores in grades:
        for systems in combinations(range(5), 3):
            cycle = find_cycle(scores, systems)
            assert (cycle is not None) == admits_cycle(scores, systems)
            if cycle is not None:
                found += 1
                assert sorted(cycle.order) == list(systems)
                assert len(set(cycle.criteria)) > 1
                for better, worse, criterion, margin in cycle.edges():
                    ahead = scores[better] - scores[worse]
                    assert margin == ahead[criterion] == ahead.max() > 0
    assert 20 < found < 120


def test_clearer_orientation_is_taken():
    # 0 > 1 > 2 > 0 by margins of 1, and 0 > 2 > 1 > 0 by margins of 2.
    scores = np.array([[3, 0, 2], [2, 2, 0], [0, 1, 1.0]])
    cycle = find_cycle(scores, (0, 1, 2))
    forward = [(scores[a] - scores[b]).max() for a, b in ((0, 1), (1, 2), (2, 0))]
    backward = [(scores[a] - scores[b]).max() for a, b in ((0, 2), (2, 1), (1, 0))]
    assert min(cycle.margins) == max(min(forward), min(backward))


def test_pairs_are_the_edges_of_whole_cycles(tmp_path, grades):
    pairs = load_usr_cycles(written(tmp_path, grades)).pairs
    for group in set(pairs.groups):
        own = pairs.take(np.array([one == group for one in pairs.groups]))
        assert own.count == 3
        assert accuracy_ceiling(own.first, own.second, own.probability).lower == pytest.approx(2 / 3)
    text = [response.text for response in pairs.responses]
    for row in range(pairs.count):
        context = int(pairs.groups[row].split("-")[0])
        better, worse = (int(text[side[row]].split(" ")[-1]) for side in (pairs.first, pairs.second))
        criterion = CRITERIA.index(pairs.subsets[row])
        assert grades[context, better, criterion] - grades[context, worse, criterion] == pairs.margins[row] > 0


def test_control_has_the_same_pairs_and_scores_that_explain_them(tmp_path, grades):
    files = written(tmp_path, grades)
    hidden, told = load_usr_cycles(files).pairs, load_usr_cycles_with_criterion(files).pairs
    assert hidden.pair_ids == told.pair_ids
    assert (hidden.subsets, hidden.groups) == (told.subsets, told.groups)
    for side in ("first", "second"):
        assert [hidden.responses[row].text for row in getattr(hidden, side)] == [
            told.responses[row].text for row in getattr(told, side)
        ]
        named = told.item_features[getattr(told, side)].argmax(axis=1)
        assert [CRITERIA[number] for number in named] == list(told.subsets)
    assert accuracy_ceiling(told.first, told.second, told.probability).lower == 1
    assert accuracy_ceiling(hidden.first, hidden.second, hidden.probability).upper < 0.8


@pytest.mark.parametrize("split", [split_by_prompt, split_by_pair, split_by_group])
def test_both_sets_are_split_alike(split, tmp_path, grades):
    files = written(tmp_path, grades)
    sides = [
        split(load(files).pairs, validation=0.2, test=0.3, seed=3)
        for load in (load_usr_cycles, load_usr_cycles_with_criterion)
    ]
    for side in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(sides[0], side), getattr(sides[1], side))


def test_groups_to_report_on_are_whole_and_share_no_pair_with_training(tmp_path, grades):
    pairs = load_usr_cycles(written(tmp_path, grades)).pairs
    split = split_by_group(pairs, validation=0.2, test=0.3, seed=0)
    groups = {side: {pairs.groups[row] for row in getattr(split, side)} for side in ("train", "validation", "test")}
    assert not groups["test"] & (groups["train"] | groups["validation"])
    assert len(split.test) == 3 * len(groups["test"])
    ends = [frozenset((int(a), int(b))) for a, b in zip(pairs.first, pairs.second, strict=True)]
    assert not {ends[row] for row in split.train} & {ends[row] for row in split.test}
    assert 0 < len(split.train) < 3 * len(set(pairs.groups)) * 0.5


def test_pairs_without_groups_cannot_be_split_by_them(tmp_path, grades):
    from dataclasses import replace

    pairs = load_usr_cycles(written(tmp_path, grades)).pairs
    with pytest.raises(ConfigurationError, match="in no groups"):
        split_by_group(replace(pairs, groups=None), validation=0, test=0.5, seed=0)


def test_groups_are_stored_and_count_for_the_checksum(tmp_path, grades):
    from dataclasses import replace

    pairs = replace(load_usr_cycles(written(tmp_path, grades)).pairs, name="cycles")
    assert pairs_digest(pairs) != pairs_digest(replace(pairs, groups=pairs.groups[::-1]))
    assert pairs_digest(pairs) != pairs_digest(replace(pairs, groups=None))
    folder = tmp_path / "cycles-v1"
    folder.mkdir()
    write_preference_pairs(pairs, folder)
    from bayesgrid.data.checksums import sha256_of_file

    files = ("prompts.parquet", "responses.parquet", "pairs.parquet")
    digests = {file: sha256_of_file(folder / file) for file in files}
    record = {"dataset": "cycles", "data_version": "v1", "parquet_sha256": digests.pop("pairs.parquet")}
    (folder / "provenance.json").write_text(json.dumps({**record, "further_files": digests}))
    back = read_preference_pairs(folder)
    assert back.groups == pairs.groups
    assert pairs_digest(back) == pairs_digest(pairs)


def test_grades_of_usr_have_169_cycles_among_1200_triples(mirror):
    graded = read_usr_scores(mirror / "preference" / "unieval_topical_chat_usr.json")
    triples = [(scores, systems) for scores in graded.scores for systems in combinations(range(6), 3)]
    assert len(triples) == 1200
    assert sum(find_cycle(*triple) is not None for triple in triples) == 169
