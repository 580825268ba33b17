"""Entry point of an evaluation: a fitted posterior and questions in, answers of every draw and their worth out."""

import json
import logging
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesgrid.adapters.draws import draw_adapters
from bayesgrid.adapters.low_rank import AdapterWeights
from bayesgrid.adapters.posterior_files import AdapterPosterior, read_posterior, read_provenance
from bayesgrid.data.choice_questions import read_choice_questions
from bayesgrid.errors import DataError
from bayesgrid.store.atomic import atomic_write, write_json
from bayesgrid.store.execution import RunContext, RunInputs, RunResult
from bayesgrid.store.manifest import peak_memory_mb
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, adapt_model, for_labels
from bayesgrid.studies.bayesian_lora.answer_metrics import DrawnAnswers, answer_metrics
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, chosen_questions
from bayesgrid.studies.bayesian_lora.fit import posterior_folder
from bayesgrid.studies.bayesian_lora.laplace_prediction import predict_laplace
from bayesgrid.studies.bayesian_lora.methods.reference_noise import NOISY_METHODS, reference_noise
from bayesgrid.studies.bayesian_lora.prediction import Progress, predict, prediction_frame
from bayesgrid.studies.bayesian_lora.prediction_costs import BatchClock, memory_above_level, prediction_costs
from bayesgrid.studies.bayesian_lora.run_inputs import base_model, learnt_questions, run_device, task_for_model
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

__all__ = ["drawn_adapters", "run", "stream_seed"]

_logger = logging.getLogger(__name__)


def run(spec: BayesianLoraSpec, context: RunContext, inputs: RunInputs) -> RunResult:
    """Answer the held-out labels of the training set and the test split of the evaluated set with every draw.

    ``predictions`` has the logits of both; ``metrics`` what the test answers are worth, as they are and with the
    temperature that the held-out labels ask for, and what they cost: see :func:`prediction_costs`;
    ``prediction_memory_mb`` is the peak of reading the posterior, drawing and answering above the level before.

    Raises:
        StateError: if a posterior is damaged or belongs to another model.
        ConfigurationError: if the questions have images and the model cannot be asked about them.
        NumericalError: if a logit is not finite.
    """
    base = base_model(spec, inputs)
    validation = learnt_questions(spec, base, inputs).validation
    evaluated = spec.evaluated()
    data = read_choice_questions(inputs.data, evaluated, inputs.data_versions[evaluated])
    test = task_for_model(data, "test", base, spec.prompt.form)
    test = test.rows(chosen_questions(len(test), spec.evaluation.examples, f"test of {evaluated}"))

    labels = tuple(dict.fromkeys((*validation.labels, *test.labels)))
    tokens = _shared_tokens(validation, test, evaluated)
    adapted = adapt_model(
        base,
        spec.lora,
        tuple(tokens[label] for label in labels),
        slots=1,
        device=run_device(),
        cache=inputs.cache,
    )
    unknown = [label for label in test.labels if label not in validation.labels]
    if unknown and spec.lora.head:
        _logger.warning("%s: the labels %s were not trained on; their head is the base model's", evaluated, unknown)
    tasks = {"validation": adapted.prepared(validation), "test": adapted.prepared(test)}
    # Weights that lie in a file enter memory when they are first read, which is no cost of a method.
    predict(adapted, tasks["validation"].rows(np.arange(1)), None)
    records: list[tuple[int, str, str, float]] = []
    frames = []
    for seed in spec.seeds:
        frame, costs = _answers(spec, seed, adapted, tasks, labels, context, inputs)
        frames.append(frame)
        scores = answer_metrics(_drawn(frame, "test", test), _drawn(frame, "validation", validation))
        scores = {name: value for name, value in {**scores, **costs}.items() if np.isfinite(value)}
        scores["peak_memory_mb"] = float(peak_memory_mb())
        records += [(seed, "test", name, value) for name, value in scores.items()]
    metrics = pd.DataFrame.from_records(records, columns=["seed", "split", "metric", "value"])
    fit = pd.read_parquet(inputs.needs["fit"] / "finished" / "metrics.parquet")
    costs = fit[fit["metric"].isin(("trained_parameters", "posterior_bytes", "labels_used"))].assign(split="test")
    return RunResult(
        metrics=pd.concat([metrics, costs], ignore_index=True), predictions=pd.concat(frames, ignore_index=True)
    )


def _shared_tokens(trained: AnswerTask, asked: AnswerTask, where: str) -> dict[str, int]:
    tokens = dict(zip(trained.labels, trained.label_tokens, strict=True))
    for label, token in zip(asked.labels, asked.label_tokens, strict=True):
        if tokens.setdefault(label, token) != token:
            raise DataError(
                "a label is another token after these prompts than after those trained on",
                where=f"data set {where!r}",
                given=f"{label!r}: {token}",
                allowed=tokens[label],
                remedy="ask both sets in the same form of prompt",
            )
    return tokens


def _answers(
    spec: BayesianLoraSpec,
    seed: int,
    adapted: AdaptedModel,
    tasks: dict[str, AnswerTask],
    labels: tuple[str, ...],
    context: RunContext,
    inputs: RunInputs,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the answers to ``tasks``, the held-out labels first, and what the test answers have cost."""
    kept = context.state / "answers" / f"seed-{seed}.parquet"
    measured = kept.with_name(f"seed-{seed}-costs.json")
    if kept.is_file() and measured.is_file():
        known: dict[str, float] = json.loads(measured.read_text(encoding="utf-8"))
        return pd.read_parquet(kept), known
    folder = posterior_folder(inputs.needs["fit"], seed)
    # What an earlier seed left in the stack is no part of the level.
    adapted.stack.resize(1)
    clocks: dict[str, BatchClock] = {}
    logits: dict[str, NDArray[np.float32]] = {}
    with memory_above_level(adapted.device) as memory:
        posterior = read_posterior(folder, allow_inert=spec.method == "zeroshot")
        trained = read_provenance(folder).labels
        weights = [for_labels(one, trained, labels) for one in drawn_adapters(spec, posterior, seed)]
        for split, task in tasks.items():
            clocks[split] = BatchClock(partial(context.progress, f"seed {seed}, {split}"))
            logits[split] = _logits(spec, seed, adapted, task, posterior, weights, trained, labels, clocks[split])
    costs = prediction_costs(clocks["test"], tasks["test"], warm_up=len(clocks["validation"].seconds))
    costs = dict(sorted({**costs, "prediction_memory_mb": memory.megabytes}.items()))
    frame = pd.concat(
        [
            prediction_frame(seed, split, task, logits[split][:, :, [labels.index(label) for label in task.labels]])
            for split, task in tasks.items()
        ],
        ignore_index=True,
    )
    with atomic_write(kept) as temporary:
        frame.to_parquet(temporary, index=False)
    write_json(measured, costs)
    context.raise_if_stopping()
    return frame, costs


def _logits(
    spec: BayesianLoraSpec,
    seed: int,
    adapted: AdaptedModel,
    task: AnswerTask,
    posterior: AdapterPosterior,
    weights: list[AdapterWeights],
    trained: tuple[str, ...],
    labels: tuple[str, ...],
    progress: Progress,
) -> NDArray[np.float32]:
    if posterior.method == "laplace" and spec.evaluation.draws > 0:
        return predict_laplace(
            adapted,
            task,
            posterior,
            trained=trained,
            asked=labels,
            scope=spec.laplace.scope,
            draws=spec.laplace.logit_draws,
            seed=stream_seed(spec, seed),
            progress=progress,
        )
    if spec.mode == "faithful" and posterior.method in NOISY_METHODS and spec.evaluation.draws > 0:
        means = [for_labels(posterior.mean, trained, labels)] * spec.evaluation.draws
        noise_seed = stream_seed(spec, seed)
        with reference_noise(posterior, adapted.stack, seed=noise_seed, scope=spec.evaluation.scope) as perturb:
            return predict(adapted, task, means, progress=progress, perturb=perturb)
    return predict(adapted, task, weights, progress=progress)


def drawn_adapters(spec: BayesianLoraSpec, posterior: AdapterPosterior, seed: int) -> list[AdapterWeights]:
    """Return the adapters that answer: the draws asked for, all members of an ensemble, or the mean alone."""
    evaluation = spec.evaluation
    if evaluation.draws == 0 or posterior.method in ("zeroshot", "mle", "map", "laplace"):
        return [posterior.mean]
    count = evaluation.draws
    if posterior.method == "ensemble":
        count = len(posterior.members)
    drawn = draw_adapters(
        posterior,
        range(count),
        seed=stream_seed(spec, seed),
        scope=evaluation.scope,
        antithetic=evaluation.antithetic,
    )
    return list(drawn)


def stream_seed(spec: BayesianLoraSpec, seed: int) -> int:
    """Return the seed of the draws of training seed ``seed``; a trial is nested in it, and no two share a stream."""
    return (spec.evaluation.trial << 32) + seed


def _drawn(frame: pd.DataFrame, split: str, task: AnswerTask) -> DrawnAnswers:
    rows = frame[frame["split"] == split]
    draws = int(rows["draw"].max()) + 1
    columns = [f"logit_{label}" for label in range(len(task.labels))]
    logits = rows[columns].to_numpy().reshape(len(task), draws, -1).transpose(1, 0, 2)
    return DrawnAnswers(logits, task.answers, task.options)
