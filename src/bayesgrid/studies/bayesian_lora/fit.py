"""Entry point of a fit: a method, a base model and labelled questions in; a posterior for every seed out."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bayesgrid.adapters.adapter_posterior import JSON
from bayesgrid.adapters.posterior_files import AdapterPosterior, PosteriorProvenance, read_posterior, write_posterior
from bayesgrid.errors import DataError
from bayesgrid.store.atomic import write_json
from bayesgrid.store.execution import RunContext, RunInputs, RunResult
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, adapt_model
from bayesgrid.studies.bayesian_lora.answer_metrics import DrawnAnswers, answer_metrics
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_health import fit_health
from bayesgrid.studies.bayesian_lora.fit_parameters import PARENTS
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.methods import posterior_fit, trained_method
from bayesgrid.studies.bayesian_lora.prediction import predict, prediction_frame
from bayesgrid.studies.bayesian_lora.run_inputs import LearntQuestions, base_model, learnt_questions, run_device
from bayesgrid.studies.bayesian_lora.training import TrainingHistory, train

__all__ = ["posterior_folder", "run", "trained_parameters"]

_logger = logging.getLogger(__name__)

_LAST_STEPS = 50
_MEASURED = "measured.json"


def posterior_folder(state: Path, seed: int) -> Path:
    """Return where a fit with state folder ``state`` keeps the posterior of ``seed``."""
    return state / "posterior" / f"seed-{seed}"


def run(spec: FitSpec, context: RunContext, inputs: RunInputs) -> RunResult:
    """Fit ``spec.method`` for every seed and leave the posteriors in the run's state folder.

    ``metrics`` has, per seed, what the fit measured (split ``train``) and the posterior mean's accuracy and NLL on the
    held-out labels (split ``validation``), whose predictions are published.

    Raises:
        DataError: if the training labels are all the same.
        NumericalError: if training diverges, naming seed and step.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    base = base_model(spec, inputs)
    learnt = learnt_questions(spec, base, inputs)
    if spec.method != "zeroshot" and len(np.unique(learnt.training.answers)) < 2:
        raise DataError(
            "all training labels are the same, so there is nothing to tell apart",
            where=f"data set {spec.dataset!r}, {len(learnt.training)} questions",
            remedy="raise labels.budget",
        )
    trains = spec.method not in PARENTS and spec.method != "zeroshot"
    slots = len(trained_method(spec).slots_of(spec)) if trains else 1
    adapted = adapt_model(
        base, spec.lora, learnt.training.label_tokens, slots=slots, device=run_device(), cache=inputs.cache
    )
    learnt = LearntQuestions(adapted.prepared(learnt.training), adapted.prepared(learnt.validation))
    if trains:
        measured = _train(spec, adapted, learnt, context)
    else:
        measured = {}
        for seed in spec.seeds:
            measured[seed] = _fit_around(spec, seed, adapted, learnt, context, inputs)
            context.raise_if_stopping()
    return _result(spec, adapted, learnt, context, measured)


def _train(
    spec: FitSpec, adapted: AdaptedModel, learnt: LearntQuestions, context: RunContext
) -> dict[int, Mapping[str, float]]:
    kind = trained_method(spec)
    method = kind(spec, adapted.stack, kind.slots_of(spec), len(learnt.training))
    history = train(spec, method, adapted, learnt.training, learnt.validation, context)
    members = len(method.slots) // len(spec.seeds)
    widths = {**method.measured(), **fit_health(method, history.losses, history.stopped_at, learnt.training)}
    measured: dict[int, Mapping[str, float]] = {}
    for position, seed in enumerate(spec.seeds):
        own = slice(position * members, (position + 1) * members)
        values = {name: float(value[own].double().mean()) for name, value in widths.items()}
        values["collapsed"] = float(widths["collapsed"][own].max())
        measured[seed] = {**_of_history(history, own), **values}
        _write(spec, seed, method.posterior(position), adapted, learnt.training, context, None)
    for layer in adapted.stack.layers.values():
        layer.projection = None
    return measured


def _of_history(history: TrainingHistory, own: slice) -> dict[str, float]:
    losses = history.losses[:, own]
    # A slot that stopped early has its last steps before the end.
    last = [column[np.isfinite(column)][-_LAST_STEPS:].mean() for column in losses.T]
    return {
        "nll": float(np.mean(last)),
        "first_nll": float(np.nanmean(losses[:_LAST_STEPS])),
        "stopped_at": float(history.stopped_at[own].mean()),
    }


def _fit_around(
    spec: FitSpec, seed: int, adapted: AdaptedModel, learnt: LearntQuestions, context: RunContext, inputs: RunInputs
) -> Mapping[str, float]:
    folder = posterior_folder(context.state, seed)
    if (folder / _MEASURED).is_file():
        known: dict[str, float] = json.loads((folder / _MEASURED).read_text(encoding="utf-8"))
        return known
    if spec.method == "zeroshot":
        posterior, measured, parent_run = AdapterPosterior("zeroshot", adapted.stack.export(0)), {}, None
    else:
        parent = read_posterior(posterior_folder(inputs.needs["parent"], seed))
        fitted = posterior_fit(spec)(spec, parent, adapted, learnt.training, seed, context)
        posterior, measured, parent_run = fitted.posterior, dict(fitted.measured), inputs.needs["parent"].name
    _write(spec, seed, posterior, adapted, learnt.training, context, parent_run)
    write_json(folder / _MEASURED, measured)
    return measured


def _write(
    spec: FitSpec,
    seed: int,
    posterior: AdapterPosterior,
    adapted: AdaptedModel,
    task: AnswerTask,
    context: RunContext,
    parent_run: str | None,
) -> None:
    prior: dict[str, JSON] = dict(posterior.settings)
    provenance = PosteriorProvenance(
        mode=spec.mode,
        parametrisation="squared or exponential" if spec.mode == "faithful" else "softplus",
        prior=prior,
        training_examples=len(task),
        seeds=(seed,),
        parent_run=parent_run,
        base_model=spec.model,
        base_revision=adapted.base.revision,
        module_prefix="model",
        labels=task.labels,
        label_token_ids=task.label_tokens,
        head_rows=adapted.base.head_weight[list(task.label_tokens)].detach().float().cpu(),
    )
    write_posterior(posterior_folder(context.state, seed), posterior, provenance)


def _result(
    spec: FitSpec,
    adapted: AdaptedModel,
    learnt: LearntQuestions,
    context: RunContext,
    measured: Mapping[int, Mapping[str, float]],
) -> RunResult:
    records: list[tuple[int, str, str, float]] = []
    frames = []
    validation = learnt.validation
    for seed in spec.seeds:
        posterior = read_posterior(posterior_folder(context.state, seed), allow_inert=spec.method == "zeroshot")
        logits = predict(adapted, validation, [posterior.mean])
        frames.append(prediction_frame(seed, "validation", validation, logits))
        scores = answer_metrics(DrawnAnswers(logits.astype(np.float64), validation.answers, validation.options))
        files = [file for file in posterior_folder(context.state, seed).rglob("*") if file.is_file()]
        values = {
            **measured[seed],
            "trained_parameters": float(trained_parameters(spec, posterior)),
            "posterior_bytes": float(sum(file.stat().st_size for file in files)),
            "labels_used": float(len(learnt.training) + len(validation)),
        }
        records += [(seed, "train", name, value) for name, value in values.items()]
        records += [(seed, "validation", name, scores[name]) for name in ("accuracy", "nll")]
    metrics = pd.DataFrame.from_records(records, columns=["seed", "split", "metric", "value"])
    return RunResult(metrics=metrics, predictions=pd.concat(frames, ignore_index=True))


def trained_parameters(spec: FitSpec, posterior: AdapterPosterior) -> int:
    """Return how many values gradient descent has learnt for one seed; 0 for what is fitted to a trained adapter."""
    if spec.method in PARENTS or spec.method == "zeroshot":
        return 0
    factors = posterior.mean.parameter_count()
    if spec.method == "ensemble":
        return factors * len(posterior.members)
    if spec.method == "scalabl":
        ranks = sum(pair.rank for pair in posterior.mean.pairs.values())
        return factors + 2 * ranks
    if spec.method in ("blob", "ivon"):
        return factors + sum(torch.numel(tensor) for tensor in posterior.tensors.values())
    return factors
