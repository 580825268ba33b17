"""Questions as a model reads them: tokens, answers, and the tokens that stand for the labels."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.choice_questions import ChoiceQuestions
from bayesgrid.data.prompt_templates import render_prompt
from bayesgrid.errors import DataError
from bayesgrid.models.label_tokens import label_token_ids
from bayesgrid.models.prompt_tokens import PromptForm, full_prompts, tokenise
from bayesgrid.random_streams import random_stream

__all__ = ["AnswerTask", "answer_task", "chosen_questions", "divide_labels"]

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
    """

    questions: tuple[str, ...]
    prompts: tuple[NDArray[Any], ...]
    shared_prefix: int
    answers: NDArray[np.int64]
    options: NDArray[np.int64]
    labels: tuple[str, ...]
    label_tokens: tuple[int, ...]

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
        )


def answer_task(data: ChoiceQuestions, split: str, tokenizer: Any, form: PromptForm) -> AnswerTask:
    """Return one split of ``data`` as the model with ``tokenizer`` reads it.

    Raises:
        DataError: if the split is absent or empty, or a label is not one token in the context of the prompts.
    """
    questions = data.splits.get(split, ())
    if not questions:
        raise DataError("the data set has no question in this split", where=f"data set {data.name!r}", given=split)
    texts = [render_prompt(data.template, question, data.labels) for question in questions]
    prompts = full_prompts(tokenizer, texts, form)
    label_tokens = label_token_ids(
        tokenizer, prompts[:_PROBED_PROMPTS], data.labels, where=f"data set {data.name!r}, split {split!r}"
    )
    tokenised = tokenise(tokenizer, prompts)
    return AnswerTask(
        questions=tuple(question.question_id for question in questions),
        prompts=tokenised.ids,
        shared_prefix=tokenised.shared_prefix,
        answers=np.array([question.answer for question in questions], dtype=np.int64),
        options=np.array([len(question.options) for question in questions], dtype=np.int64),
        labels=data.labels,
        label_tokens=label_tokens,
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
    available: int, budget: int | None, validation_fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the training questions that are learnt and those held out, both paid for from one budget of labels.

    The same for every seed and method, so that comparisons are paired.
    """
    chosen = chosen_questions(available, budget, "labels")
    held_out = max(1, round(len(chosen) * validation_fraction))
    order = random_stream(0, "held-out labels", len(chosen)).permutation(chosen)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
