"""The active-learning loop: all seeds of a block fit, are evaluated and buy labels in lockstep, one checkpoint a round.

Round r has ``initial + r * query_size`` labels (at most ``initial + budget``); the last round buys none. Every draw is
keyed by (seed, role, round), so a loop that was interrupted and resumed gives the same bits as one that was not, and a
seed the same bits in any block.

With ``posterior.sampler: ensemble`` every seed trains several networks on its labels, stacked like further seeds. They
differ by their initial weights, batches and training masks; the first is the network that the seed has without an
ensemble, and the one that is evaluated, so that agents still differ in selection alone.

Source: BALSA (arXiv 2501.01248), section 3; one refit per query, where the reference refits after every single label.
"""

import time
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bayesgrid.data.regression_tables import RegressionTable
from bayesgrid.random_streams import random_stream
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.regression.agents import build_agent
from bayesgrid.studies.regression.agents.interface import Agent
from bayesgrid.studies.regression.evaluation import TEST_METRICS, evaluate
from bayesgrid.studies.regression.label_choice import DIAGNOSTIC_COLUMNS, SCORE_COLUMNS, choose_labels
from bayesgrid.studies.regression.labelled_rows import BlockRows, block_rows
from bayesgrid.studies.regression.models.exact_prediction import ExactPrediction
from bayesgrid.studies.regression.models.layout import ParameterLayout, specified_layout
from bayesgrid.studies.regression.one_thread import one_thread
from bayesgrid.studies.regression.optimiser import Moments
from bayesgrid.studies.regression.spec import RegressionSpec
from bayesgrid.studies.regression.training import (
    FitResult,
    FitSettings,
    fit,
    starting_parameters,
)

__all__ = ["COLUMNS", "PREDICTION_COLUMNS", "LoopHistory", "evaluated_rounds", "round_count", "run_loop"]

_SAMPLES_OF_MODE = 64
_MOMENTS = tuple(field.name for field in fields(Moments))
_FIT_COLUMNS = ("validation_nll", "epochs", "stopped_at")
COLUMNS = (*TEST_METRICS, *_FIT_COLUMNS, *SCORE_COLUMNS, *DIAGNOSTIC_COLUMNS)
"""Numbers of one round and seed, in the order of :attr:`LoopHistory.measured`."""
PREDICTION_COLUMNS = tuple(field.name for field in fields(ExactPrediction))
"""Numbers of one prediction, in the order of :attr:`LoopHistory.predictions`."""


@dataclass
class LoopHistory:
    """What the rounds so far have given for S seeds, R rounds and m test rows.

    Args:
        labelled: `[S, k]`, labelled rows in the order they were bought, the initial ones first.
        measured: `[R, S, columns]`, the columns of ``COLUMNS``; NaN where a round or agent has no such value.
        parameters: `[S * members, P]`, the last weights, seed after seed, or None before the first fit.
        moments: of the optimiser after the last fit; None before the first, or if no refit continues with them.
        predictions: for the first and the last round, `[S, 8, m]` with the fields of ``ExactPrediction``, for targets
            scaled to [0, 1].
    """

    labelled: npt.NDArray[np.int64]
    measured: npt.NDArray[np.float64]
    parameters: Tensor | None
    moments: Moments | None
    predictions: dict[int, npt.NDArray[np.float64]]

    @property
    def completed(self) -> int:
        """Rounds done."""
        return len(self.measured)


def round_count(budget: int, query_size: int) -> int:
    """Return how often the network is fitted: once for the initial labels and once after every query."""
    return 1 + -(-budget // query_size)


def evaluated_rounds(spec: RegressionSpec) -> list[int]:
    """Return the rounds with a test evaluation: every so many, and the last."""
    rounds = round_count(spec.labels.budget, spec.labels.query_size)
    return sorted({*range(0, rounds, spec.evaluation.every), rounds - 1})


def run_loop(spec: RegressionSpec, table: RegressionTable, context: RunContext) -> tuple[BlockRows, LoopHistory]:
    """Run all rounds, from the newest checkpoint on if there is one, and return the rows' roles and the history.

    Raises:
        NumericalError: if a fit diverges, naming the seed.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    with one_thread():
        rows = block_rows(table, spec.labels, spec.seeds)
        loop = _Loop(spec, rows, context)
        history = loop.restored()
        rounds = round_count(spec.labels.budget, spec.labels.query_size)
        for round_number in range(history.completed, rounds):
            history = loop.play(history, round_number, rounds)
            loop.save(history)
            context.progress("rounds", history.completed, rounds)
            context.raise_if_stopping()
    return rows, history


class _Loop:
    """One block of seeds; holds what stays the same in all rounds."""

    def __init__(self, spec: RegressionSpec, rows: BlockRows, context: RunContext) -> None:
        self._spec = spec
        self._rows = rows
        self._context = context
        self._agent: Agent = build_agent(spec.agent, spec)
        self._evaluated = set(evaluated_rounds(spec))
        self._members = spec.posterior.draws if spec.posterior.sampler == "ensemble" else 1
        self._stacked_seeds = tuple(key for seed in spec.seeds for key in _member_seeds(seed, self._members))
        self._layout: ParameterLayout = specified_layout(rows.features.shape[1], spec.architecture, spec.network)
        training = spec.training
        self._settings = FitSettings(
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            dropout=spec.dropout_probabilities()[0],
            batch_size=training.batch_size,
            max_epochs=training.max_epochs,
            patience=training.patience,
            minimum_improvement=training.minimum_improvement,
            early_stopping=training.early_stopping,
            shared_batches=spec.mode == "faithful",
        )
        self._first_settings = replace(self._settings, max_epochs=training.first_fit_epochs or training.max_epochs)
        self._test_features = rows.features[rows.test]
        self._test_targets = rows.targets[rows.test]

    def restored(self) -> LoopHistory:
        """Return the history of the newest checkpoint, or an empty one."""
        checkpoint = self._context.checkpoints.latest()
        if checkpoint is None:
            return LoopHistory(self._rows.initial, np.empty((0, len(self._spec.seeds), len(COLUMNS))), None, None, {})
        arrays = checkpoint.arrays
        kept = self._spec.training.optimiser_state == "kept"
        return LoopHistory(
            labelled=arrays["labelled"],
            measured=arrays["measured"],
            parameters=torch.from_numpy(arrays["parameters"]),
            moments=Moments(**{name: arrays[f"moments.{name}"] for name in _MOMENTS}) if kept else None,
            predictions={int(number): arrays[f"predictions.{number}"] for number in checkpoint.metadata["predicted"]},
        )

    def save(self, history: LoopHistory) -> None:
        """Write a checkpoint of everything that later rounds and the results need."""
        arrays = {"labelled": history.labelled, "measured": history.measured}
        arrays |= {f"predictions.{number}": array for number, array in history.predictions.items()}
        if history.parameters is not None:
            arrays["parameters"] = history.parameters.numpy()
        if history.moments is not None:
            arrays |= {f"moments.{name}": getattr(history.moments, name) for name in _MOMENTS}
        self._context.checkpoints.save(history.completed, arrays, {"predicted": sorted(history.predictions)})

    def play(self, history: LoopHistory, round_number: int, rounds: int) -> LoopHistory:
        """Fit, evaluate and, unless this is the last round, buy labels."""
        spec, seeds = self._spec, self._spec.seeds
        started = time.perf_counter()
        fitted, epochs = self._fit(history, round_number)
        after_fit = time.perf_counter()
        columns: list[dict[str, float]] = [{} for _ in seeds]
        predictions = np.empty((0, 0, 0))
        if round_number in self._evaluated:
            columns, predictions = self._evaluate(fitted, epochs, round_number)
        after_evaluation = time.perf_counter()
        labelled, last = history.labelled, round_number + 1 == rounds
        if not last:
            bought = []
            for place in range(len(seeds)):
                chosen, scores = choose_labels(
                    spec,
                    self._agent,
                    self._layout,
                    self._rows,
                    place,
                    labelled[place],
                    [
                        self._parameters(fitted.parameters, place * self._members + member)
                        for member in range(self._members)
                    ],
                    round_number,
                    self._bought_in(round_number),
                )
                columns[place] |= scores
                bought.append(chosen)
            labelled = np.concatenate([labelled, np.stack(bought)], axis=1)
        self._log(round_number, columns, started, after_fit, after_evaluation)
        measured = np.array([[row.get(name, np.nan) for name in COLUMNS] for row in columns])
        kept = dict(history.predictions)
        if round_number == 0 or last:
            kept[round_number] = predictions
        moments = fitted.moments if spec.training.optimiser_state == "kept" else None
        measured_so_far = np.concatenate([history.measured, measured[None]])
        return LoopHistory(labelled, measured_so_far, fitted.parameters, moments, kept)

    def _fit(self, history: LoopHistory, round_number: int) -> tuple[FitResult, npt.NDArray[np.int64]]:
        """Fit once, or after every label of the last query; return the last fit and the epochs of all `[S * M]`."""
        training, last, moments = self._spec.training, history.parameters, history.moments
        counts = [history.labelled.shape[1]]
        if round_number > 0 and training.refit_after == "label":
            counts = list(range(counts[0] - self._bought_in(round_number - 1) + 1, counts[0] + 1))
        settings = self._first_settings if round_number == 0 else self._settings
        epochs = np.zeros(len(self._stacked_seeds), dtype=np.int64)
        for number, count in enumerate(counts):
            index = (round_number,) if training.refit_after == "query" else (round_number, number)
            start = starting_parameters(self._layout, self._stacked_seeds, index, last, training.warm_start)
            block = self._rows.labelled_block(history.labelled[:, :count], copies=self._members)
            fitted = fit(start, self._layout, block, self._stacked_seeds, index, settings, moments)
            epochs += fitted.epochs
            last, moments = fitted.parameters, fitted.moments if training.optimiser_state == "kept" else None
        return fitted, epochs

    def _bought_in(self, round_number: int) -> int:
        """Return how many labels the query of a round buys."""
        labels = self._spec.labels
        return min(labels.query_size, labels.budget - round_number * labels.query_size)

    def _evaluate(
        self, fitted: FitResult, epochs: npt.NDArray[np.int64], round_number: int
    ) -> tuple[list[dict[str, float]], npt.NDArray[np.float64]]:
        columns, predictions = [], []
        for place, seed in enumerate(self._spec.seeds):
            normal = random_stream(seed, "evaluation_samples", round_number).standard_normal(
                (len(self._test_targets), _SAMPLES_OF_MODE), dtype=np.float32
            )
            metrics, prediction = evaluate(
                self._parameters(fitted.parameters, first := place * self._members),
                self._layout,
                self._test_features,
                self._test_targets,
                location=float(self._rows.location[place]),
                scale=float(self._rows.scale[place]),
                normal=normal,
            )
            metrics["validation_nll"] = float(fitted.validation_nll[first])
            if self._spec.labels.target_scale == "unit":
                unit = float(np.log(self._rows.spread[place]))
                metrics["nll_standardised"] = metrics["nll"] - unit
                metrics["validation_nll"] -= unit
            metrics["epochs"] = int(epochs[first])
            metrics["stopped_at"] = int(fitted.taken_epoch[first])
            columns.append(metrics)
            predictions.append(np.stack([getattr(prediction, name) for name in PREDICTION_COLUMNS]))
        return columns, np.stack(predictions)

    def _parameters(self, flat: Tensor, place: int) -> dict[str, Tensor]:
        return {name: view[0] for name, view in self._layout.views(flat[place : place + 1].clone()).items()}

    def _log(
        self,
        round_number: int,
        columns: list[dict[str, float]],
        started: float,
        after_fit: float,
        after_evaluation: float,
    ) -> None:
        # Wall times go to the tracker alone: the published tables must be the same bytes in every run.
        tracker = self._context.tracker
        tracker.log(
            "seconds",
            round_number,
            fit=round(after_fit - started, 4),
            evaluation=round(after_evaluation - after_fit, 4),
            query=round(time.perf_counter() - after_evaluation, 4),
        )
        for seed, row in zip(self._spec.seeds, columns, strict=True):
            tracker.log("rounds", round_number, seed=seed, **row)


def _member_seeds(seed: int, members: int) -> tuple[int, ...]:
    """Return the keys of the streams of a seed's networks; the first network has the seed's own."""
    others = random_stream(seed, "ensemble_members").integers(2**31, 2**62, size=members - 1)
    return (seed, *others.tolist())
