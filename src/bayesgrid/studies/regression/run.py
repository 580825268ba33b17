"""The study's entry point: a spec and prepared data in, tables of metrics, predictions and rounds out."""

import logging

import numpy as np
import pandas as pd

from bayesgrid.data.leakage import Leak
from bayesgrid.data.regression_tables import RegressionTable, read_regression_table
from bayesgrid.metrics.learning_curve import area_under_curve
from bayesgrid.store.execution import RunContext, RunInputs, RunResult
from bayesgrid.studies.regression.evaluation import TEST_METRICS
from bayesgrid.studies.regression.label_choice import DIAGNOSTIC_COLUMNS
from bayesgrid.studies.regression.labelled_rows import BlockRows, leaks_of_test_split
from bayesgrid.studies.regression.loop import COLUMNS, PREDICTION_COLUMNS, LoopHistory, evaluated_rounds, run_loop
from bayesgrid.studies.regression.spec import RegressionSpec

__all__ = ["run", "run_on_table"]

_logger = logging.getLogger(__name__)

_COUNTS = ("epochs", "stopped_at")
_AREA_METRICS = ("nll", "crps", "mae_median", "mae_mode64", "rmse_mean")
_PUBLISHED_PREDICTIONS = {
    "log_density": "log_density",
    "crps": "crps",
    "median": "median",
    "mean": "mean",
    "standard_deviation": "standard_deviation",
    "probability_integral": "pit",
}


def run(spec: RegressionSpec, context: RunContext, inputs: RunInputs) -> RunResult:
    """Run the active-learning loop of ``spec`` on its prepared data set.

    Raises:
        DataError: if the data set is not prepared or was altered.
        NumericalError: if a fit diverges, naming the seed.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    table = read_regression_table(inputs.data, spec.dataset, inputs.data_versions[spec.dataset])
    return run_on_table(spec, table, context)


def run_on_table(spec: RegressionSpec, table: RegressionTable, context: RunContext) -> RunResult:
    """Run the active-learning loop of ``spec`` on ``table``; see :func:`run`.

    ``rounds`` has one line per round and seed: the number of labels, the metrics of
    :data:`~bayesgrid.studies.regression.evaluation.TEST_METRICS`, ``validation_nll`` (standardised targets), ``epochs``
    run, ``stopped_at`` (the best epoch), the rows ``chosen`` after the round, and the spread of the agent's scores.
    ``metrics`` has the values of the last round, the areas under the curves divided by the budget (``area_*``), and
    what the test split leaks (``leaked_*``, in rows).
    ``predictions`` has every test row after the first and the last fit, for targets scaled to [0, 1].
    """
    leak = leaks_of_test_split(table, spec.labels)
    if leak.equal_features or leak.shared_groups:
        _logger.warning(
            "%s: of the test rows, %d equal a training row in all features and %d share a group with one",
            table.name,
            leak.equal_features,
            leak.rows_of_shared_groups,
        )
    rows, history = run_loop(spec, table, context)
    rounds = _rounds(spec, history)
    return RunResult(metrics=_metrics(spec, rounds, leak), predictions=_predictions(spec, rows, history), rounds=rounds)


def _rounds(spec: RegressionSpec, history: LoopHistory) -> pd.DataFrame:
    labels = spec.labels
    initial = history.labelled.shape[1] - labels.budget
    records = []
    rounds = evaluated_rounds(spec)
    for round_number, following in zip(rounds, [*rounds[1:], rounds[-1]], strict=True):
        labelled = initial + min(round_number * labels.query_size, labels.budget)
        later = initial + min(following * labels.query_size, labels.budget)
        for place, seed in enumerate(spec.seeds):
            values = dict(zip(COLUMNS, history.measured[round_number, place].tolist(), strict=True))
            if not spec.evaluation.diagnostics:
                values = {name: value for name, value in values.items() if name not in DIAGNOSTIC_COLUMNS}
            counts = {name: int(values[name]) for name in _COUNTS}
            chosen = history.labelled[place, labelled:later].tolist()
            records.append(
                {"seed": seed, "round": round_number, "labelled": labelled, **values, **counts, "chosen": chosen}
            )
    return pd.DataFrame.from_records(records)


def _metrics(spec: RegressionSpec, rounds: pd.DataFrame, leak: Leak) -> pd.DataFrame:
    records = []
    for seed in spec.seeds:
        own = rounds[rounds["seed"] == seed]
        last = own.iloc[-1]
        records += [(seed, "test", name, float(last[name])) for name in TEST_METRICS]
        records.append((seed, "validation", "nll_standardised", float(last["validation_nll"])))
        for name in _AREA_METRICS if len(own) > 1 else ():
            area = float(area_under_curve(own["labelled"].to_numpy(), own[name].to_numpy()))
            records.append((seed, "test", f"area_{name}", area))
        records.append((seed, "test", "leaked_equal_rows", float(leak.equal_features)))
        records.append((seed, "test", "leaked_rows_of_shared_groups", float(leak.rows_of_shared_groups)))
    return pd.DataFrame.from_records(records, columns=["seed", "split", "metric", "value"])


def _predictions(spec: RegressionSpec, rows: BlockRows, history: LoopHistory) -> pd.DataFrame:
    frames = []
    for round_number, fields in sorted(history.predictions.items()):
        for place, seed in enumerate(spec.seeds):
            frame = {
                "seed": np.full(len(rows.test), seed, dtype=np.int64),
                "round": np.full(len(rows.test), round_number, dtype=np.int64),
                "row": rows.test,
                "target": rows.targets[rows.test],
            }
            for index, field in enumerate(PREDICTION_COLUMNS):
                if field in _PUBLISHED_PREDICTIONS:
                    frame[_PUBLISHED_PREDICTIONS[field]] = fields[place, index]
            frames.append(pd.DataFrame(frame))
    return pd.concat(frames, ignore_index=True)
