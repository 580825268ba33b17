import io
import json
import zipfile
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bayesgrid.data.choice_questions import read_choice_questions
from bayesgrid.data.prepare import prepare_dataset
from bayesgrid.data.question_loaders import QUESTION_LOADERS
from bayesgrid.data.question_splits import split_groups
from bayesgrid.errors import DataError
from bayesgrid.grid.sources import ChoiceQuestionsEntry


def picture(number, side=(12, 8), file_format="PNG"):
    pixels = np.random.default_rng(number).integers(0, 256, size=(side[1], side[0]), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, file_format)
    return content.getvalue()


@pytest.fixture
def slake_folder(tmp_path):
    """Three images, one of which serves two questions, and questions of every kind."""
    folder = tmp_path / "slake"
    folder.mkdir()
    with zipfile.ZipFile(folder / "imgs.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"imgs/xmlab{number}/source.jpg", picture(number, (300, 200), "JPEG"))

    def row(qid, image, answer, language="en"):
        return {
            "qid": qid,
            "img_id": image,
            "img_name": f"xmlab{image}/source.jpg",
            "question": f"question {qid}",
            "answer": answer,
            "q_lang": language,
            "answer_type": "CLOSED",
        }

    rows = {
        "train": [row(0, 0, "Yes"), row(1, 0, "No"), row(2, 0, "Lung"), row(3, 0, "Yes", "zh")],
        "validation": [row(4, 1, "No")],
        "test": [row(5, 2, "Yes"), row(6, 2, "No")],
    }
    for split, values in rows.items():
        (folder / f"{split}.json").write_text(json.dumps(values))
    return folder


def slake_entry(splits, **changes):
    files = {"images": {"name": "imgs.zip"}, **{split: {"name": f"{split}.json"} for split in splits}}
    values = {
        "kind": "choice_questions",
        "label": "slake",
        "version": 1,
        "licence": "CC BY 4.0",
        "citation": "nobody",
        "labels": ["Yes", "No"],
        "template": "image_yes_no",
        "splits": splits,
        "groups": "image",
        "sources": [{"kind": "file", "loader": "slake", "files": files}],
    }
    return ChoiceQuestionsEntry.model_validate_json(json.dumps({**values, **changes}))


def prepare(name, entry, folder, root):
    prepared = prepare_dataset(name, entry, root, user_files={name: folder})
    return prepared, read_choice_questions(root, name, prepared.data_version)


def test_slake_keeps_english_questions_answered_by_yes_or_no(slake_folder, tmp_path):
    entry = slake_entry({"train": 2, "validation": 1, "test": 2})
    prepared, questions = prepare("slake", entry, slake_folder, tmp_path / "data")
    assert [(q.question_id, q.answer) for _, q in questions.each()] == [
        ("train-0", 0),
        ("train-1", 1),
        ("validation-4", 1),
        ("test-5", 0),
        ("test-6", 1),
    ]
    assert prepared.provenance["images"] == 3
    first = questions.splits["train"][0]
    assert questions.image_path(first).read_bytes() == picture(0, (300, 200), "JPEG")
    assert questions.splits["train"][1].image == first.image
    assert first.group == "image-0"


def test_a_lost_image_makes_the_set_prepared_again(slake_folder, tmp_path):
    entry = slake_entry({"test": 2})
    _, questions = prepare("slake", entry, slake_folder, tmp_path / "data")
    path = questions.image_path(questions.splits["test"][0])
    path.unlink()
    prepare("slake", entry, slake_folder, tmp_path / "data")
    assert path.is_file()


def test_noise_of_an_entry_is_on_its_images_and_the_same_every_time(slake_folder, tmp_path):
    stored = []
    for place in ("a", "b"):
        _, questions = prepare("noisy", slake_entry({"test": 2}, image_noise=32), slake_folder, tmp_path / place)
        images = [np.asarray(Image.open(questions.image_path(q))) for q in questions.splits["test"]]
        stored.append(images)
    assert [image.shape for image in stored[0]] == [(149, 224, 3)] * 2
    for one, same in zip(*stored, strict=True):
        np.testing.assert_array_equal(one, same)
    assert (stored[0][0] != stored[0][1]).mean() > 0.9
    versions = {
        slake_entry({"test": 2}, **noise).data_version() for noise in ({}, {"image_noise": 32}, {"image_noise": 64})
    }
    assert len(versions) == 3


def test_damaged_archives_and_missing_images_are_errors(slake_folder, tmp_path):
    with zipfile.ZipFile(slake_folder / "imgs.zip", "w") as archive:
        archive.writestr("imgs/xmlab2/source.jpg", b"not an image")
    with pytest.raises(DataError, match="lacks an image"):
        prepare("s", slake_entry({"train": 2}), slake_folder, tmp_path / "data")
    with pytest.raises(DataError, match="not an image"):
        prepare("s", slake_entry({"test": 2}), slake_folder, tmp_path / "data")
    (slake_folder / "imgs.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="archive is damaged"):
        prepare("s", slake_entry({"test": 2}), slake_folder, tmp_path / "data")


def parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_mmstar_is_split_within_categories(tmp_path):
    rows = [
        {
            "index": number,
            "question": f"Q{number}\nOptions: A: a, B: b, C: c, D: d",
            "image": {"bytes": picture(number), "path": None},
            "answer": "ABCD"[number % 4],
            "l2_category": "xy"[number % 2],
        }
        for number in range(80)
    ]
    splits = QUESTION_LOADERS["mmstar"]({"table": parquet(tmp_path / "t.parquet", rows)}, tmp_path / "images")
    assert {split: len(questions) for split, questions in splits.items()} == {"train": 56, "validation": 12, "test": 12}
    for questions in splits.values():
        odd = sum(int(q.question_id) % 2 for q in questions)
        assert odd * 2 == len(questions)
        assert all(q.answer == int(q.question_id) % 4 for q in questions)


def test_mathverse_keeps_the_versions_of_a_problem_together(tmp_path):
    rows = [
        {
            "sample_index": str(number),
            "problem_index": str(number // 5),
            "question": f"Q{number}",
            "image": {"bytes": picture(number), "path": None},
            "answer": "A" if number % 5 else "12",
            "question_type": "multi-choice" if number % 5 != 1 else "free-form",
        }
        for number in range(200)
    ]
    splits = QUESTION_LOADERS["mathverse"]({"table": parquet(tmp_path / "t.parquet", rows)}, tmp_path / "images")
    kept = [q.question_id for questions in splits.values() for q in questions]
    assert sorted(map(int, kept)) == [n for n in range(200) if n % 5 > 1]
    sides = defaultdict(set)
    for split, questions in splits.items():
        for q in questions:
            assert q.group == f"problem-{int(q.question_id) // 5}"
            sides[q.group].add(split)
    assert all(len(one) == 1 for one in sides.values())
    assert {split: len(questions) for split, questions in splits.items()} == {"train": 84, "validation": 18, "test": 18}


def test_mnist_validates_on_a_tenth_of_the_training_images(tmp_path):
    def rows(number, first):
        return [{"image": {"bytes": picture(first + n), "path": None}, "label": n % 10} for n in range(number)]

    files = {
        "train": parquet(tmp_path / "a.parquet", rows(100, 0)),
        "test": parquet(tmp_path / "b.parquet", rows(10, 100)),
    }
    splits = QUESTION_LOADERS["mnist"](files, tmp_path / "images")
    assert {split: len(questions) for split, questions in splits.items()} == {"train": 90, "validation": 10, "test": 10}
    assert Counter(q.answer for q in splits["validation"]) == dict.fromkeys(range(10), 1)
    assert all(q.answer == int(q.question_id.split("-")[1]) % 10 for questions in splits.values() for q in questions)


def test_splits_of_groups_depend_on_the_groups_and_not_on_their_order():
    rng = np.random.default_rng(0)
    groups = [f"g{number}" for number in rng.integers(0, 40, size=200)]
    shares = {"train": 0.7, "test": 0.3}
    assigned = split_groups(groups, ["s"] * 200, shares, seed=1, name="t")
    by_group = dict(zip(groups, assigned, strict=True))
    assert all(by_group[group] == split for group, split in zip(groups, assigned, strict=True))
    order = rng.permutation(200)
    shuffled = split_groups([groups[i] for i in order], ["s"] * 200, shares, seed=1, name="t")
    assert [assigned[i] for i in order] == shuffled
    assert abs(assigned.count("train") - 140) <= max(Counter(groups).values())
    assert split_groups(groups, ["s"] * 200, shares, seed=2, name="t") != assigned
