"""Loaders of published sets of text questions, in the columns of their repositories on the Hugging Face hub.

A file's role is the split it serves. Ids are those of the publisher where there are any, and the split and the place in
the file otherwise.
"""

import hashlib
import string
from collections.abc import Callable, Mapping
from pathlib import Path

from bayesgrid.data.choice_questions import SPLITS, ChoiceQuestion, Splits
from bayesgrid.data.question_files import Row, read_rows, value_of
from bayesgrid.errors import DataError

__all__ = ["load_arc", "load_boolq", "load_mmlu", "load_mmlu_pro", "load_mmlu_redux", "load_openbookqa"]

_LETTERS = string.ascii_uppercase
_LETTER_OF_DIGIT = dict(zip("12345", "ABCDE", strict=True))


def load_arc(files: Mapping[str, Path]) -> Splits:
    """AI2 reasoning challenge (Clark et al. 2018): 3 to 5 options, lettered, or numbered in a few questions."""
    return _load(
        files, ("id", "question", "choices", "answerKey"), lambda row, _, path: _lettered(row, "question", path)
    )


def load_openbookqa(files: Mapping[str, Path]) -> Splits:
    """OpenBookQA (Mihaylov et al. 2018): the question without the fact it rests on."""
    columns = ("id", "question_stem", "choices", "answerKey")
    return _load(files, columns, lambda row, _, path: _lettered(row, "question_stem", path))


def load_mmlu(files: Mapping[str, Path]) -> Splits:
    """One subject of MMLU (Hendrycks et al. 2021)."""
    return _load(files, ("question", "choices", "answer"), _mmlu_question)


def load_mmlu_redux(files: Mapping[str, Path]) -> Splits:
    """One subject of MMLU-Redux (Gema et al. 2025): the questions of MMLU in which its annotators found no error."""
    columns = ("question", "choices", "answer", "error_type")
    return _load(
        files, columns, lambda row, place, path: _mmlu_question(row, place, path) if row["error_type"] == "ok" else None
    )


def load_mmlu_pro(files: Mapping[str, Path]) -> Splits:
    """MMLU-Pro (Wang et al. 2024): 3 to 10 options; the set's own 70 validation questions serve as training split."""

    def question(row: Row, place: str, path: Path) -> ChoiceQuestion:
        del place
        options = tuple(row["options"])
        answer = value_of(row, "answer", _LETTERS[: len(options)], path)
        return ChoiceQuestion(f"mmlu-pro-{row['question_id']}", row["question"], options, answer)

    return _load(files, ("question_id", "question", "options", "answer"), question)


def load_boolq(files: Mapping[str, Path]) -> Splits:
    """BoolQ (Clark et al. 2019): the published validation questions serve as test split; a group is a passage."""

    def question(row: Row, place: str, path: Path) -> ChoiceQuestion:
        passage = row["passage"]
        return ChoiceQuestion(
            place,
            row["question"],
            ("false", "true"),
            value_of(row, "answer", (False, True), path),
            passage=passage,
            group=hashlib.sha256(passage.encode()).hexdigest()[:16],
        )

    return _load(files, ("question", "passage", "answer"), question)


def _load(
    files: Mapping[str, Path],
    columns: tuple[str, ...],
    question: Callable[[Row, str, Path], ChoiceQuestion | None],
) -> Splits:
    splits: Splits = {}
    for role, path in files.items():
        if role not in SPLITS:
            raise DataError("a file has an unknown role", where=str(path), given=role, allowed=", ".join(SPLITS))
        rows = enumerate(read_rows(path, columns))
        made = [question(row, f"{role}-{number}", path) for number, row in rows]
        splits[role] = tuple(one for one in made if one is not None)
    return splits


def _lettered(row: Row, stem: str, path: Path) -> ChoiceQuestion:
    texts = tuple(row["choices"]["text"])
    letters = [_LETTER_OF_DIGIT.get(label, label) for label in row["choices"]["label"]]
    if letters != list(_LETTERS[: len(texts)]):
        raise DataError(
            "the labels of the choices are not the first letters or digits in order",
            where=f"{path}, question {row['id']!r}",
            given=", ".join(row["choices"]["label"]),
        )
    answer = value_of(
        {"answerKey": _LETTER_OF_DIGIT.get(row["answerKey"], row["answerKey"])}, "answerKey", letters, path
    )
    return ChoiceQuestion(row["id"], row[stem], texts, answer)


def _mmlu_question(row: Row, place: str, path: Path) -> ChoiceQuestion:
    options = tuple(row["choices"])
    return ChoiceQuestion(place, row["question"], options, value_of(row, "answer", range(len(options)), path))
