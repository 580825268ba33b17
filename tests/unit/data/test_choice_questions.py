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
