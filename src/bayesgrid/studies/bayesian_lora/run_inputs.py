"""What both kinds of run begin with: the device, the base model, and the questions of a data set."""

import json
import logging
from dataclasses import dataclass

import torch

from bayesgrid.data.choice_questions import ChoiceQuestions, read_choice_questions
from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.models.loading import LanguageModel, load_language_model
from bayesgrid.models.prompt_tokens import PromptForm
from bayesgrid.store.execution import RunInputs
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, answer_task, divide_labels, image_task
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec

__all__ = ["LearntQuestions", "base_model", "learnt_questions", "run_device", "task_for_model"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearntQuestions:
    """The labels that a fit has paid for.

    Args:
        training: those that are learnt.
        validation: those that are held out.
    """

    training: AnswerTask
    validation: AnswerTask


def run_device() -> torch.device:
    """Return the first GPU, or the CPU where there is none; no result depends on it but for rounding."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def base_model(spec: FitSpec, inputs: RunInputs) -> LanguageModel:
    """Return the frozen base model of the run.

    Raises:
        StateError: if the run was started without a prepared model.
    """
    if inputs.model is None or inputs.model_revision is None:
        raise StateError(
            "the run has no prepared base model", given=spec.model, remedy=f"bayesgrid prepare {spec.model}"
        )
    device = run_device()
    if spec.resources().gpu and device.type == "cpu":
        _logger.warning("no GPU was found: %s runs on the CPU, which will take very long", spec.model)
    return load_language_model(
        inputs.model, name=spec.model, revision=inputs.model_revision, precision=spec.precision, device=device
    )


def task_for_model(data: ChoiceQuestions, split: str, base: LanguageModel, form: PromptForm) -> AnswerTask:
    """Return one split of ``data`` as ``base`` reads it: text alone, or with the image of each question.

    Raises:
        ConfigurationError: if the questions have images and the model does not see, or is asked as plain text.
        DataError: if the split is absent or empty, only some of its questions have an image, an image cannot be read,
            or a label is not one token in the context of the prompts.
    """
    if all(question.image is None for question in data.splits.get(split, ())):
        return answer_task(data, split, base.tokenizer, form)
    if base.processor is None:
        raise ConfigurationError(
            f"the questions of {data.name!r} have images, which this model cannot see",
            where="keys 'model' and 'dataset'",
            given=base.name,
            remedy="take a vision-language model, or questions in words",
        )
    if form != "instruct":
        raise ConfigurationError(
            f"the questions of {data.name!r} have images, which are shown in a chat alone",
            where="key 'prompt.form'",
            given=form,
            allowed="instruct",
        )
    return image_task(data, split, base)


def learnt_questions(spec: FitSpec, base: LanguageModel, inputs: RunInputs) -> LearntQuestions:
    """Return the questions whose labels are learnt, and those held out, from one budget.

    Raises:
        DataError: if the data set is not prepared, or a label is not one token of this model.
        ConfigurationError: if the questions have images and the model cannot be asked about them.
    """
    data = read_choice_questions(inputs.data, spec.dataset, inputs.data_versions[spec.dataset])
    task = task_for_model(data, "train", base, spec.prompt.form)
    training, validation = divide_labels(task, spec.labels.budget, spec.labels.validation_fraction)
    _logger.info(
        "%s: %d labels learnt, %d held out; %s",
        spec.dataset,
        len(training),
        len(validation),
        json.dumps(dict(zip(task.labels, task.label_tokens, strict=True))),
    )
    return LearntQuestions(task.rows(training), task.rows(validation))
