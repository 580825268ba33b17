import hashlib
import json
from dataclasses import replace

import pytest
from PIL import Image

from bayesgrid.data.choice_questions import (
    ChoiceQuestion,
    ChoiceQuestions,
    questions_digest,
    read_choice_questions,
    write_choice_questions,
)
from bayesgrid.data.prepare import prepare_dataset
from bayesgrid.data.question_preparation import check_leaks, load_questions
from bayesgrid.errors import DataError
from bayesgrid.grid.sources import ChoiceQuestionsEntry

ROWS = {
    "train": [("t0", "What?", ["a", "b"], "B"), ("t1", "Who?", ["c", "d", "e"], "A")],
    "test": [("s0", "Où\u2028?", ["x", "y", "z"], "C")],
}


def make(**changes):
    values = {
        "name": "quiz",
        "data_version": "v1-abc",
        "labels": ("A", "B", "C"),
        "template": "lettered_choices",
        "splits": {
            "train": (ChoiceQuestion("t0", "What?", ("a", "b"), 1, passage="P", group="g"),),
            "test": (ChoiceQuestion("s0", "Who?", ("c", "d", "e"), 2),),
        },
    }
    return ChoiceQuestions(**{**values, **changes})


@pytest.fixture
def files(tmp_path):
    """A mirror with questions in the columns of the AI2 challenge, and its entry."""
    folder = tmp_path / "mirror" / "q"
    folder.mkdir(parents=True)
    for split, rows in ROWS.items():
        lines = [
            {
                "id": name,
                "question": text,
                "choices": {"text": options, "label": list("ABC")[: len(options)]},
                "answerKey": key,
            }
            for name, text, options, key in rows
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")

    def entry(**changes):
        values = {
            "kind": "choice_questions",
            "label": "quiz",
            "version": 1,
            "licence": "MIT",
            "citation": "nobody",
            "labels": ["A", "B", "C"],
            "template": "lettered_choices",
            "splits": {"train": 2, "test": 1},
            "sources": [{"kind": "file", "loader": "arc", "files": {s: {"name": f"{s}.jsonl"} for s in ROWS}}],
        }
        return ChoiceQuestionsEntry.model_validate_json(json.dumps({**values, **changes}))

    return folder, entry


def test_prepared_questions_are_those_of_the_files(files, tmp_path):
    folder, entry = files
    prepared = prepare_dataset("quiz", entry(), tmp_path / "data", user_files={"quiz": folder})
    questions = read_choice_questions(tmp_path / "data", "quiz", prepared.data_version)
    assert questions.labels == ("A", "B", "C")
    assert questions.template == "lettered_choices"
    found = {
        split: [(q.question_id, q.question, list(q.options), "ABC"[q.answer]) for q in rows]
        for split, rows in questions.splits.items()
    }
    assert found == ROWS
    assert prepared.provenance["questions_sha256"] == questions_digest(questions)
    assert prepared.provenance["source"]["files"]["train"]["name"] == "train.jsonl"
    again = prepare_dataset("quiz", entry(), tmp_path / "data")
    assert again.provenance == prepared.provenance


def test_catalog_that_says_otherwise_is_refused(files, tmp_path):
    folder, entry = files
    for changes, words in [
        ({"splits": {"train": 3, "test": 1}}, "other sizes"),
        ({"splits": {"test": 1}}, "other sizes"),
        ({"groups": "subject"}, "disagree on whether there are groups"),
        ({"questions_sha256": "0" * 64}, "'questions_sha256' differs"),
        ({"labels": ["A", "B"]}, "number of options does not fit the labels"),
    ]:
        with pytest.raises(DataError, match=words):
            prepare_dataset("quiz", entry(**changes), tmp_path / "data", user_files={"quiz": folder})
    prepare_dataset("quiz", entry(splits={"train": None, "test": 1}), tmp_path / "data", user_files={"quiz": folder})


def test_altered_or_missing_questions_are_not_read(files, tmp_path):
    folder, entry = files
    with pytest.raises(DataError, match="is not prepared"):
        read_choice_questions(tmp_path / "data", "quiz", entry().data_version())
    prepared = prepare_dataset("quiz", entry(), tmp_path / "data", user_files={"quiz": folder})
    path = prepared.folder / "questions.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match="was altered"):
        read_choice_questions(tmp_path / "data", "quiz", prepared.data_version)
    prepare_dataset("quiz", entry(), tmp_path / "data", user_files={"quiz": folder})
    assert read_choice_questions(tmp_path / "data", "quiz", prepared.data_version).rows == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"splits": {"train": ()}}, "a split has no questions"),
        ({"splits": {"dev": make().splits["test"]}}, "no such split"),
        ({"splits": {"train": make().splits["test"], "test": make().splits["test"]}}, "the same id"),
        ({"splits": {"test": (ChoiceQuestion("s0", "?", ("c", "d"), 2),)}}, "answer is none of the options"),
        ({"splits": {"test": (ChoiceQuestion("s0", "?", ("c",), 0),)}}, "number of options"),
        ({"splits": {"test": (ChoiceQuestion("s0", "?", ("c", "d"), 0, image="../x.png"),)}}, "file name alone"),
    ],
)
def test_impossible_questions_are_refused(changes, words):
    with pytest.raises(DataError, match=words):
        make(**changes)


def test_digest_changes_with_everything_but_name_version_and_template():
    original = make()
    question = original.splits["train"][0]
    altered = [
        replace(question, question_id="t9"),
        replace(question, question="What ?"),
        replace(question, options=("a", "c")),
        replace(question, answer=0),
        replace(question, passage=None),
        replace(question, group="h"),
    ]
    sets = [make(splits={**original.splits, "train": (one,)}) for one in altered]
    sets += [
        make(labels=("A", "B", "D")),
        make(splits={"validation": original.splits["train"], "test": original.splits["test"]}),
    ]
    assert len({questions_digest(one) for one in (original, *sets)}) == len(sets) + 1
    same = make(name="other", data_version="v2-abc", template="image_letter")
    assert questions_digest(same) == questions_digest(original)


def test_images_are_stored_with_the_questions_and_count_by_their_pixels(tmp_path):
    def with_image(folder, level, colour):
        (folder / "images").mkdir(parents=True)
        Image.new("RGB", (6, 4), colour).save(folder / "images" / "i.png", compress_level=level)
        question = ChoiceQuestion("s0", "?", ("a", "b"), 0, image="i.png")
        return make(splits={"test": (question,)}, folder=folder)

    packed, loose, other = (
        with_image(tmp_path / name, level, colour)
        for name, level, colour in [("p", 9, "red"), ("l", 0, "red"), ("o", 9, "blue")]
    )
    assert (tmp_path / "p/images/i.png").read_bytes() != (tmp_path / "l/images/i.png").read_bytes()
    assert questions_digest(packed) == questions_digest(loose) != questions_digest(other)
    write_choice_questions(packed, tmp_path / "stored")
    stored = replace(packed, folder=tmp_path / "stored")
    assert stored.image_path(stored.splits["test"][0]).read_bytes() == (tmp_path / "p/images/i.png").read_bytes()
    with pytest.raises(DataError, match="an image is missing"):
        write_choice_questions(replace(packed, folder=tmp_path / "nowhere"), tmp_path / "again")


def leaking(files):
    """Put the test question into training, with its answer and other options, and return folder and entry."""
    folder, make_entry = files
    path = folder / "train.jsonl"
    choices = {"text": ["u", "v", "z"], "label": ["A", "B", "C"]}
    line = {"id": "t9", "question": "o\u00f9\u2028? ", "choices": choices, "answerKey": "C"}
    path.write_text(path.read_text(encoding="utf-8") + json.dumps(line) + "\n", encoding="utf-8")
    return folder, lambda **changes: make_entry(splits={"train": 3, "test": 1}, **changes)


def read_leaking(files, tmp_path):
    folder, make_entry = leaking(files)
    paths = {split: folder / f"{split}.jsonl" for split in ROWS}
    return load_questions("quiz", make_entry(), "arc", paths, tmp_path)


def test_more_leaks_than_are_known_are_refused_with_counts_and_examples(files, tmp_path, caplog):
    questions = read_leaking(files, tmp_path)
    with pytest.raises(DataError, match=r"'quiz'.*'train' and 'test' leak.*1 questions of 'test'.*t9 and s0"):
        check_leaks("quiz", questions, {})
    with pytest.raises(DataError, match="leak"):
        check_leaks("quiz", questions, {"train/test": {"questions_of_shared_groups": 5}})
    (leak,) = check_leaks("quiz", questions, {"train/test": {"equal_answers": 1}})
    assert (leak.equal_answers, leak.equal_questions, leak.examples) == (1, 0, (("t9", "s0"),))
    assert not caplog.records


def test_uncounted_leaks_are_recorded_and_warned_about(files, tmp_path, caplog):
    (leak,) = check_leaks("quiz", read_leaking(files, tmp_path), None)
    assert leak.equal_answers == 1
    assert "data set quiz leaks: 1 questions of 'test' stand in 'train' with their answer (t9 and s0)" in caplog.text


def test_the_record_of_a_prepared_set_counts_what_its_splits_share(files, tmp_path):
    folder, entry = files
    prepared = prepare_dataset("quiz", entry(), tmp_path / "data", user_files={"quiz": folder})
    (leak,) = prepared.provenance["leaks"]
    assert (leak["first"], leak["second"], leak["equal_answers"], leak["equal_prompts"]) == ("train", "test", 0, 0)
    stored = json.loads((prepared.folder / "provenance.json").read_text(encoding="utf-8"))
    assert stored["leaks"] == [leak]


@pytest.mark.parametrize("changed", list(ROWS))
def test_a_set_made_from_other_files_of_a_user_is_not_taken_for_theirs(files, tmp_path, changed):
    folder, entry = files
    prepared = prepare_dataset("quiz", entry(), tmp_path / "data", user_files={"quiz": folder})
    recorded = {role: file["sha256"] for role, file in prepared.provenance["source"]["files"].items()}
    expected = {split: hashlib.sha256((folder / f"{split}.jsonl").read_bytes()).hexdigest() for split in ROWS}
    assert recorded == expected
    path = folder / f"{changed}.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("?", "!"), encoding="utf-8")
    with pytest.raises(DataError, match=r"it changed since.*SHA-256 in the catalog entry of 'quiz'"):
        prepare_dataset("quiz", entry(), tmp_path / "data", user_files={"quiz": folder})


def test_a_set_whose_record_does_not_name_a_users_file_is_not_taken_for_theirs(files, tmp_path):
    folder, entry = files
    prepared = prepare_dataset("quiz", entry(), tmp_path / "data", user_files={"quiz": folder})
    record = prepared.folder / "provenance.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    del content["source"]["files"]["test"]
    record.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="SHA-256 in the catalog entry of 'quiz'"):
        prepare_dataset("quiz", entry(), tmp_path / "data", user_files={"quiz": folder})


def test_known_leaks_of_the_catalog_decide_and_are_no_part_of_the_version(files, tmp_path, caplog):
    folder, entry = leaking(files)
    supplied = {"user_files": {"quiz": folder}}
    with pytest.raises(DataError, match=r"'train' and 'test' leak.*1 questions.*t9 and s0"):
        prepare_dataset("quiz", entry(), tmp_path / "a", **supplied)
    known = entry(known_leaks={"train/test": {"equal_answers": 1}})
    (leak,) = prepare_dataset("quiz", known, tmp_path / "a", **supplied).provenance["leaks"]
    assert (leak["first"], leak["second"], leak["equal_answers"], leak["equal_questions"]) == ("train", "test", 1, 0)
    assert "leaks" not in caplog.text
    uncounted = entry(known_leaks=None)
    assert prepare_dataset("quiz", uncounted, tmp_path / "b", **supplied).provenance["leaks"] == [leak]
    assert "data set quiz leaks: 1 questions of 'test' stand in 'train'" in caplog.text
    assert entry().data_version() == known.data_version() == uncounted.data_version()


def test_known_leaks_of_a_split_that_is_not_there_are_a_fault_of_the_catalog(files):
    _, entry = files
    with pytest.raises(ValueError, match="train/validation"):
        entry(known_leaks={"train/validation": {"equal_answers": 1}})
