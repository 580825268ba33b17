"""What both kinds of run begin with: the device, the base model, and the questions of a data set."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from bayesgrid.data.choice_questions import ChoiceQuestions, read_choice_questions
from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.models.loading import LanguageModel, load_language_model
from bayesgrid.models.prompt_tokens import PromptForm
from bayesgrid.models.sharded import gathered_while_computing, loaded_in_parts, sharding_configuration
from bayesgrid.store.execution import RunInputs
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, answer_task, divide_labels, image_task
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.job_resources import needs_gpu
from bayesgrid.studies.bayesian_lora.model_checks import check_context

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
        ConfigurationError: if the base is to lie in parts and the method, model or precision does not allow it.
    """
    if inputs.model is None or inputs.model_revision is None:
        raise StateError(
            "the run has no prepared base model", given=spec.model, remedy=f"bayesgrid prepare {spec.model}"
        )
    device = run_device()
    load = partial(
        load_language_model,
        inputs.model,
        name=spec.model,
        revision=inputs.model_revision,
        precision=spec.precision,
        device=device,
    )
    base = load() if inputs.sharding is None else _in_parts(spec, inputs.sharding, load)
    if device.type == "cpu" and needs_gpu(sum(weight.numel() for weight in base.decoder.parameters())):
        _logger.warning("no GPU was found: %s runs on the CPU, which will take very long", spec.model)
    return base


def _in_parts(spec: FitSpec, configuration_file: Path, load: Callable[[], LanguageModel]) -> LanguageModel:
    if spec.method in ("laplace", "laplace_kronecker") and spec.laplace.scope == "all":
        raise ConfigurationError(
            "key 'laplace.scope': gradients of single questions need a base that lies whole in one process",
            where="workflow configuration, key 'sharding.processes'",
            given=f"{spec.method} of {spec.model} with scope all",
            allowed="scope head, another method, or a base in one process",
        )
    configuration = sharding_configuration(configuration_file, rows=1, precision=spec.precision)
    with loaded_in_parts(configuration):
        base = load()
    if base.processor is not None:
        raise ConfigurationError(
            "a model that sees cannot lie in parts",
            where="workflow configuration, key 'sharding.processes'",
            given=spec.model,
            allowed="models of text",
        )
    return replace(base, gathering=gathered_while_computing(base.decoder, configuration))


def task_for_model(data: ChoiceQuestions, split: str, base: LanguageModel, form: PromptForm) -> AnswerTask:
    """Return one split of ``data`` as ``base`` reads it: text alone, or with the image of each question.

    Raises:
        ConfigurationError: if the questions have images and the model does not see, or is asked as plain text, or if a
            prompt is longer than the model reads.
        DataError: if the split is absent or empty, only some of its questions have an image, an image cannot be read,
            or a label is not one token in the context of the prompts.
    """
    if all(question.image is None for question in data.splits.get(split, ())):
        return _within_context(answer_task(data, split, base.tokenizer, form), data.name, base)
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
    return _within_context(image_task(data, split, base), data.name, base)


def _within_context(task: AnswerTask, dataset: str, base: LanguageModel) -> AnswerTask:
    limit = getattr(base.decoder.config.get_text_config(), "max_position_embeddings", None)  # type: ignore[operator, union-attr]
    check_context(max(len(prompt) for prompt in task.prompts), limit, dataset, base.name)
    return task


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
