"""The loop: fit, answer the test questions, buy labels; one checkpoint a round.

Every draw is keyed by (seed, role, round), so a loop that was interrupted and resumed gives the same bits as one that
was not. All seeds of a block train side by side, each on labels of its own.

Source: BayesAdapt (arXiv 2606.22188), active_learn.py, whose loop saves nothing before its end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel
from bayesgrid.studies.bayesian_lora.answer_metrics import TEMPERED_METRICS, DrawnAnswers, answer_metrics
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora_active.bought_labels import held_out, initial_labels
from bayesgrid.studies.bayesian_lora_active.label_choice import choose_labels
from bayesgrid.studies.bayesian_lora_active.posterior_answers import posterior_logits
from bayesgrid.studies.bayesian_lora_active.round_training import fit_round, forget_rounds
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec

__all__ = ["COLUMNS", "LoopHistory", "run_loop"]

_TEMPERED = ("inverse_temperature", *(f"tempered_{name}" for name in TEMPERED_METRICS))
_SCORES = ("score_min", "score_median", "score_max", "score_ties")
COLUMNS = (*ANSWER_STATISTICS, *_TEMPERED, "training_nll", "held_out", *_SCORES)
"""Numbers of one round and seed, in the order of :attr:`LoopHistory.measured`."""


@dataclass
class LoopHistory:
    """What the rounds so far have given for S seeds and R rounds.

    Args:
        labelled: ``[S, k]``, questions with labels in the order they were bought, the initial ones first.
        measured: ``[R, S, columns]``, the columns of :data:`COLUMNS`; NaN where a round or rule has no such value.
        logits: of the first and the last round, ``[S, draws, N, C]`` of the test questions.
        learnt: what the next fit goes on from; empty with a cold start.
    """

    labelled: NDArray[np.int64]
    measured: NDArray[np.float64]
    logits: dict[int, NDArray[np.float32]]
    learnt: dict[str, NDArray[np.float32]]

    @property
    def completed(self) -> int:
        """Rounds done."""
        return len(self.measured)


def run_loop(
    spec: BayesianLoraActiveSpec, adapted: AdaptedModel, training: AnswerTask, test: AnswerTask, context: RunContext
) -> LoopHistory:
    """Run all rounds, from the newest checkpoint on if there is one.

    Args:
        spec: of the run.
        adapted: the model; its stack is resized.
        training: all questions whose labels may be bought, prepared for the model.
        test: questions that are answered in every round, prepared for the model.
        context: of the run.

    Raises:
        NumericalError: if training diverges, naming seed and step.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    history = _restored(spec, training, context)
    for round_number in range(history.completed, spec.acquisition.rounds):
        history = _play(spec, adapted, training, test, context, history, round_number)
        _save(history, context)
        forget_rounds(context)
        context.progress("rounds", history.completed, spec.acquisition.rounds)
        context.raise_if_stopping()
    return history


def _restored(spec: BayesianLoraActiveSpec, training: AnswerTask, context: RunContext) -> LoopHistory:
    checkpoint = context.checkpoints.latest()
    if checkpoint is None:
        initial = [initial_labels(seed, len(training), spec.acquisition.initial) for seed in spec.seeds]
        return LoopHistory(np.stack(initial), np.empty((0, len(spec.seeds), len(COLUMNS))), {}, {})
    arrays, known = checkpoint.arrays, checkpoint.metadata
    return LoopHistory(
        arrays["labelled"],
        arrays["measured"],
        {number: arrays[f"logits.{number}"] for number in known["answered"]},
        {name: arrays[f"learnt.{name}"] for name in known["learnt"]},
    )


def _save(history: LoopHistory, context: RunContext) -> None:
    arrays: dict[str, np.ndarray] = {"labelled": history.labelled, "measured": history.measured}
    arrays |= {f"logits.{number}": logits for number, logits in history.logits.items()}
    arrays |= {f"learnt.{name}": values for name, values in history.learnt.items()}
    known = {"answered": sorted(history.logits), "learnt": sorted(history.learnt)}
    context.checkpoints.save(history.completed, arrays, known)


def _play(
    spec: BayesianLoraActiveSpec,
    adapted: AdaptedModel,
    training: AnswerTask,
    test: AnswerTask,
    context: RunContext,
    history: LoopHistory,
    round_number: int,
) -> LoopHistory:
    """Fit, answer and, unless this is the last round, buy labels."""
    last = round_number + 1 == spec.acquisition.rounds
    count = history.labelled.shape[1]
    apart = [
        held_out(seed, spec.acquisition, spec.labels.validation_fraction, training.groups_of(own))
        for seed, own in zip(spec.seeds, history.labelled, strict=True)
    ]
    learnt_rows = [np.delete(own, places) for own, places in zip(history.labelled, apart, strict=True)]
    fit = fit_round(spec, adapted, training, learnt_rows, round_number, context, history.learnt)
    columns: list[dict[str, float]] = []
    answered, bought = [], []
    for place, seed in enumerate(spec.seeds):
        posterior, own = fit.posteriors[place], history.labelled[place]
        context.progress(f"round {round_number}, answers of seed {seed}", place, len(spec.seeds))
        logits = posterior_logits(spec, posterior, adapted, test, seed)
        validation = None
        if len(apart[place]):
            asked = training.rows(own[apart[place]])
            validation = _drawn(asked, posterior_logits(spec, posterior, adapted, asked, seed))
        row = answer_metrics(_drawn(test, logits), validation)
        row |= {"training_nll": float(fit.training_nll[place]), "held_out": float(len(apart[place]))}
        if not last:
            choice = choose_labels(spec, posterior, adapted, training, own, seed, round_number)
            bought.append(choice.rows)
            row |= _score_summary(choice.scores)
        columns.append({name: row.get(name, np.nan) for name in COLUMNS})
        answered.append(logits.astype(np.float32))
        context.tracker.log("rounds", round_number, seed=seed, labelled=count, **columns[-1])
    kept = {round_number: np.stack(answered)} if last or round_number == 0 else {}
    measured = np.array([list(row.values()) for row in columns])
    return LoopHistory(
        history.labelled if last else np.concatenate([history.labelled, np.stack(bought)], axis=1),
        np.concatenate([history.measured, measured[None]]),
        history.logits | kept,
        fit.learnt,
    )


def _drawn(task: AnswerTask, logits: NDArray[np.float64]) -> DrawnAnswers:
    return DrawnAnswers(logits, task.answers, task.options)


def _score_summary(scores: NDArray[np.float64] | None) -> dict[str, float]:
    if scores is None:
        return {}
    return {
        "score_min": float(scores.min()),
        "score_median": float(np.median(scores)),
        "score_max": float(scores.max()),
        "score_ties": float(len(scores) - len(np.unique(scores))),
    }
