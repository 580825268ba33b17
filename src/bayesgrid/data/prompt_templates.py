"""Prompt templates: how a question becomes the user's turn, without chat markup and without the answer.

The instruction lines are those of the BayesAdapt reference where it has one; the answer is always one of the data set's
labels, and comes as the first token of the model's turn.
"""

import hashlib
from collections.abc import Callable, Mapping

from bayesgrid.data.choice_questions import ChoiceQuestion
from bayesgrid.errors import ConfigurationError, did_you_mean

__all__ = ["TEMPLATES", "render_prompt", "template_version"]

Template = Callable[[ChoiceQuestion, tuple[str, ...]], str]


def _choices(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    lines = (f"{label}) {option}\n" for label, option in zip(labels, question.options, strict=False))
    return "Choices:\n" + "".join(lines)


def _lettered_choices(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    instruction = "Answer the multiple choice question below. Output the letter of your choice only."
    return f"{instruction}\n{question.question}\n{_choices(question, labels)}"


def _blank_choices(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    instruction = (
        "For the sentence given below, select the answer that best fills in the blank (_) from the given choices."
    )
    return f"{instruction}\n{question.question}\n{_choices(question, labels)}"


def _passage_true_false(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    false, true = labels
    instruction = f"Read the passage below and answer the question with the words '{true}' or '{false}'."
    return f"{instruction}\nPassage: {question.passage}\nQuestion: {question.question.rstrip('?')}?"


def _logic_output(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    return f"{question.question}\nOutput {' or '.join(labels)} only."


def _image_letter(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    del labels  # the question's own text holds its lettered choices
    instruction = "Answer the multiple choice question about the image. Output the letter of your choice only."
    return f"{instruction}\n{question.question}"


def _image_yes_no(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    return f"Answer the following question as {' or '.join(labels)} only.\n{question.question}"


def _image_formula(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    return f"{question.question} Output the letter of your choice only.\n{_choices(question, labels)}"


def _image_digit(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    return f"{question.question} Output the digit from {labels[0]} to {labels[-1]} only."


TEMPLATES: Mapping[str, Template] = {
    "lettered_choices": _lettered_choices,
    "blank_choices": _blank_choices,
    "passage_true_false": _passage_true_false,
    "logic_output": _logic_output,
    "image_letter": _image_letter,
    "image_yes_no": _image_yes_no,
    "image_formula": _image_formula,
    "image_digit": _image_digit,
}
"""Template by name. ``bayesgrid.grid.question_sets.PromptTemplate`` lists the names."""

_PROBES = (
    (ChoiceQuestion("probe-1", "Which one is first?", ("left", "right"), 0), ("A", "B")),
    (ChoiceQuestion("probe-2", "does it end here", ("false", "true"), 1, passage="It ends."), ("false", "true")),
    (ChoiceQuestion("probe-3", " It was _ .", ("one", "two"), 1, image="probe.png"), ("Yes", "No")),
)


def render_prompt(template: str, question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    """Return the user's turn for ``question`` under the template called ``template``, stripped.

    Args:
        template: name of the template.
        question: what is asked; a question with fewer options than labels shows the options it has.
        labels: the data set's labels, in order.

    Raises:
        ConfigurationError: if there is no such template.
    """
    if template not in TEMPLATES:
        raise ConfigurationError(
            "no such prompt template",
            given=template,
            allowed=", ".join(TEMPLATES),
            remedy=did_you_mean(template, TEMPLATES),
        )
    return TEMPLATES[template](question, labels).strip()


def template_version(template: str) -> str:
    """Return 12 hexadecimal digits over what ``template`` makes of fixed questions: other wording, another version.

    Raises:
        ConfigurationError: if there is no such template.
    """
    rendered = "\0".join(render_prompt(template, question, labels) for question, labels in _PROBES)
    return hashlib.sha256(rendered.encode()).hexdigest()[:12]
