"""Questions as a model reads them: tokens, answers, and the tokens that stand for the labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.choice_questions import ChoiceQuestion, ChoiceQuestions
from bayesgrid.data.prompt_templates import render_prompt
from bayesgrid.errors import DataError
from bayesgrid.models.image_features import VisionFeatureCache
from bayesgrid.models.image_prompts import full_image_prompt
from bayesgrid.models.label_tokens import label_token_ids
from bayesgrid.models.loading import LanguageModel
from bayesgrid.models.prompt_tokens import PromptForm, full_prompts, tokenise
from bayesgrid.models.stored_image import StoredImage
from bayesgrid.random_streams import random_stream

__all__ = ["AnswerTask", "answer_task", "chosen_questions", "divide_labels", "image_task"]

_PROBED_PROMPTS = 3


@dataclass(frozen=True)
class AnswerTask:
    """Questions of one data set, ready for a model.

    Args:
        questions: id of each question.
        prompts: token ids ``[T_i]``, or states ``[T_i, hidden]`` that enter the adapted part of the model.
        shared_prefix: how many leading tokens all prompts have in common.
        answers: ``[N]``, index of the right label.
        options: ``[N]``, how many of the labels, from the first, are offered.
        labels: the words the model answers with.
        label_tokens: the token of each.
        images: the image of each question; empty where questions are text alone.
        groups: what each question shares with others (a passage, a twin sentence), "" where it is alone; empty where
            all do.
    """

    questions: tuple[str, ...]
    prompts: tuple[NDArray[Any], ...]
    shared_prefix: int
    answers: NDArray[np.int64]
    options: NDArray[np.int64]
    labels: tuple[str, ...]
    label_tokens: tuple[int, ...]
    images: tuple[StoredImage, ...] = ()
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.questions)

    def rows(self, rows: NDArray[np.int64]) -> "AnswerTask":
        """Return the questions at positions ``rows``, in that order."""
        return replace(
            self,
            questions=tuple(self.questions[row] for row in rows),
            prompts=tuple(self.prompts[row] for row in rows),
            answers=self.answers[rows],
            options=self.options[rows],
            images=tuple(self.images[row] for row in rows) if self.images else (),
            groups=tuple(self.groups[row] for row in rows) if self.groups else (),
        )

    def groups_of(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        """Return the group of each question at positions ``rows``, "" where it is alone."""
        return tuple(self.groups[row] for row in rows) if self.groups else ("",) * len(rows)


def answer_task(data: ChoiceQuestions, split: str, tokenizer: Any, form: PromptForm) -> AnswerTask:
    """Return one split of ``data``, whose questions are text alone, as the model with ``tokenizer`` reads it.

    Raises:
        DataError: if the split is absent or empty, a question has an image, or a label is not one token in the context
            of the prompts.
    """
    questions = _questions(data, split)
    shown = next((question for question in questions if question.image is not None), None)
    if shown is not None:
        raise DataError(
            "the question has an image, which a prompt of text alone would leave out",
            where=f"data set {data.name!r}, question {shown.question_id!r}",
        )
    texts = [render_prompt(data.template, question, data.labels) for question in questions]
    return _task(data, split, tokenizer, full_prompts(tokenizer, texts, form))


def image_task(data: ChoiceQuestions, split: str, base: LanguageModel) -> AnswerTask:
    """Return one split of ``data``, whose questions have one image each, as ``base`` reads it in a chat.

    How many tokens an image takes follows from its size; the vision tower runs when a question is first asked.

    Raises:
        DataError: if the split is absent or empty, a question has no image or one that cannot be read, the model does
            not see or has no chat template, or a label is not one token in the context of the prompts.
    """
    questions = _questions(data, split)
    vision = VisionFeatureCache(base)
    images = tuple(StoredImage(data.image_path(question), vision) for question in questions)
    prompts = [
        full_image_prompt(
            base.decoder, base.tokenizer, render_prompt(data.template, question, data.labels), image.places
        )
        for question, image in zip(questions, images, strict=True)
    ]
    return replace(_task(data, split, base.tokenizer, prompts), shared_prefix=0, images=images)


def _questions(data: ChoiceQuestions, split: str) -> tuple[ChoiceQuestion, ...]:
    questions = data.splits.get(split, ())
    if not questions:
        raise DataError("the data set has no question in this split", where=f"data set {data.name!r}", given=split)
    return questions


def _task(data: ChoiceQuestions, split: str, tokenizer: Any, prompts: Sequence[str]) -> AnswerTask:
    label_tokens = label_token_ids(
        tokenizer, prompts[:_PROBED_PROMPTS], data.labels, where=f"data set {data.name!r}, split {split!r}"
    )
    tokenised = tokenise(tokenizer, prompts)
    questions = _questions(data, split)
    return AnswerTask(
        questions=tuple(question.question_id for question in questions),
        prompts=tokenised.ids,
        shared_prefix=tokenised.shared_prefix,
        answers=np.array([question.answer for question in questions], dtype=np.int64),
        options=np.array([len(question.options) for question in questions], dtype=np.int64),
        labels=data.labels,
        label_tokens=label_tokens,
        groups=tuple(question.group or "" for question in questions),
    )


def chosen_questions(available: int, wanted: int | None, purpose: str) -> NDArray[np.int64]:
    """Return ``wanted`` of ``available`` positions, sorted, the same for every seed and nested in larger choices.

    Args:
        available: number of questions.
        wanted: number to choose; None chooses all.
        purpose: name of the choice, so that two choices are independent.
    """
    order = random_stream(0, f"chosen questions/{purpose}").permutation(available)
    return np.sort(order[:wanted])


def divide_labels(
    task: AnswerTask, budget: int | None, validation_fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the questions that are learnt and of those held out, from one budget of labels.

    The same for every seed and method, so that comparisons are paired. A group stands on one side as a whole: with one
    of two twin sentences among the learnt ones, the other would flatter the temperature that it chooses.
    """
    chosen = chosen_questions(len(task), budget, "labels")
    wanted = max(1, round(len(chosen) * validation_fraction))
    mates: dict[str, list[int]] = {}
    for row in chosen.tolist():
        mates.setdefault(_group_of(task, row), []).append(row)
    held_out: set[int] = set()
    for row in random_stream(0, "held-out labels", len(chosen)).permutation(chosen).tolist():
        if len(held_out) >= wanted:
            break
        held_out.update(mates[_group_of(task, row)])
    outside = np.isin(chosen, list(held_out))
    return chosen[~outside], chosen[outside]


def _group_of(task: AnswerTask, row: int) -> str:
    group = task.groups[row] if task.groups else ""
    return f"group {group}" if group else f"question {row}"
