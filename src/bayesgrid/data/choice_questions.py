"""Questions with a few possible answers: their form in memory, on disk, and the checksum that says which they are.

A prepared set is a folder with ``questions.parquet``, one row per question, ``provenance.json``, and ``images/`` where
the questions have images.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bayesgrid.data.checksums import verify_sha256
from bayesgrid.data.prepared_folders import PROVENANCE_FILE, prepared_folder, read_provenance
from bayesgrid.errors import DataError
from bayesgrid.store.atomic import atomic_write

__all__ = [
    "IMAGES_FOLDER",
    "QUESTIONS_FILE",
    "SPLITS",
    "ChoiceQuestion",
    "ChoiceQuestions",
    "Splits",
    "questions_digest",
    "read_choice_questions",
    "write_choice_questions",
]

QUESTIONS_FILE = "questions.parquet"
IMAGES_FOLDER = "images"
SPLITS = ("train", "validation", "test")
"""The splits a set may have, in the order they are stored and compared in."""

_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.int64()),
        ("passage", pa.string()),
        ("group", pa.string()),
        ("image", pa.string()),
    ]
)


@dataclass(frozen=True)
class ChoiceQuestion:
    """One question.

    Args:
        question_id: unique within its data set.
        question: stem or statement.
        options: texts of the options present, in the order of the labels.
        answer: index into the data set's labels.
        passage: a text the question is about, or None.
        group: questions of one group must not stand on two sides of a split; None for a question that has none.
        image: file name below the data set's ``images`` folder, or None.
    """

    question_id: str
    question: str
    options: tuple[str, ...]
    answer: int
    passage: str | None = None
    group: str | None = None
    image: str | None = None


Splits: TypeAlias = dict[str, tuple[ChoiceQuestion, ...]]
"""Questions by split."""


@dataclass(frozen=True)
class ChoiceQuestions:
    """One set of questions.

    Args:
        name: the set's name in the catalog.
        data_version: the catalog entry's ``data_version()``.
        labels: the answers a model can give; a question with n options uses the first n.
        template: name of the prompt template.
        splits: questions by split, of ``train``, ``validation`` and ``test``; a split the set lacks is no key.
        folder: holds ``images``; None for a set without images that is not stored.

    Raises:
        DataError: if an answer is no option, options outnumber labels, ids repeat, or a split is empty or unknown.
    """

    name: str
    data_version: str
    labels: tuple[str, ...]
    template: str
    splits: Mapping[str, tuple[ChoiceQuestion, ...]]
    folder: Path | None = None

    def __post_init__(self) -> None:
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown:
            raise DataError("no such split", where=self.name, given=unknown[0], allowed=", ".join(SPLITS))
        seen: set[str] = set()
        for split, questions in self.splits.items():
            if not questions:
                raise DataError("a split has no questions", where=self.name, given=split)
            for question in questions:
                self._check(split, question, seen)
                seen.add(question.question_id)

    def _check(self, split: str, question: ChoiceQuestion, seen: set[str]) -> None:
        where = f"{self.name}, {split}, question {question.question_id!r}"
        if question.question_id in seen:
            raise DataError("two questions have the same id", where=where)
        present = len(question.options)
        if not 1 < present <= len(self.labels):
            raise DataError(
                "the number of options does not fit the labels",
                where=where,
                given=present,
                allowed=f"2 to {len(self.labels)}",
            )
        if not 0 <= question.answer < present:
            raise DataError(
                "the answer is none of the options", where=where, given=question.answer, allowed=f"0 to {present - 1}"
            )
        if question.image is not None and (not question.image or question.image != Path(question.image).name):
            raise DataError("an image is named by its file name alone", where=where, given=question.image)

    def image_path(self, question: ChoiceQuestion) -> Path:
        """Return where the image of ``question`` lies.

        Raises:
            DataError: if the question has none, or the set is not stored.
        """
        if question.image is None or self.folder is None:
            raise DataError("the question has no stored image", where=f"{self.name}, question {question.question_id!r}")
        return self.folder / IMAGES_FOLDER / question.image

    @property
    def rows(self) -> int:
        """Number of questions of all splits."""
        return sum(len(questions) for questions in self.splits.values())

    def each(self) -> Iterator[tuple[str, ChoiceQuestion]]:
        """Yield (split, question) of all questions, in the order of ``SPLITS``."""
        for split in SPLITS:
            for question in self.splits.get(split, ()):
                yield split, question


def write_choice_questions(questions: ChoiceQuestions, folder: Path) -> None:
    """Write ``questions`` into ``folder``: their images first, then ``questions.parquet``, each file atomically.

    Raises:
        DataError: if an image is missing.
    """
    for name in sorted({question.image for _, question in questions.each() if question.image is not None}):
        source = (questions.folder or folder) / IMAGES_FOLDER / name
        target = folder / IMAGES_FOLDER / name
        if not source.is_file():
            raise DataError("an image is missing", where=f"data set {questions.name!r}", given=str(source))
        if source != target:
            with atomic_write(target) as temporary:
                temporary.write_bytes(source.read_bytes())
    rows = [
        {
            "split": split,
            "question_id": question.question_id,
            "question": question.question,
            "options": list(question.options),
            "answer": question.answer,
            "passage": question.passage,
            "group": question.group,
            "image": question.image,
        }
        for split, question in questions.each()
    ]
    with atomic_write(folder / QUESTIONS_FILE) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), temporary, compression="zstd")


def read_choice_questions(data_root: Path, name: str, data_version: str) -> ChoiceQuestions:
    """Return the prepared set ``name`` in the version that the catalog entry's ``data_version()`` names.

    Raises:
        DataError: if it is not prepared, or its files were altered since.
    """
    folder = prepared_folder(data_root, name, data_version)
    remedy = f"run `bayesgrid prepare {name}`"
    provenance = read_provenance(folder, name)
    path = folder / QUESTIONS_FILE
    verify_sha256(path, provenance["parquet_sha256"], remedy=f"it was altered; remove the folder and {remedy}")
    splits: dict[str, list[ChoiceQuestion]] = {}
    for row in pq.read_table(path).to_pylist():
        values: dict[str, Any] = {**row, "options": tuple(row["options"])}
        splits.setdefault(values.pop("split"), []).append(ChoiceQuestion(**values))
    try:
        labels, template = tuple(provenance["labels"]), str(provenance["template"])
    except (KeyError, TypeError) as error:
        raise DataError(
            "the record of a prepared set of questions is damaged",
            where=str(folder / PROVENANCE_FILE),
            remedy=f"remove the folder and {remedy}",
        ) from error
    return ChoiceQuestions(
        name, data_version, labels, template, {split: tuple(rows) for split, rows in splits.items()}, folder
    )


def questions_digest(questions: ChoiceQuestions) -> str:
    """Return a SHA-256 over labels, questions and images.

    Equal questions have equal digests, whatever file they were in. The template is left out: it is how a question is
    asked, not what it is.

    Raises:
        DataError: if an image is missing or cannot be read.
    """
    digest = hashlib.sha256(json.dumps(["labels", *questions.labels], ensure_ascii=False).encode())
    images: dict[str, str] = {}
    for split, question in questions.each():
        if question.image is not None and question.image not in images:
            images[question.image] = _image_digest(questions.image_path(question))
        row = [
            split,
            question.question_id,
            question.question,
            list(question.options),
            question.answer,
            question.passage,
            question.group,
            question.image,
            None if question.image is None else images[question.image],
        ]
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _image_digest(path: Path) -> str:
    """Return a SHA-256 over the pixels of a PNG, which two encoders pack differently, or over another file's bytes."""
    try:
        if path.suffix.lower() != ".png":
            return hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"the image cannot be read: {error}", where=str(path)) from error
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
