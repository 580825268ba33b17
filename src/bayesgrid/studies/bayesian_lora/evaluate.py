"""Entry point of an evaluation: a fitted posterior and questions in, answers of every draw and their worth out."""

import logging
import time

import numpy as np
import pandas as pd

from bayesgrid.adapters.draws import draw_adapters
from bayesgrid.adapters.low_rank import AdapterWeights
from bayesgrid.adapters.posterior_files import AdapterPosterior, read_posterior, read_provenance
from bayesgrid.data.choice_questions import read_choice_questions
from bayesgrid.errors import DataError
from bayesgrid.store.atomic import atomic_write
from bayesgrid.store.execution import RunContext, RunInputs, RunResult
from bayesgrid.store.manifest import peak_memory_mb
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, adapt_model, for_labels
from bayesgrid.studies.bayesian_lora.answer_metrics import DrawnAnswers, answer_metrics
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, chosen_questions
from bayesgrid.studies.bayesian_lora.fit import posterior_folder
from bayesgrid.studies.bayesian_lora.laplace_prediction import predict_laplace
from bayesgrid.studies.bayesian_lora.methods.reference_noise import NOISY_METHODS, reference_noise
from bayesgrid.studies.bayesian_lora.prediction import Progress, predict, prediction_frame
from bayesgrid.studies.bayesian_lora.run_inputs import base_model, learnt_questions, run_device, task_for_model
from bayesgrid.studies.bayesian_lora.spec import BayesianLoraSpec

__all__ = ["drawn_adapters", "run"]

_logger = logging.getLogger(__name__)


def run(spec: BayesianLoraSpec, context: RunContext, inputs: RunInputs) -> RunResult:
    """Answer the held-out labels of the training set and the test split of the evaluated set with every draw.

    ``predictions`` has the logits of both; ``metrics`` what the test answers are worth, as they are and with the
    temperature that the held-out labels ask for.

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
    records: list[tuple[int, str, str, float]] = []
    frames = []
    for seed in spec.seeds:
        frame, seconds = _answers(spec, seed, adapted, tasks, labels, context, inputs)
        frames.append(frame)
        scores = answer_metrics(_drawn(frame, "test", test), _drawn(frame, "validation", validation))
        scores = {name: value for name, value in scores.items() if np.isfinite(value)}
        scores["seconds_per_example"] = seconds
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
) -> tuple[pd.DataFrame, float]:
    kept = context.state / "answers" / f"seed-{seed}.parquet"
    if kept.is_file():
        frame = pd.read_parquet(kept)
        return frame.drop(columns="seconds"), float(frame["seconds"].iloc[0])
    folder = posterior_folder(inputs.needs["fit"], seed)
    posterior = read_posterior(folder, allow_inert=spec.method == "zeroshot")
    trained = read_provenance(folder).labels
    weights = [for_labels(one, trained, labels) for one in drawn_adapters(spec, posterior, seed)]
    frames = []
    seconds = 0.0

    def report(split: str) -> Progress:
        return lambda done, total: context.progress(f"seed {seed}, {split}", done, total)

    for split, task in tasks.items():
        started = time.perf_counter()
        if posterior.method == "laplace" and spec.evaluation.draws > 0:
            logits = predict_laplace(
                adapted,
                task,
                posterior,
                trained=trained,
                asked=labels,
                scope=spec.laplace.scope,
                draws=spec.laplace.logit_draws,
                seed=_stream_seed(spec, seed),
                progress=report(split),
            )
        elif spec.mode == "faithful" and posterior.method in NOISY_METHODS and spec.evaluation.draws > 0:
            means = [for_labels(posterior.mean, trained, labels)] * spec.evaluation.draws
            noise_seed = _stream_seed(spec, seed)
            with reference_noise(posterior, adapted.stack, seed=noise_seed, scope=spec.evaluation.scope) as perturb:
                logits = predict(adapted, task, means, progress=report(split), perturb=perturb)
        else:
            logits = predict(adapted, task, weights, progress=report(split))
        seconds = (time.perf_counter() - started) / len(task)
        columns = [labels.index(label) for label in task.labels]
        frames.append(prediction_frame(seed, split, task, logits[:, :, columns]))
    frame = pd.concat(frames, ignore_index=True)
    with atomic_write(kept) as temporary:
        frame.assign(seconds=seconds).to_parquet(temporary, index=False)
    context.raise_if_stopping()
    return frame, seconds


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
        seed=_stream_seed(spec, seed),
        scope=evaluation.scope,
        antithetic=evaluation.antithetic,
    )
    return list(drawn)


def _stream_seed(spec: BayesianLoraSpec, seed: int) -> int:
    # A trial is nested in its seed: no two (seed, trial) share a stream.
    return (spec.evaluation.trial << 32) + seed


def _drawn(frame: pd.DataFrame, split: str, task: AnswerTask) -> DrawnAnswers:
    rows = frame[frame["split"] == split]
    draws = int(rows["draw"].max()) + 1
    columns = [f"logit_{label}" for label in range(len(task.labels))]
    logits = rows[columns].to_numpy().reshape(len(task), draws, -1).transpose(1, 0, 2)
    return DrawnAnswers(logits, task.answers, task.options)
