"""Run folders in, one tidy frame out: what each run published, beside the axes that tell the runs apart."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.grid.parameters import flatten
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.reporting.source_texts import SourceTexts

__all__ = [
    "GROUP_COLUMNS",
    "RunRecord",
    "buys_no_labels",
    "cell_of_run",
    "collect_configurations",
    "collect_manifests",
    "collect_metrics",
    "collect_rounds",
    "count_test_rows",
    "final_scores",
    "require_searches",
    "variants",
]

GROUP_COLUMNS = ("dataset", "architecture", "query_size", "variant")
"""Agents are compared, and paired by seed, within one combination of these."""

SEARCH_STUDY = "regression_search"
"""The study whose predictions are one line per configuration and seed."""
_SEARCH_COLUMNS = (
    "seed",
    "configuration",
    "name",
    "origin",
    "learning_rate",
    "weight_decay",
    "dropout",
    "validation_nll",
    "epochs",
    "allowed",
)

_USUAL = {"labels.split": "random", "mode": "corrected", "posterior.sampler": "dropout"}
"""Keys that a reader must know of wherever they have another value, whether or not the runs of a table differ in them.
"""

_REMEDY = "delete the file and start the workflow again: it is published anew from the run's state, or computed again"


@dataclass(frozen=True)
class RunRecord:
    """One planned run: what was asked for, who asks, and where its results are or will be."""

    run_id: str
    study: str
    spec: Mapping[str, Any]
    """The full specification as plain data, defaults included."""
    folder: Path
    """``results/runs/<study>/<run>``."""
    experiments: tuple[str, ...] = ()
    state: str = "done"
    """``done``, ``pending``, ``running``, ``interrupted``, ``waiting``, ``failed:<kind>`` or ``excluded``."""
    fits: tuple[Path, ...] = ()
    """Published folders of the run it builds on, of what that one builds on, and so forth."""
    sources: SourceTexts = field(default_factory=dict)
    """What is printed of models and data sets; those that are not there are printed by their names."""

    def __post_init__(self) -> None:
        known = {"done", "pending", "running", "interrupted", "waiting", "excluded", "failed"}
        if self.state.partition(":")[0] not in known:
            raise ConfigurationError(
                "unknown state of a run",
                where=self.run_id,
                given=self.state,
                allowed="done, pending, running, interrupted, waiting, failed:<kind>, excluded",
            )

    @property
    def finished(self) -> bool:
        """Return whether the results can be read."""
        return self.state == "done"


def cell_of_run(run: RunRecord) -> dict[str, Any]:
    """Return the axes that a reader looks runs up by: dataset, architecture, agent and query size (None if unused)."""
    flat = flatten(run.spec)
    return {
        "dataset": flat.get("dataset"),
        "architecture": flat.get("architecture"),
        "query_size": flat.get("labels.query_size"),
        "agent": flat.get("agent"),
    }


def buys_no_labels(run: RunRecord) -> bool:
    """Return whether the run fits once, to the labels it starts with: an upper bound when these are all labels."""
    return flatten(run.spec).get("labels.budget") == 0


def variants(runs: Sequence[RunRecord], *, apart_from: Sequence[str] = ()) -> dict[str, str]:
    """Return for each run id the hyperparameters that tell it from runs of the same cell, as ``key=value, ...``.

    Empty when the cell's axes tell all runs apart, as in most experiments; an ablation of, say, the warm start gives
    ``training.warm_start=continue``. ``mode`` is named wherever runs differ in it, in one cell or not, and stands for
    all the values it brings along. Runs that buy no labels are told apart among themselves.

    A split that is not random, a mode that is not corrected and draws that are not dropout masks are always named, even
    if all runs have them: they change what every number is about.

    Args:
        runs: the runs of one table.
        apart_from: dotted keys that the table has as axes of its own, and so does not name here.
    """
    flat = {run.run_id: {k: v for k, v in flatten(run.spec).items() if k != "seeds"} for run in runs}
    by_cell: dict[tuple[Any, ...], list[str]] = {}
    for run in runs:
        axes = [flat[run.run_id].get(key) for key in ("mode", *apart_from)]
        cell = (run.study, buys_no_labels(run), *cell_of_run(run).values(), *map(str, axes))
        by_cell.setdefault(cell, []).append(run.run_id)
    varying = {
        key
        for members in by_cell.values()
        for key in flat[members[0]]
        if any(flat[member].get(key) != flat[members[0]][key] for member in members[1:])
    }
    if len({str(parameters.get("mode")) for parameters in flat.values()}) > 1:
        varying.add("mode")
    labels = {}
    for identity, parameters in flat.items():
        named = varying | {key for key, usual in _USUAL.items() if parameters.get(key, usual) != usual}
        if parameters.get("labels.split") == "published":
            named.add("labels.published_split")
        shown = sorted(key for key in named - set(apart_from) if key in parameters)
        labels[identity] = ", ".join(f"{key}={parameters[key]}" for key in shown)
    return labels


def collect_rounds(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return ``rounds.parquet`` of all runs as one frame, in the order given, behind the columns of their cell.

    Raises:
        StateError: if a file is missing or damaged, or lacks the columns ``seed`` and ``labelled``.
        ConfigurationError: if two runs of one cell hold the same seed.
    """
    frame = _collect(runs, "rounds.parquet", ("seed", "labelled"))
    keys = [*GROUP_COLUMNS, "agent", "seed", "labelled"]
    # A fit to all labels at once may end where a curve does.
    single = frame["run_id"].isin([run.run_id for run in runs if buys_no_labels(run)])
    twice = frame.assign(single=single).duplicated([*keys, "single"], keep=False)
    if twice.any():
        first = frame[twice].iloc[0]
        same = frame[twice & (frame["seed"] == first["seed"]) & (frame["agent"] == first["agent"])]
        raise ConfigurationError(
            f"seed {first['seed']} of agent {first['agent']!r} on {first['dataset']!r} is in the table twice",
            given=", ".join(dict.fromkeys(same["run_id"])),
            allowed="each seed of a cell once",
            remedy="use the same seed blocks in all experiments that feed the table",
        )
    return frame


def collect_metrics(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return ``metrics.parquet`` of all runs as one frame, in the order given, behind the columns of their cell.

    Raises:
        StateError: if a file is missing or damaged, or lacks a column of the tidy schema.
    """
    return _collect(runs, "metrics.parquet", ("seed", "split", "metric", "value"))


def collect_configurations(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the evaluated configurations of all hyperparameter searches in ``runs``, behind the columns of their cell.

    Raises:
        ConfigurationError: if a run is no search.
        StateError: if a file is missing or damaged.
    """
    require_searches(runs)
    return _collect(runs, "predictions.parquet", _SEARCH_COLUMNS)


def require_searches(runs: Sequence[RunRecord]) -> None:
    """Raise ConfigurationError if one of ``runs`` is no hyperparameter search."""
    others = [run for run in runs if run.study != SEARCH_STUDY]
    if others:
        raise ConfigurationError(
            "the run is no hyperparameter search",
            where=others[0].run_id,
            given=f"study {others[0].study}",
            allowed=f"study {SEARCH_STUDY}",
        )


def collect_manifests(runs: Sequence[RunRecord]) -> dict[str, dict[str, Any]]:
    """Return ``manifest.json`` of every run by run id.

    Raises:
        StateError: if a file is missing or not a JSON object.
    """
    manifests: dict[str, dict[str, Any]] = {}
    for run in runs:
        path = run.folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StateError("the run's manifest is missing", where=str(path), remedy=_REMEDY) from None
        except (OSError, ValueError) as error:
            raise StateError(f"the run's manifest is damaged: {error}", where=str(path), remedy=_REMEDY) from None
        if not isinstance(manifest, dict):
            raise StateError("the run's manifest is not a JSON object", where=str(path), remedy=_REMEDY)
        manifests[run.run_id] = manifest
    return manifests


def count_test_rows(run: RunRecord) -> int:
    """Return how many test rows the predictions of ``run`` cover.

    Raises:
        StateError: if the file is missing, damaged or does not name its rows.
    """
    return len(_read(run.folder / "predictions.parquet", ["row"], only=True).column("row").unique())


def final_scores(runs: Sequence[RunRecord], seeds: Sequence[int]) -> dict[str, FloatArray]:
    """Return the score of every seed on every test row after the last round, ``[S, N]`` for each metric.

    Negative log density (``nll``), ``crps`` and the absolute error of the median (``mae_median``); their means over a
    row of the array are the metrics of the last round.

    Args:
        runs: finished runs of one agent in one cell, which together hold the seeds.
        seeds: order of the rows.

    Raises:
        StateError: if a file is missing or damaged, or the seeds were not tested on the same rows.
    """
    columns = ["seed", "round", "row", "target", "log_density", "crps", "median"]
    frames = []
    for run in runs:
        frame = _read(run.folder / "predictions.parquet", columns, only=True).to_pandas()
        frames.append(frame[frame["round"] == frame["round"].max()])
    last = pd.concat(frames, ignore_index=True).set_index(["seed", "row"])
    scores = {
        "nll": -last["log_density"],
        "crps": last["crps"],
        "mae_median": (last["median"] - last["target"]).abs(),
    }
    arrays = {}
    for metric, values in scores.items():
        wide = values.unstack("row").reindex(list(seeds)).to_numpy(dtype=np.float64)  # noqa: PD010 (nothing is summed)
        if not np.isfinite(wide).all():
            raise StateError(
                f"the predictions after the last round have no finite {metric} for every seed and test row",
                where=", ".join(str(run.folder / "predictions.parquet") for run in runs),
                remedy=_REMEDY,
            )
        arrays[metric] = wide
    return arrays


def _collect(runs: Sequence[RunRecord], name: str, required: tuple[str, ...]) -> pd.DataFrame:
    label = variants(runs)
    frames = []
    for run in runs:
        path = run.folder / name
        frame = _read(path, required).to_pandas()
        cell = {"study": run.study, "run_id": run.run_id, **cell_of_run(run), "variant": label[run.run_id]}
        frames.append(pd.concat([pd.DataFrame(cell, index=frame.index), frame], axis=1))
    if not frames:
        raise StateError("no run to collect", allowed="at least one finished run")
    return pd.concat(frames, ignore_index=True)


def _read(path: Path, required: Sequence[str], *, only: bool = False) -> pa.Table:
    try:
        table = pq.ParquetFile(path)
        missing = [name for name in required if name not in table.schema_arrow.names]
        if not missing:
            return table.read(columns=list(required) if only else None)
    except FileNotFoundError:
        raise StateError("a result file is missing", where=str(path), remedy=_REMEDY) from None
    except (OSError, pa.ArrowException, ValueError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StateError(f"the Parquet file is damaged: {message}", where=str(path), remedy=_REMEDY) from None
    raise StateError(
        f"the file lacks the columns {', '.join(missing)}",
        where=str(path),
        given=", ".join(table.schema_arrow.names),
        remedy=_REMEDY,
    )
