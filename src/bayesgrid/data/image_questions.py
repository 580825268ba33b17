"""Loaders of published sets of questions about images, in the columns of their repositories on the Hugging Face hub."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from bayesgrid.data.choice_questions import SPLITS, ChoiceQuestion, Splits
from bayesgrid.data.question_files import Row, read_rows, store_image, value_of
from bayesgrid.data.question_splits import split_groups
from bayesgrid.errors import DataError

__all__ = ["load_mathverse", "load_mmstar", "load_mnist", "load_slake"]

_LETTERS = ("A", "B", "C", "D")
_SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
_SPLIT_SEED = 42


def load_slake(files: Mapping[str, Path], images: Path) -> Splits:
    """SLAKE (Liu et al. 2021): its English questions answered by yes or no; a group is an image.

    Roles: ``images`` (the archive), and a file of questions for each split wanted.
    """
    columns = ("qid", "img_id", "img_name", "question", "answer", "q_lang")
    splits: Splits = {}
    try:
        with zipfile.ZipFile(files["images"]) as archive:
            members = set(archive.namelist())

            def question(row: Row, split: str, path: Path) -> ChoiceQuestion:
                member = f"imgs/{row['img_name']}"
                if member not in members:
                    raise DataError("the archive lacks an image", where=str(files["images"]), given=member)
                return ChoiceQuestion(
                    f"{split}-{row['qid']}",
                    row["question"],
                    ("Yes", "No"),
                    value_of(row, "answer", ("Yes", "No"), path),
                    group=f"image-{row['img_id']}",
                    image=store_image(archive.read(member), images, where=member),
                )

            for split in SPLITS:
                if split in files:
                    rows = read_rows(files[split], columns)
                    closed = [row for row in rows if row["q_lang"] == "en" and row["answer"] in ("Yes", "No")]
                    splits[split] = tuple(question(row, split, files[split]) for row in closed)
    except zipfile.BadZipFile as error:
        raise DataError(f"the archive is damaged: {error}", where=str(files["images"])) from error
    return splits


def load_mmstar(files: Mapping[str, Path], images: Path) -> Splits:
    """MMStar (Chen et al. 2024): 1,500 questions, split 70/15/15 within each finer category; a group is an image.

    The question's text holds its four options.
    """
    path = files["table"]
    rows = read_rows(path, ("index", "question", "image", "answer", "l2_category"))
    names = [_embedded(row, images, path) for row in rows]
    assigned = split_groups(names, [row["l2_category"] for row in rows], _SHARES, seed=_SPLIT_SEED, name="mmstar split")
    splits: dict[str, list[ChoiceQuestion]] = {split: [] for split in SPLITS}
    for row, name, split in zip(rows, names, assigned, strict=True):
        answer = value_of(row, "answer", _LETTERS, path)
        splits[split].append(
            ChoiceQuestion(str(row["index"]), row["question"], _LETTERS, answer, group=name, image=name)
        )
    return {split: tuple(questions) for split, questions in splits.items()}


def load_mathverse(files: Mapping[str, Path], images: Path) -> Splits:
    """MathVerse (Zhang et al. 2024): the multiple-choice questions of its small test set with an answer from A to D.

    They are split 70/15/15; a group is a problem, which the set asks in several versions. The question's text holds its
    options.
    """
    path = files["table"]
    columns = ("sample_index", "problem_index", "question", "image", "answer", "question_type")
    rows = [
        row for row in read_rows(path, columns) if row["question_type"] == "multi-choice" and row["answer"] in _LETTERS
    ]
    groups = [f"problem-{row['problem_index']}" for row in rows]
    assigned = split_groups(groups, [""] * len(rows), _SHARES, seed=_SPLIT_SEED, name="mathverse split")
    splits: dict[str, list[ChoiceQuestion]] = {split: [] for split in SPLITS}
    for row, group, split in zip(rows, groups, assigned, strict=True):
        answer, image = value_of(row, "answer", _LETTERS, path), _embedded(row, images, path)
        splits[split].append(
            ChoiceQuestion(str(row["sample_index"]), row["question"], _LETTERS, answer, group=group, image=image)
        )
    return {split: tuple(questions) for split, questions in splits.items()}


_DIGITS = tuple(map(str, range(10)))


def load_mnist(files: Mapping[str, Path], images: Path) -> Splits:
    """MNIST (LeCun et al. 1998) as questions: a tenth of the published training images serves as validation split."""
    splits: dict[str, list[ChoiceQuestion]] = {split: [] for split in SPLITS}
    for role in ("train", "test"):
        path = files[role]
        rows = read_rows(path, ("image", "label"))
        identifiers = [f"{role}-{number}" for number in range(len(rows))]
        assigned = ["test"] * len(rows)
        if role == "train":
            shares = {"train": 0.9, "validation": 0.1}
            digits = [str(row["label"]) for row in rows]
            assigned = split_groups(identifiers, digits, shares, seed=_SPLIT_SEED, name="mnist split")
        for row, identifier, split in zip(rows, identifiers, assigned, strict=True):
            splits[split].append(
                ChoiceQuestion(
                    identifier,
                    "Which digit does the image show?",
                    _DIGITS,
                    value_of(row, "label", range(10), path),
                    image=_embedded(row, images, path),
                )
            )
    return {split: tuple(questions) for split, questions in splits.items()}


def _embedded(row: Row, images: Path, path: Path) -> str:
    image = row["image"]
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes):
        raise DataError("a row holds no image", where=str(path))
    return store_image(content, images, where=str(path))
