"""What both kinds of run begin with: the device, the base model, and the questions of a data set."""

import json
import logging
from dataclasses import dataclass

import torch

from bayesgrid.data.choice_questions import read_choice_questions
from bayesgrid.errors import StateError
from bayesgrid.models.loading import LanguageModel, load_language_model
from bayesgrid.store.execution import RunInputs
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, answer_task, divide_labels
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec

__all__ = ["LearntQuestions", "base_model", "learnt_questions", "run_device"]

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
    return load_language_model(
        inputs.model, name=spec.model, revision=inputs.model_revision, precision=spec.precision, device=run_device()
    )


def learnt_questions(spec: FitSpec, base: LanguageModel, inputs: RunInputs) -> LearntQuestions:
    """Return the questions whose labels are learnt, and those held out, from one budget.

    Raises:
        DataError: if the data set is not prepared, or a label is not one token of this model.
    """
    data = read_choice_questions(inputs.data, spec.dataset, inputs.data_versions[spec.dataset])
    task = answer_task(data, "train", base.tokenizer, spec.prompt.form)
    training, validation = divide_labels(len(task), spec.labels.budget, spec.labels.validation_fraction)
    _logger.info(
        "%s: %d labels learnt, %d held out; %s",
        spec.dataset,
        len(training),
        len(validation),
        json.dumps(dict(zip(task.labels, task.label_tokens, strict=True))),
    )
    return LearntQuestions(task.rows(training), task.rows(validation))
