"""Prompt templates: how a question becomes the user's turn, without chat markup and without the answer.

The wording is this project's own; results under other wordings, such as published ones, differ by more than the method.
The answer is always one of the data set's labels, and comes as the first token of the model's turn.
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
    instruction = "Pick the right option for this question. Reply with its letter and nothing else."
    return f"{instruction}\n{question.question}\n{_choices(question, labels)}"


def _blank_choices(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    instruction = (
        "In this sentence an underscore (_) stands for what is missing. Pick the option that belongs there. "
        "Reply with its letter and nothing else."
    )
    return f"{instruction}\n{question.question}\n{_choices(question, labels)}"


def _passage_true_false(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    false, true = labels
    instruction = f"Here is a passage and a question about it. Reply with one word, {false} or {true}."
    return f"{instruction}\nPassage: {question.passage}\nQuestion: {question.question.rstrip('?')}?"


def _logic_output(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    return f"{question.question}\nOutput {' or '.join(labels)} only."


def _image_letter(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    del labels  # the question's own text holds its lettered choices
    instruction = "Look at the image and pick the right option. Reply with its letter and nothing else."
    return f"{instruction}\n{question.question}"


def _image_yes_no(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    return f"Look at the image and reply with one word, {' or '.join(labels)}.\n{question.question}"


def _image_formula(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    return f"{question.question} Reply with the letter and nothing else.\n{_choices(question, labels)}"


def _image_digit(question: ChoiceQuestion, labels: tuple[str, ...]) -> str:
    return f"{question.question} Reply with one digit, {labels[0]} to {labels[-1]}."


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
