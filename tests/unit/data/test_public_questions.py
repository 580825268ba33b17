"""The real question sets: sizes, labels, generated content and leaks, as the catalog and its notes say."""

import re
from pathlib import Path

import pytest

from bayesgrid.data.choice_questions import read_choice_questions
from bayesgrid.data.prepare import prepare_dataset
from bayesgrid.data.question_leakage import compare_questions, find_question_leaks
from bayesgrid.grid.sources import load_dataset_catalog

CATALOG = load_dataset_catalog(Path(__file__).parents[3] / "config" / "datasets.yaml")
SETS = CATALOG.choice_question_sets()
FROM_MIRROR = [name for name, entry in SETS.items() if entry.sources[0].kind == "mirror"]
GENERATED = [
    name for name, entry in SETS.items() if entry.sources[0].kind == "generator" and name != "symbolic_regression_plots"
]


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared-questions")


@pytest.fixture
def real_questions(mirror, data_root):
    def prepare(name):
        prepared = prepare_dataset(name, CATALOG.entry(name), data_root, mirror=mirror)
        return read_choice_questions(data_root, name, prepared.data_version)

    return prepare


@pytest.mark.parametrize("name", FROM_MIRROR)
def test_mirror_holds_the_questions_the_catalog_describes(real_questions, name):
    questions = real_questions(name)
    assert {split: len(rows) for split, rows in questions.splits.items()} == SETS[name].splits
    used = {question.answer for _, question in questions.each()}
    assert max(used) < len(questions.labels)


@pytest.mark.parametrize("name", GENERATED)
def test_generators_draw_the_pinned_questions(data_root, name):
    prepared = prepare_dataset(name, SETS[name], data_root)
    assert prepared.provenance["questions_sha256"] == SETS[name].questions_sha256
    if "logic" in name:
        assert prepared.provenance["source"]["packages"].keys() == {"reasoning_gym"}


@pytest.mark.parametrize(
    ("name", "whole", "with_answer", "prompts"),
    [("arc_easy", 3, 4, 7), ("arc_challenge", 0, 1, 7), ("openbookqa", 14, 15, 23)],
)
def test_published_splits_share_questions_as_the_notes_say(real_questions, name, whole, with_answer, prompts):
    (leak,) = find_question_leaks(real_questions(name)).leaks
    assert (leak.equal_questions, leak.equal_answers, leak.equal_prompts) == (whole, with_answer, prompts)
    counts = re.findall(r"\d+", SETS[name].note)
    assert all(str(count) in counts for count in (whole, with_answer, prompts) if count)


def test_known_leaks_are_those_of_the_questions(real_questions):
    for name in ("arc_easy", "arc_challenge", "openbookqa", "circuit_logic_leaked", "expression_logic_leaked"):
        found = {
            f"{leak.first}/{leak.second}": {
                key: count for key in ("equal_answers", "questions_of_shared_groups") if (count := getattr(leak, key))
            }
            for leak in find_question_leaks(real_questions(name)).leaks
        }
        assert SETS[name].known_leaks == found, name


def test_sets_without_training_questions_do_not_repeat_those_of_others(real_questions):
    training = [
        question
        for name in ("arc_easy", "arc_challenge", "openbookqa")
        for question in real_questions(name).splits["train"]
    ]
    for name in FROM_MIRROR:
        if name.startswith("mmlu_"):
            test = real_questions(name).splits["test"]
            leak = compare_questions(training, test, first_name="training", second_name=name)
            assert leak.equal_answers == 0, name


def test_arc_has_three_to_five_options_as_the_notes_say(real_questions):
    for name in ("arc_easy", "arc_challenge"):
        counts = [
            sum(len(question.options) == options for question in real_questions(name).splits[split])
            for options in (3, 5)
            for split in ("train", "test")
        ]
        assert (
            SETS[name]
            .note.split("; ")[-1]
            .startswith(
                f"{counts[0]} question{'s' if counts[0] > 1 else ''} of training and {counts[1]} of the test have three"
            )
        )
