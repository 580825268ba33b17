"""Sets of questions on the way from their source to disk: read or drawn, compared with the catalog, stored."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bayesgrid.data.choice_questions import (
    IMAGES_FOLDER,
    SPLITS,
    ChoiceQuestion,
    ChoiceQuestions,
    questions_digest,
    write_choice_questions,
)
from bayesgrid.data.image_noise import add_noise_to_images
from bayesgrid.data.question_generators import GENERATORS
from bayesgrid.data.question_leakage import (
    KnownLeaks,
    QuestionLeak,
    find_question_leaks,
    require_no_question_leaks,
)
from bayesgrid.data.question_loaders import QUESTION_LOADERS
from bayesgrid.errors import DataError
from bayesgrid.grid.sources import ChoiceQuestionsEntry, QuestionGeneratorSource

__all__ = ["check_leaks", "check_questions", "draw_questions", "load_questions", "store_questions"]

logger = logging.getLogger(__name__)

_DESCRIPTION = {
    "label",
    "version",
    "licence",
    "citation",
    "labels",
    "template",
    "splits",
    "image_noise",
    "image_noise_trial",
    "groups",
    "note",
}


def draw_questions(
    name: str, entry: ChoiceQuestionsEntry, source: QuestionGeneratorSource, scratch: Path
) -> tuple[ChoiceQuestions, dict[str, str]]:
    """Return the questions that a generator draws, and the versions of the packages that shape them.

    Raises:
        DataError: if a package that the generator needs is missing.
    """
    splits, versions = GENERATORS[source.name](source.parameters, scratch / IMAGES_FOLDER)
    return _assemble(name, entry, splits, scratch), dict(versions)


def load_questions(
    name: str, entry: ChoiceQuestionsEntry, loader: str, paths: Mapping[str, Path], scratch: Path
) -> ChoiceQuestions:
    """Return the questions that ``loader`` reads from the files ``paths``, by role, with their images in ``scratch``.

    Raises:
        DataError: if a file is not what the loader expects.
    """
    return _assemble(name, entry, QUESTION_LOADERS[loader](paths, scratch / IMAGES_FOLDER), scratch)


def _assemble(
    name: str, entry: ChoiceQuestionsEntry, splits: Mapping[str, tuple[ChoiceQuestion, ...]], scratch: Path
) -> ChoiceQuestions:
    kept = {split: questions for split, questions in splits.items() if questions}
    questions = ChoiceQuestions(name, entry.data_version(), entry.labels, entry.template, kept, scratch)
    if entry.image_noise is None:
        return questions
    return add_noise_to_images(questions, scratch / "noisy", level=entry.image_noise, trial=entry.image_noise_trial)


def check_questions(name: str, entry: ChoiceQuestionsEntry, questions: ChoiceQuestions) -> str:
    """Return the digest of ``questions`` once they are what the catalog's ``entry`` for data set ``name`` says.

    Raises:
        DataError: if they are not.
    """
    where = f"data set {name!r}"
    sizes = {split: len(questions.splits[split]) for split in SPLITS if split in questions.splits}
    if list(sizes) != [split for split in SPLITS if split in entry.splits] or any(
        wanted not in (None, sizes[split]) for split, wanted in entry.splits.items()
    ):
        raise DataError(
            "the splits have other sizes than the catalog says", where=where, given=sizes, allowed=entry.splits
        )
    if any(question.group is not None for _, question in questions.each()) != (entry.groups is not None):
        raise DataError(
            "the catalog and the questions disagree on whether there are groups",
            where=where,
            given=f"groups: {entry.groups}",
        )
    digest = questions_digest(questions)
    if entry.questions_sha256 is not None and digest != entry.questions_sha256:
        raise DataError(
            "the questions are not those the catalog means: 'questions_sha256' differs",
            where=where,
            given=digest,
            allowed=entry.questions_sha256,
            remedy="if the change is meant, raise 'version' and correct 'questions_sha256' in the catalog",
        )
    return digest


def check_leaks(name: str, questions: ChoiceQuestions, known: KnownLeaks | None) -> tuple[QuestionLeak, ...]:
    """Return what every two splits of ``questions`` share, once it is no more than the catalog says.

    Args:
        name: the data set.
        questions: all its splits.
        known: the leaks that the catalog declares; None where nobody has counted them, which lets every leak pass with
            a warning.

    Raises:
        DataError: if there are more leaks than ``known``, with counts and examples.
    """
    report = replace(find_question_leaks(questions), dataset=name)
    if known is not None:
        require_no_question_leaks(report, known)
        return report.leaks
    for leak in report.leaks:
        if not leak.clean:
            logger.warning("data set %s leaks: %s", name, leak)
    return report.leaks


def store_questions(
    name: str,
    entry: ChoiceQuestionsEntry,
    questions: ChoiceQuestions,
    digest: str,
    leaks: Sequence[QuestionLeak],
    folder: Path,
) -> dict[str, Any]:
    """Write ``questions`` into ``folder`` and return what the record of the data set says about them."""
    named = replace(questions, name=name)
    write_choice_questions(named, folder)
    images = {question.image for _, question in named.each() if question.image is not None}
    return {
        "questions_sha256": digest,
        "images": len(images),
        "leaks": [{**asdict(leak), "examples": [list(pair) for pair in leak.examples]} for leak in leaks],
        **entry.model_dump(mode="json", include=_DESCRIPTION),
    }
