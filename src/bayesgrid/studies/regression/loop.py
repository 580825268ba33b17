"""The active-learning loop: all seeds of a block fit, are evaluated and buy labels in lockstep, one checkpoint a round.

Round r has ``initial + r * query_size`` labels (at most ``initial + budget``); the last round buys none. Every draw is
keyed by (seed, role, round), so a loop that was interrupted and resumed gives the same bits as one that was not, and a
seed the same bits in any block.

Source: BALSA (arXiv 2501.01248), section 3; one refit per query, where the reference refits after every single label.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from bayesgrid.acquisition.predictive_draws import PredictiveDraws
from bayesgrid.data.regression_tables import RegressionTable
from bayesgrid.random_streams import random_stream
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.regression.agents import build_agent
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.evaluation import TEST_METRICS, evaluate
from bayesgrid.studies.regression.labelled_rows import BlockRows, block_rows
from bayesgrid.studies.regression.models.exact_prediction import ExactPrediction
from bayesgrid.studies.regression.models.layout import ParameterLayout, network_layout
from bayesgrid.studies.regression.models.posterior import encode, posterior_draws, posterior_masks
from bayesgrid.studies.regression.spec import RegressionSpec
from bayesgrid.studies.regression.training import FitResult, FitSettings, fit, starting_parameters

__all__ = ["COLUMNS", "PREDICTION_COLUMNS", "LoopHistory", "round_count", "run_loop"]

_SAMPLES_OF_MODE = 64
_FIT_COLUMNS = ("validation_nll", "epochs", "stopped_at")
_SCORE_COLUMNS = ("score_min", "score_median", "score_max", "score_ties", "score_nonfinite")
COLUMNS = (*TEST_METRICS, *_FIT_COLUMNS, *_SCORE_COLUMNS)
"""Numbers of one round and seed, in the order of :attr:`LoopHistory.measured`."""
PREDICTION_COLUMNS = tuple(field.name for field in fields(ExactPrediction))
"""Numbers of one prediction, in the order of :attr:`LoopHistory.predictions`."""


@dataclass
class LoopHistory:
    """What the rounds so far have given for S seeds, R rounds and m test rows.

    Args:
        labelled: `[S, k]`, labelled rows in the order they were bought, the initial ones first.
        measured: `[R, S, columns]`, the columns of ``COLUMNS``; NaN where a round or agent has no such value.
        parameters: `[S, P]`, the last weights, or None before the first fit.
        predictions: for the first and the last round, `[S, 8, m]` with the fields of ``ExactPrediction``, for targets
            scaled to [0, 1].
    """

    labelled: npt.NDArray[np.int64]
    measured: npt.NDArray[np.float64]
    parameters: Tensor | None
    predictions: dict[int, npt.NDArray[np.float64]]

    @property
    def completed(self) -> int:
        """Rounds done."""
        return len(self.measured)


def round_count(budget: int, query_size: int) -> int:
    """Return how often the network is fitted: once for the initial labels and once after every query."""
    return 1 + -(-budget // query_size)


def run_loop(spec: RegressionSpec, table: RegressionTable, context: RunContext) -> tuple[BlockRows, LoopHistory]:
    """Run all rounds, from the newest checkpoint on if there is one, and return the rows' roles and the history.

    Raises:
        NumericalError: if a fit diverges, naming the seed.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    with _one_thread():
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
        network = spec.network
        self._layout: ParameterLayout = network_layout(
            rows.features.shape[1],
            architecture=spec.architecture,
            hidden=network.hidden,
            head_hidden=network.head_hidden,
            bins=network.bins,
            transforms=network.transforms,
            rectified=network.activation == "relu",
        )
        self._settings = FitSettings(**spec.training.model_dump(exclude={"warm_start"}))
        self._test_features = rows.features[rows.test]
        self._test_targets = rows.targets[rows.test]

    def restored(self) -> LoopHistory:
        """Return the history of the newest checkpoint, or an empty one."""
        checkpoint = self._context.checkpoints.latest()
        if checkpoint is None:
            return LoopHistory(self._rows.initial, np.empty((0, len(self._spec.seeds), len(COLUMNS))), None, {})
        arrays = checkpoint.arrays
        return LoopHistory(
            labelled=arrays["labelled"],
            measured=arrays["measured"],
            parameters=torch.from_numpy(arrays["parameters"]),
            predictions={int(number): arrays[f"predictions.{number}"] for number in checkpoint.metadata["predicted"]},
        )

    def save(self, history: LoopHistory) -> None:
        """Write a checkpoint of everything that later rounds and the results need."""
        arrays = {"labelled": history.labelled, "measured": history.measured}
        arrays |= {f"predictions.{number}": array for number, array in history.predictions.items()}
        if history.parameters is not None:
            arrays["parameters"] = history.parameters.numpy()
        self._context.checkpoints.save(history.completed, arrays, {"predicted": sorted(history.predictions)})

    def play(self, history: LoopHistory, round_number: int, rounds: int) -> LoopHistory:
        """Fit, evaluate and, unless this is the last round, buy labels."""
        spec, seeds = self._spec, self._spec.seeds
        started = time.perf_counter()
        start = starting_parameters(self._layout, seeds, round_number, history.parameters, spec.training.warm_start)
        block = self._rows.labelled_block(history.labelled)
        fitted = fit(start, self._layout, block, seeds, round_number, self._settings)
        after_fit = time.perf_counter()
        columns, predictions = self._evaluate(fitted, round_number)
        after_evaluation = time.perf_counter()
        labelled, last = history.labelled, round_number + 1 == rounds
        if not last:
            bought = []
            for place in range(len(seeds)):
                chosen, scores = self._query(place, labelled[place], fitted.parameters, round_number)
                columns[place] |= scores
                bought.append(chosen)
            labelled = np.concatenate([labelled, np.stack(bought)], axis=1)
        self._log(round_number, columns, started, after_fit, after_evaluation)
        measured = np.array([[row.get(name, np.nan) for name in COLUMNS] for row in columns])
        kept = dict(history.predictions)
        if round_number == 0 or last:
            kept[round_number] = predictions
        return LoopHistory(labelled, np.concatenate([history.measured, measured[None]]), fitted.parameters, kept)

    def _evaluate(self, fitted: FitResult, round_number: int) -> tuple[list[dict[str, float]], npt.NDArray[np.float64]]:
        columns, predictions = [], []
        for place, seed in enumerate(self._spec.seeds):
            normal = random_stream(seed, "evaluation_samples", round_number).standard_normal(
                (len(self._test_targets), _SAMPLES_OF_MODE), dtype=np.float32
            )
            metrics, prediction = evaluate(
                self._parameters(fitted.parameters, place),
                self._layout,
                self._test_features,
                self._test_targets,
                location=float(self._rows.location[place]),
                scale=float(self._rows.scale[place]),
                normal=normal,
            )
            metrics["validation_nll"] = float(fitted.validation_nll[place])
            metrics["epochs"] = int(fitted.epochs[place])
            metrics["stopped_at"] = int(fitted.best_epoch[place])
            columns.append(metrics)
            predictions.append(np.stack([getattr(prediction, name) for name in PREDICTION_COLUMNS]))
        return columns, np.stack(predictions)

    def _parameters(self, flat: Tensor, place: int) -> dict[str, Tensor]:
        return {name: view[0] for name, view in self._layout.views(flat[place : place + 1].clone()).items()}

    def _query(
        self, place: int, labelled: npt.NDArray[np.int64], flat: Tensor, round_number: int
    ) -> tuple[npt.NDArray[np.int64], dict[str, float]]:
        """Return the rows that one seed buys and what is to be reported about the scores."""
        spec, seed = self._spec, self._spec.seeds[place]
        pool = self._rows.pool(place, labelled)
        candidates = pool
        if len(pool) > spec.labels.candidates:
            stream = random_stream(seed, "candidates", round_number)
            candidates = np.sort(stream.choice(pool, spec.labels.candidates, replace=False))
        parameters = self._parameters(flat, place)
        features, features_labelled = self._rows.features[candidates], self._rows.features[labelled]
        posterior = spec.posterior

        def draws() -> PredictiveDraws:
            masks = posterior_masks(self._layout, seed, round_number, posterior.draws, posterior.dropout)
            return posterior_draws(parameters, self._layout, features, masks)

        def embeddings() -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
            return encode(parameters, self._layout, features), encode(parameters, self._layout, features_labelled)

        bought = len(labelled) - spec.labels.initial
        query_size = min(spec.labels.query_size, spec.labels.budget - bought)
        selection = self._agent(
            Query(
                features_candidates=features,
                candidate_ids=candidates,
                features_labelled=features_labelled,
                query_size=query_size,
                rng=random_stream(seed, "agent", round_number),
                draws=draws,
                embeddings=embeddings,
            )
        )
        return candidates[selection.chosen], _score_summary(selection)

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


def _score_summary(selection: Selection) -> dict[str, float]:
    """Return the spread of the finite scores, how many of them repeat another one, and how many are not finite."""
    summary = {"score_nonfinite": float(selection.nonfinite)}
    if selection.scores is None:
        return summary
    finite = selection.scores[np.isfinite(selection.scores)]
    if len(finite) == 0:
        return summary
    return summary | {
        "score_min": float(finite.min()),
        "score_median": float(np.median(finite)),
        "score_max": float(finite.max()),
        "score_ties": float(len(finite) - len(np.unique(finite))),
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    # Matrix products split over threads add up in another order, and another machine has another number of threads.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # Weight decay drives the weights of dead units below 1e-38, where a processor computes far more slowly.
    torch.set_flush_denormal(True)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
