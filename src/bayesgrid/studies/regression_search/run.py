"""The study's entry point: a spec and prepared data in, a table of configurations with their validation losses out."""

import numpy as np
import pandas as pd

from bayesgrid.data.regression_tables import RegressionTable, read_regression_table
from bayesgrid.store.execution import RunContext, RunInputs, RunResult
from bayesgrid.studies.regression_search.configurations import EvaluatedConfiguration
from bayesgrid.studies.regression_search.search import SearchHistory, run_search
from bayesgrid.studies.regression_search.spec import RegressionSearchSpec

__all__ = ["run", "run_on_table"]


def run(spec: RegressionSearchSpec, context: RunContext, inputs: RunInputs) -> RunResult:
    """Evaluate the configurations of ``spec`` on its prepared data set.

    Raises:
        DataError: if the data set is not prepared or was altered.
        Preempted: after a checkpoint, if the run was asked to stop.
    """
    table = read_regression_table(inputs.data, spec.dataset, inputs.data_versions[spec.dataset])
    return run_on_table(spec, table, context)


def run_on_table(spec: RegressionSearchSpec, table: RegressionTable, context: RunContext) -> RunResult:
    """Evaluate the configurations of ``spec`` on ``table``; see :func:`run`.

    ``predictions`` has one line per configuration and seed: its number, name and origin, its values, ``validation_nll``
    at the best weights (standardised targets; NaN if the fit diverged), the ``epochs`` run, those ``allowed``, and
    ``stopped_at``, the best epoch. ``metrics`` has for every seed the lowest validation NLL of a drawn configuration,
    that of the defaults, and how many fits diverged. No test row is read.
    """
    configurations, history = run_search(spec, table, context)
    evaluated = _evaluated(spec, configurations, history)
    return RunResult(metrics=_metrics(spec, evaluated), predictions=evaluated)


def _evaluated(
    spec: RegressionSearchSpec, configurations: list[EvaluatedConfiguration], history: SearchHistory
) -> pd.DataFrame:
    records = [
        {
            "seed": seed,
            "configuration": number,
            "name": own.name,
            "origin": own.origin,
            "learning_rate": own.learning_rate,
            "weight_decay": own.weight_decay,
            "dropout": own.dropout,
            "validation_nll": float(history.validation_nll[number, place]),
            "epochs": int(history.epochs[number, place]),
            "allowed": int(history.allowed[number, place]),
            "stopped_at": int(history.stopped_at[number, place]),
        }
        for place, seed in enumerate(spec.seeds)
        for number, own in enumerate(configurations)
    ]
    return pd.DataFrame.from_records(records)


def _metrics(spec: RegressionSearchSpec, evaluated: pd.DataFrame) -> pd.DataFrame:
    records = []
    for seed in spec.seeds:
        own = evaluated[evaluated["seed"] == seed]
        lowest = own.loc[own["origin"] == "drawn", "validation_nll"].min()
        defaults = own.loc[own["origin"] == "defaults", "validation_nll"].item()
        values = {
            "lowest_nll_standardised": lowest,
            "defaults_nll_standardised": defaults,
            "diverged_fits": float(own["validation_nll"].isna().sum()),
        }
        records += [(seed, "validation", name, value) for name, value in values.items() if np.isfinite(value)]
    return pd.DataFrame.from_records(records, columns=["seed", "split", "metric", "value"])
