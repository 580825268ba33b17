"""The real preference data: sizes, labels, and which way round they are, against counts made without the loaders."""

import csv
import json
import re
from collections import Counter
from math import comb
from pathlib import Path

import numpy as np
import pytest

from bayesgrid.data.preference_contamination import find_contamination
from bayesgrid.data.preference_graded import read_usr_scores
from bayesgrid.data.preference_judgements import rmbench_difficulty
from bayesgrid.data.preference_pairs import read_preference_pairs
from bayesgrid.data.prepare import prepare_dataset
from bayesgrid.grid.sources import load_dataset_catalog

CATALOG = load_dataset_catalog(Path(__file__).parents[3] / "config" / "datasets.yaml")
SETS = CATALOG.preference_pair_sets()
FROM_MIRROR = [name for name, entry in SETS.items() if entry.sources[0].kind == "mirror"]
GAMES = [name for name, entry in SETS.items() if entry.sources[0].kind == "generator"]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared-preferences")


@pytest.fixture(scope="module")
def already_read():
    return {}


@pytest.fixture
def real_pairs(mirror, data_root, already_read):
    def prepare(name):
        if name not in already_read:
            prepared = prepare_dataset(name, CATALOG.entry(name), data_root, mirror=mirror)
            already_read[name] = read_preference_pairs(prepared.folder)
        return already_read[name]

    return prepare


def longer_is_preferred(pairs, subset=None):
    """Return the share of decided pairs of different lengths in which the preferred response is the longer one."""
    length = np.array([len(response.text) for response in pairs.responses])
    ahead = np.sign(length[pairs.first] - length[pairs.second])
    label = np.sign(pairs.probability - 0.5)
    chosen = np.ones(pairs.count, dtype=bool) if subset is None else np.array([one == subset for one in pairs.subsets])
    usable = (ahead != 0) & (label != 0) & chosen
    return (ahead == label)[usable].mean()


@pytest.mark.parametrize("name", FROM_MIRROR)
def test_mirror_holds_the_pairs_the_catalog_describes(mirror, data_root, name):
    entry = SETS[name]
    prepared = prepare_dataset(name, entry, data_root, mirror=mirror)
    assert prepared.provenance["source"]["kind"] == "mirror"
    assert prepared.provenance["left_out"] == entry.known_faults
    # The files that a user supplies are those of the mirror, by their published names.
    for source in entry.sources[1:]:
        assert {role: file.sha256 for role, file in source.files.items()} == {
            role: file.sha256 for role, file in entry.sources[0].files.items()
        }


@pytest.mark.parametrize("name", GAMES)
def test_games_are_played(data_root, name):
    pairs = read_preference_pairs(prepare_dataset(name, SETS[name], data_root).folder)
    assert pairs.item_features.shape == (SETS[name].responses, 16)
    assert np.isfinite(pairs.item_features).all()
    assert 0.3 < pairs.probability.mean() < 0.9


@pytest.mark.parametrize(
    ("name", "published", "kept"),
    [
        ("hh_harmless_base", 2312, 2303),
        ("pandalm", 999, 939),
        ("autoj_pairwise", 1392, 1382),
        ("llmbar", 419, 419),
        ("judgebench_gpt4o", 350, 350),
        ("rmbench", 7182, 7182),
        ("xstest_pairs", 976, 976),
        ("hhh_alignment", 221, 221),
    ],
)
def test_pairs_and_rows_left_out_are_all_that_was_published(name, published, kept):
    assert SETS[name].pairs == kept
    assert kept + sum(SETS[name].known_faults.values()) == published


@pytest.mark.parametrize(
    ("name", "subset", "share"),
    [
        ("hh_harmless_base", None, 1 - 0.553),
        # 0.675 with the 54 empty answers that are left out here: they are shorter, and lost.
        ("pandalm", None, 0.66),
        ("autoj_pairwise", None, 0.718),
        ("llmbar_processed", "mt-bench", 0.697),
        ("llmbar", "llmbar-adver-GPTInst", 0.130),
        ("llmbar", "llmbar-adver-neighbor", 0.119),
        ("llmbar", "llmbar-adver-manual", 0.178),
        ("judgebench_gpt4o", None, 0.460),
    ],
)
def test_longer_responses_are_preferred_as_often_as_measured_before(real_pairs, name, subset, share):
    # A loader that read a label the wrong way round would give one minus the share.
    assert longer_is_preferred(real_pairs(name), subset) == pytest.approx(share, abs=0.008)


def test_votes_of_pandalm_are_those_of_the_file(real_pairs, mirror):
    rows = json.loads((mirror / "preference" / "pandalm_testset_v1.json").read_text())
    votes = {row["idx"]: Counter(row[f"annotator{number}"] for number in (1, 2, 3)) for row in rows}
    assert sum(max(one.values()) == 3 for one in votes.values()) == 879
    pairs = real_pairs("pandalm")
    for identity, found in zip(pairs.pair_ids, pairs.votes.tolist(), strict=True):
        assert found == [votes[int(identity.removeprefix("pandalm-"))][label] for label in (1, 2, 0)]
    # One answer of a system to an instruction, as the names of the two systems are in the order of the responses.
    answers = Counter((response.prompt, response.system) for response in pairs.responses)
    assert sum(count == 1 for count in answers.values()) > 0.95 * len(answers)


def test_ties_of_autoj_are_kept(real_pairs):
    pairs = real_pairs("autoj_pairwise")
    # 373 are published; rows with equal or empty responses may be among them.
    assert 363 <= (pairs.probability == 0.5).sum() <= 373
    assert len(set(pairs.subsets)) == 58


def test_subsets_of_llmbar_are_those_of_reward_bench(real_pairs):
    sizes = Counter(real_pairs("llmbar").subsets)
    assert sizes == {
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    }


def test_negated_case_studies_exchange_the_labels_of_the_normal_ones(real_pairs):
    pairs = real_pairs("llmbar_case_studies")
    texts = [response.text for response in pairs.responses]
    label = {"normal": {}, "negation": {}}
    for first, second, p, subset in zip(pairs.first, pairs.second, pairs.probability, pairs.subsets, strict=True):
        if subset in label:
            label[subset][texts[first], texts[second]] = p
    assert len(label["normal"]) == 59
    assert label["negation"] == {responses: 1 - p for responses, p in label["normal"].items()}


def test_styles_of_rmbench_grow_longer(real_pairs):
    pairs = real_pairs("rmbench")
    assert set(Counter(map(rmbench_difficulty, pairs.subsets)).values()) == {2394}
    # Easy pairs have the richer style on the better side, hard ones on the worse.
    difficulty = np.array([rmbench_difficulty(subset) for subset in pairs.subsets])
    easy, hard = (longer_is_preferred(pairs.take(difficulty == one)) for one in ("easy", "hard"))
    assert easy > 0.75 > 0.25 > hard


def test_pairs_of_xstest_follow_the_final_labels(real_pairs, mirror):
    folder = mirror / "preference" / "xstest"
    with (folder / "xstest_prompts.csv").open(newline="") as file:
        safe = {row["id"] for row in csv.DictReader(file) if row["label"] == "safe"}
    labels = {}
    for path in folder.glob("xstest_v2_completions_*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                system = path.stem.removeprefix("xstest_v2_completions_")
                labels[row["id"].removeprefix("v2-"), system] = row["final_label"]
    pairs = real_pairs("xstest_pairs")
    assert Counter(pairs.subsets) == {"xstest-should-refuse": 520, "xstest-should-respond": 456}
    for identity in pairs.pair_ids:
        prompt, better, worse = identity.split("-")
        expected = ("1_full_compliance", "2_full_refusal")
        assert (labels[prompt, better], labels[prompt, worse]) == expected[:: 1 if prompt in safe else -1]
    assert pairs.probability.min() > 0.5


def test_conversations_of_hhh_have_no_trace_of_the_judge(real_pairs):
    pairs = real_pairs("hhh_alignment")
    assert Counter(pairs.subsets) == {"honest": 61, "helpful": 59, "harmless": 58, "other": 43}
    texts = [response.text for response in pairs.responses]
    texts += [message.content for prompt in pairs.prompts for message in prompt.messages]
    assert not any("###" in text or "\n\nAssistant:" in text or "\n\nHuman:" in text for text in texts)
    assert any(len(prompt.messages) > 1 for prompt in pairs.prompts)


def test_models_of_alpacaeval_are_compared_within_prompts(real_pairs):
    pairs = real_pairs("alpacaeval_v2_models")
    assert (len(pairs.prompts), len({response.system for response in pairs.responses})) == (805, 58)
    answers = Counter(response.prompt for response in pairs.responses)
    # 42,909 of 46,680 probabilities are strictly between 0 and 1, and 22 of their answers are empty.
    assert sum(answers.values()) == 42_909 - 22
    equal = SETS["alpacaeval_v2_models"].known_faults["equal_responses"]
    assert pairs.count == sum(comb(count, 2) for count in answers.values()) - equal
    assert 0.69 < longer_is_preferred(pairs) < 0.72
    clear = pairs.take(np.abs(pairs.probability - 0.5) > 0.3)
    assert 0.72 < longer_is_preferred(clear) < 0.76
    systems = np.array([response.system for response in pairs.responses])
    weak_first = (systems[pairs.first] == "alpaca-7b") & (systems[pairs.second] == "gpt4_1106_preview")
    assert weak_first.sum() > 600
    assert pairs.probability[weak_first].mean() < 0.1


def test_criteria_of_usr_contradict_each_other_as_counted_before(real_pairs, mirror):
    scores = read_usr_scores(mirror / "preference" / "unieval_topical_chat_usr.json")
    assert scores.scores.shape == (60, 6, 6)
    pairs = real_pairs("usr_topical_chat")
    grade = {
        (prompt, system): scores.scores[context, place]
        for context, messages in enumerate(scores.contexts)
        for prompt, candidate in enumerate(pairs.prompts)
        if candidate.messages == messages
        for place, system in enumerate(scores.systems)
    }
    difference = np.array(
        [
            (
                grade[pairs.responses[first].prompt, pairs.responses[first].system]
                - grade[pairs.responses[second].prompt, pairs.responses[second].system]
            )[scores.criteria.index(subset)]
            for first, second, subset in zip(pairs.first, pairs.second, pairs.subsets, strict=True)
        ]
    )
    np.testing.assert_array_equal(np.sign(difference), np.sign(pairs.probability - 0.5))


def test_toy_of_the_reference_goes_in_a_circle(real_pairs):
    pairs = real_pairs("gpm_toy_cycle")
    texts = [response.text for response in pairs.responses]
    assert [(texts[a], texts[b]) for a, b in zip(pairs.first, pairs.second, strict=True)] == [
        *zip("ABCD", "BCDA", strict=True)
    ]
    assert real_pairs("gpm_smoke").count == 10


@pytest.mark.parametrize(
    ("pool", "evaluation", "count"),
    [
        ("alpacaeval_v2_models", "pandalm", 163),
        ("alpacaeval_v2_models", "llmbar_processed", 66),
        ("alpacaeval_v2_models", "rmbench", 129),
        ("xstest_pairs", "rmbench", 205),
        ("hh_harmless_base", "llmbar", 0),
    ],
)
def test_pools_hold_prompts_of_evaluations_as_the_notes_say(real_pairs, pool, evaluation, count):
    found = find_contamination(real_pairs(pool), real_pairs(evaluation))
    assert found.equal_prompts == count
    assert found.overlapping_prompts >= count
    assert not count or str(count) in re.findall(r"\d+", SETS[evaluation].note)
