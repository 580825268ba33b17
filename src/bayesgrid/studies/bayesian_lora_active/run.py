"""Entry point of the study: a method, a base model and unlabelled questions in; curves over bought labels out."""

import numpy as np
import pandas as pd

from bayesgrid.data.choice_questions import read_choice_questions
from bayesgrid.errors import DataError
from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS
from bayesgrid.metrics.learning_curve import area_under_curve
from bayesgrid.store.execution import RunContext, RunInputs, RunResult
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, adapt_model
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, chosen_questions
from bayesgrid.studies.bayesian_lora.prediction import prediction_frame
from bayesgrid.studies.bayesian_lora.run_inputs import base_model, run_device, task_for_model
from bayesgrid.studies.bayesian_lora_active.loop import COLUMNS, LoopHistory, run_loop
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec

__all__ = ["run", "run_on_tasks"]

_AREA_METRICS = ("accuracy", "nll", "brier", "ece")


def run(spec: BayesianLoraActiveSpec, context: RunContext, inputs: RunInputs) -> RunResult:
    """Buy labels in rounds for every seed, fit after each, and answer the test split.

    Raises:
        DataError: if the data set is not prepared, or has fewer training questions than are bought.
        ConfigurationError: if the questions have images and the model cannot be asked about them.
        NumericalError: if training diverges, naming seed and step.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    base = base_model(spec, inputs)
    data = read_choice_questions(inputs.data, spec.dataset, inputs.data_versions[spec.dataset])
    training = task_for_model(data, "train", base, spec.prompt.form)
    test = task_for_model(data, "test", base, spec.prompt.form)
    test = test.rows(chosen_questions(len(test), spec.acquisition.evaluation_examples, f"test of {spec.dataset}"))
    adapted = adapt_model(base, spec.lora, training.label_tokens, slots=1, device=run_device(), cache=inputs.cache)
    return run_on_tasks(spec, adapted, adapted.prepared(training), adapted.prepared(test), context)


def run_on_tasks(
    spec: BayesianLoraActiveSpec, adapted: AdaptedModel, training: AnswerTask, test: AnswerTask, context: RunContext
) -> RunResult:
    """Run the loop on questions that are prepared for the model; see :func:`run`.

    ``rounds`` has one line per seed and round: the number of labels, the metrics of the test answers, as they are and
    with the temperature that the held-out labels ask for, the mean loss at the end of training, the labels held out,
    the spread of the rule's scores, and the questions ``chosen`` after the round. ``metrics`` has the values of the
    last round, areas under the curves divided by the labels bought (``area_*``), and ``labels_used``. ``predictions``
    has the test answers of the first and the last round.
    """
    wanted = spec.acquisition.labels_after(spec.acquisition.rounds - 1)
    if wanted > len(training):
        raise DataError(
            "the training split is smaller than what is bought",
            where=f"data set {spec.dataset!r}",
            given=f"{len(training)} questions",
            allowed=f"at least {wanted}",
            remedy="lower acquisition.rounds or acquisition.per_round",
        )
    history = run_loop(spec, adapted, training, test, context)
    rounds = _rounds(spec, training, history)
    return RunResult(metrics=_metrics(rounds), predictions=_predictions(spec, test, history), rounds=rounds)


def _rounds(spec: BayesianLoraActiveSpec, training: AnswerTask, history: LoopHistory) -> pd.DataFrame:
    records = []
    for place, seed in enumerate(spec.seeds):
        for round_number in range(spec.acquisition.rounds):
            labelled, following = (spec.acquisition.labels_after(number) for number in (round_number, round_number + 1))
            values = dict(zip(COLUMNS, history.measured[round_number, place].tolist(), strict=True))
            values["held_out"] = int(values["held_out"])
            chosen = [training.questions[row] for row in history.labelled[place, labelled:following]]
            records.append({"seed": seed, "round": round_number, "labelled": labelled, **values, "chosen": chosen})
    return pd.DataFrame.from_records(records)


def _metrics(rounds: pd.DataFrame) -> pd.DataFrame:
    records: list[tuple[int, str, str, float]] = []
    tested = [name for name in COLUMNS if name in ANSWER_STATISTICS or "temperature" in name or "tempered" in name]
    for seed, own in rounds.groupby("seed", sort=False):
        last = own.iloc[-1]
        values = {name: float(last[name]) for name in tested}
        if len(own) > 1:
            labelled = own["labelled"].to_numpy()
            areas = {name: area_under_curve(labelled, own[name].to_numpy()) for name in _AREA_METRICS}
            values |= {f"area_{name}": float(area) for name, area in areas.items()}
        values["labels_used"] = float(last["labelled"])
        records += [(seed, "test", name, value) for name, value in values.items() if np.isfinite(value)]
        records.append((seed, "train", "nll", float(last["training_nll"])))
    return pd.DataFrame.from_records(records, columns=["seed", "split", "metric", "value"])


def _predictions(spec: BayesianLoraActiveSpec, test: AnswerTask, history: LoopHistory) -> pd.DataFrame:
    frames = []
    for round_number, logits in sorted(history.logits.items()):
        for place, seed in enumerate(spec.seeds):
            frame = prediction_frame(seed, "test", test, logits[place])
            frame.insert(1, "round", np.int64(round_number))
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)
