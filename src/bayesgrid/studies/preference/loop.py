"""The loop: fit all seeds as one stack, test, buy labels; one checkpoint a round.

Every draw is keyed by (seed, role, round), so a loop that was interrupted and resumed gives the same bits as one that
was not. The first fit comes before the first purchase.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from bayesgrid.metrics.preference_scores import PREFERENCE_METRICS, preference_metrics
from bayesgrid.metrics.temperature import fit_inverse_temperature
from bayesgrid.random_streams import random_stream
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.preference.beliefs import PairBeliefs, SlotPosterior, fitted_posterior
from bayesgrid.studies.preference.evaluation_spec import TEST_SPLIT
from bayesgrid.studies.preference.label_choice import choose_pairs
from bayesgrid.studies.preference.models.preference_model import PreferenceModel
from bayesgrid.studies.preference.pool import PairPool
from bayesgrid.studies.preference.spec import PreferenceSpec
from bayesgrid.studies.preference.training import (
    FitResult,
    FitSettings,
    LabelledPairs,
    PreferenceFeatures,
    fit,
    starting_parameters,
)

__all__ = ["COLUMNS", "AskedPairs", "LoopHistory", "run_loop"]

_TEMPERED = ("tempered_nll", "tempered_ece", "inverse_temperature")
_FIT = ("training_loss", "validation_nll", "taken_step", "prior_precision", "embedding_variance", "weight_variance")
_SCORES = ("score_min", "score_median", "score_max")
COLUMNS = (*PREFERENCE_METRICS, *_TEMPERED, *_FIT, *_SCORES)
"""Numbers of one round and seed, in the order of :attr:`LoopHistory.measured`."""


@dataclass(frozen=True)
class AskedPairs:
    """Pairs ``[1, n]`` of a further set that the fitted models are asked about, with the features of that set."""

    features: PreferenceFeatures
    pairs: LabelledPairs


@dataclass
class LoopHistory:
    """What the rounds so far have given for K seeds.

    Args:
        labelled: ``[K, n]``, places in the pool in the order they were bought, the initial ones first.
        measured: ``[R, K, columns]``; NaN where a round or rule has no such value.
        answers: by round and by ``test`` or the name of a further set, ``[5, K, n]``, what the seeds answered about its
            pairs (``ANSWER_COLUMNS``): of the first and the last round, and of further sets as the specification says.
        parameters: the last weights, ``[K * members, ...]``.
    """

    labelled: NDArray[np.int64]
    measured: NDArray[np.float64]
    answers: dict[tuple[int, str], NDArray[np.float64]]
    parameters: dict[str, Tensor]

    @property
    def completed(self) -> int:
        """Rounds done."""
        return len(self.measured)


def run_loop(
    spec: PreferenceSpec,
    model: PreferenceModel,
    features: PreferenceFeatures,
    pool: PairPool,
    context: RunContext,
    require_labels: Callable[[NDArray[np.int64], int], None] | None = None,
    further: Mapping[str, AskedPairs] | None = None,
) -> LoopHistory:
    """Run all rounds, from the newest checkpoint on if there is one.

    Args:
        spec: of the run.
        model: what is fitted.
        features: of responses and prompts.
        pool: the pairs.
        context: of the run.
        require_labels: called before each fit with the places ``[K, n]`` of the pairs whose labels it needs, and its
            round; it raises if a label is not there yet.
        further: sets that the models are evaluated on besides.

    Raises:
        NumericalError: if a fit diverges, naming seed and step.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    loop = _Loop(spec, model, features, pool, context, further or {})
    history = loop.restored()
    for round_number in range(history.completed, loop.rounds):
        if require_labels is not None:
            require_labels(history.labelled, round_number)
        history = loop.play(history, round_number)
        loop.save(history)
        context.progress("rounds", history.completed, loop.rounds)
        context.raise_if_stopping()
    return history


class _Loop:
    """One block of seeds; holds what stays the same in all rounds."""

    def __init__(
        self,
        spec: PreferenceSpec,
        model: PreferenceModel,
        features: PreferenceFeatures,
        pool: PairPool,
        context: RunContext,
        further: Mapping[str, AskedPairs],
    ) -> None:
        self._spec, self._model, self._features, self._pool, self._context = spec, model, features, pool, context
        self._further = further
        self.rounds = 1 if spec.labels.initial == "all" else 1 + spec.labels.rounds
        self._members = spec.posterior.members if spec.posterior.kind == "ensemble" else 1
        self._keys = [key for seed in spec.seeds for key in _member_keys(seed, self._members)]
        training = spec.training
        self._settings = FitSettings(
            training.steps,
            training.batch_size,
            training.learning_rate,
            training.weight_decay,
            training.schedule,
            training.early_stopping,
            training.evaluate_every,
        )

    def restored(self) -> LoopHistory:
        """Return the history of the newest checkpoint, or that before the first fit."""
        checkpoint = self._context.checkpoints.latest()
        if checkpoint is None:
            size = self._pool.rows.shape[1]
            initial = size if self._spec.labels.initial == "all" else self._spec.labels.initial
            drawn = [random_stream(seed, "initial pairs").permutation(size)[:initial] for seed in self._spec.seeds]
            return LoopHistory(np.stack(drawn), np.empty((0, len(self._spec.seeds), len(COLUMNS))), {}, {})
        arrays, known = checkpoint.arrays, checkpoint.metadata
        return LoopHistory(
            arrays["labelled"],
            arrays["measured"],
            {(number, name): arrays[f"answers.{number}.{name}"] for number, name in known["answers"]},
            {name: torch.from_numpy(arrays[f"parameters.{name}"]) for name in known["parameters"]},
        )

    def save(self, history: LoopHistory) -> None:
        """Write a checkpoint of everything that later rounds and the results need."""
        arrays: dict[str, np.ndarray] = {"labelled": history.labelled, "measured": history.measured}
        arrays |= {f"answers.{number}.{name}": values for (number, name), values in history.answers.items()}
        arrays |= {f"parameters.{name}": weight.numpy() for name, weight in history.parameters.items()}
        known = {"answers": sorted(map(list, history.answers)), "parameters": sorted(history.parameters)}
        self._context.checkpoints.save(history.completed, arrays, known)

    def play(self, history: LoopHistory, round_number: int) -> LoopHistory:
        """Fit, test and, unless this is the last round, buy labels."""
        last = round_number + 1 == self.rounds
        apart = [self._held_out(seed, history.labelled.shape[1]) for seed in self._spec.seeds]
        fitted = self._fit(history, round_number, apart)
        columns, bought = [], []
        asked = self._asked(round_number)
        answers: dict[str, list[NDArray[np.float64]]] = {name: [] for name in asked}
        for slot, seed in enumerate(self._spec.seeds):
            own = history.labelled[slot]
            learnt = self._own(slot, np.delete(own, apart[slot]))
            networks = slice(slot * self._members, (slot + 1) * self._members)
            parameters = {name: weight[networks] for name, weight in fitted.parameters.items()}
            posterior = fitted_posterior(self._spec.posterior, self._model, parameters, self._features, learnt)
            beliefs = posterior.beliefs(self._features, self._pool.test)
            row = dict(preference_metrics(beliefs.probability(), self._pool.test.target[0]))
            row |= self._tempered(posterior, beliefs, slot, own[apart[slot]])
            row |= _fit_columns(fitted, networks, posterior, beliefs)
            for name, own_answers in answers.items():
                known = beliefs if name == TEST_SPLIT else posterior.beliefs(asked[name].features, asked[name].pairs)
                own_answers.append(posterior.answers(known))
            if not last:
                places = np.setdiff1d(np.arange(self._pool.rows.shape[1]), own)
                choice = choose_pairs(
                    self._spec,
                    posterior,
                    self._features,
                    self._own(slot, places),
                    self._own(slot, own),
                    seed,
                    round_number,
                )
                bought.append(places[choice.places])
                row |= _score_columns(choice.scores)
            columns.append([row.get(name, np.nan) for name in COLUMNS])
            self._context.tracker.log("rounds", round_number, seed=seed, labelled=len(own), **row)
        kept = {(round_number, name): np.stack(values, axis=1) for name, values in answers.items()}
        return LoopHistory(
            history.labelled if last else np.concatenate([history.labelled, np.stack(bought)], axis=1),
            np.concatenate([history.measured, np.array(columns)[None]]),
            history.answers | kept,
            fitted.parameters,
        )

    def _fit(self, history: LoopHistory, round_number: int, apart: list[NDArray[np.int64]]) -> FitResult:
        learnt = np.stack([np.delete(own, places) for own, places in zip(history.labelled, apart, strict=True)])
        held = np.stack([own[places] for own, places in zip(history.labelled, apart, strict=True)])
        validation = self._pool.candidates.at(held).repeated(self._members) if held.shape[1] else None
        start = starting_parameters(
            self._model, self._keys, round_number, history.parameters or None, self._spec.training.refit
        )
        return fit(
            self._model,
            start,
            self._features,
            self._pool.candidates.at(learnt).repeated(self._members),
            validation,
            self._keys,
            round_number,
            self._settings,
        )

    def _asked(self, round_number: int) -> dict[str, AskedPairs]:
        """Return the pairs whose answers are kept of a round."""
        last = round_number + 1 == self.rounds
        tested = {TEST_SPLIT: AskedPairs(self._features, self._pool.test)} if last or round_number == 0 else {}
        return {**tested, **self._further} if last or self._spec.evaluation.every_round else tested

    def _own(self, slot: int, places: NDArray[np.int64]) -> LabelledPairs:
        return self._pool.candidates.slot(slot).at(places[None])

    def _held_out(self, seed: int, labelled: int) -> NDArray[np.int64]:
        """Return which of a seed's labels, in the order of purchase, are held out; once held out, always so."""
        labels = self._spec.labels
        initial = labelled if labels.initial == "all" else labels.initial
        ends = [initial, *range(initial + labels.per_round, labelled + 1, labels.per_round)]
        places: list[int] = []
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            wanted = round(labels.validation_fraction * end) - len(places)
            drawn = random_stream(seed, "held-out labels", number).permutation(end - start)[: max(wanted, 0)]
            places += (start + drawn).tolist()
        return np.sort(np.array(places, dtype=np.int64))

    def _tempered(
        self, posterior: SlotPosterior, beliefs: PairBeliefs, slot: int, held: NDArray[np.int64]
    ) -> dict[str, float]:
        """Return test metrics at the temperature that the held-out labels ask for, uncertainty left aside."""
        if not len(held):
            return {}
        pairs = self._own(slot, held)
        logits = posterior.beliefs(self._features, pairs).mean
        two = np.stack([logits, np.zeros_like(logits)], axis=1)[None]
        preferred = (pairs.target[0] < 0.5).astype(np.int64)
        inverse = fit_inverse_temperature(two, preferred, np.full(len(logits), 2))
        scaled = special.expit(inverse * beliefs.mean)
        after = preference_metrics(scaled, self._pool.test.target[0])
        return {"tempered_nll": after["nll"], "tempered_ece": after["ece"], "inverse_temperature": inverse}


def _fit_columns(
    fitted: FitResult, networks: slice, posterior: SlotPosterior, beliefs: PairBeliefs
) -> dict[str, float]:
    columns = {
        "training_loss": float(fitted.training_loss[networks].mean()),
        "validation_nll": float(fitted.validation_nll[networks].mean()),
        "taken_step": float(fitted.taken_step[networks].mean()),
        "embedding_variance": float(beliefs.embedding_variance.mean()),
        "weight_variance": float(beliefs.weight_variance.mean()),
    }
    if posterior.weights is not None:
        columns["prior_precision"] = posterior.weights.prior_precision
    return columns


def _score_columns(scores: NDArray[np.float64] | None) -> dict[str, float]:
    if scores is None:
        return {}
    return {
        "score_min": float(scores.min()),
        "score_median": float(np.median(scores)),
        "score_max": float(scores.max()),
    }


def _member_keys(seed: int, members: int) -> tuple[int, ...]:
    """Return the keys of the streams of a seed's networks; the first network has the seed's own."""
    others = random_stream(seed, "ensemble members").integers(2**31, 2**62, size=members - 1)
    return (seed, *others.tolist())
