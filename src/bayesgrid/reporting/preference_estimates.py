"""Metrics of preference models after their last round, with intervals over seeds and tested pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bayesgrid.errors import StateError
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.metrics.crossed_bootstrap import crossed_estimate, resampled_statistics
from bayesgrid.metrics.preference_statistics import preference_statistics
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL, interval_over_seeds
from bayesgrid.reporting.answer_intervals import CUT_NOTE, within_range
from bayesgrid.reporting.preference_runs import RuleRuns

__all__ = ["PAIRS_NOTE", "RowEstimates", "row_estimates"]

PAIRS_NOTE = (
    "±: half-width of the 95 % interval of the mean over seeds, for new seeds and new pairs (crossed bootstrap, "
    "Student's t; pairs of one prompt are drawn together, those of a set with a single prompt one by one). Metrics "
    "that no stored prediction gives have intervals over seeds alone. " + CUT_NOTE
)
TEST = "test"
_COLUMNS = ("seed", "round", "pair", "prompt", "first_preferred", "probability")
_REMEDY = "delete the file and start the workflow again: it is published anew from the run's state, or computed again"


@dataclass(frozen=True)
class RowEstimates:
    """What one row reaches on one evaluation set."""

    intervals: dict[str, Interval]
    """By metric; metrics that are not known are left out."""
    seeds: int
    pairs: int
    """0 if the predictions are not stored."""


def row_estimates(row: RuleRuns, metrics: Sequence[str], split: str, *, replicates: int) -> RowEstimates | None:
    """Return the metrics of the last round of the finished runs of ``row``; None if none is finished.

    Args:
        row: the runs, which together hold the seeds.
        metrics: computed from predictions where these give them, else as published.
        split: ``test``, or the name of a further evaluation set.
        replicates: resamples of the pairs.

    Raises:
        StateError: if a file is missing or damaged, or seeds were tested on other pairs.
    """
    if not row.finished:
        return None
    predicted = _last_predictions(row, split)
    intervals: dict[str, Interval] = {}
    seeds = pairs = 0
    if predicted is not None and len(predicted.columns) > 1:
        seeds, pairs = len(predicted), len(predicted.columns)
        intervals = _resampled(predicted, metrics, replicates)
    for metric in metrics:
        values = row.published(metric, split)
        if metric not in intervals and values.size:
            intervals[metric] = within_range(metric, interval_over_seeds(values))
            seeds = max(seeds, values.size)
    return RowEstimates(intervals, seeds, pairs)


def _resampled(predicted: pd.DataFrame, metrics: Sequence[str], replicates: int) -> dict[str, Interval]:
    target = predicted.attrs["target"]
    by_seed = [preference_statistics(values, target) for values in predicted.to_numpy(dtype=np.float64)]
    wanted = [metric for metric in metrics if all(metric in own for own in by_seed)]
    if not wanted:
        return {}
    prompts = predicted.attrs["prompt"]
    found = resampled_statistics(
        {metric: [own[metric] for own in by_seed] for metric in wanted},
        [len(target)],
        generator=random_stream(0, "table_pairs"),
        replicates=replicates,
        groups=prompts if len(set(prompts)) > 1 else None,
    )
    return {
        metric: within_range(
            metric, crossed_estimate(own, generator=random_stream(0, "table_seeds"), level=LEVEL).interval
        )
        for metric, own in found.items()
    }


def _last_predictions(row: RuleRuns, split: str) -> pd.DataFrame | None:
    """Return the probabilities of the last round, seeds by pairs; ``attrs`` has the target and prompt of each pair."""
    frames = [_read(run.folder / "predictions.parquet", split) for run in row.finished]
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        return None
    last = frame[frame["round"] == frame["round"].max()]
    where = ", ".join(run.run_id for run in row.finished)
    wide = last.pivot_table(index="seed", columns="pair", values="probability", sort=False)
    known = last.drop_duplicates("pair").set_index("pair").loc[wide.columns]
    if wide.isna().to_numpy().any() or len(last.drop_duplicates(["pair", "first_preferred"])) > len(known):
        raise StateError("seeds were tested on other pairs, or with other labels", where=where, remedy=_REMEDY)
    wide.attrs = {
        "target": known["first_preferred"].to_numpy(dtype=np.float64),
        "prompt": tuple(known["prompt"].astype(str)),
    }
    return wide


def _read(path: Path, split: str) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise StateError("a result file is missing", where=str(path), remedy=_REMEDY) from None
    except (OSError, ValueError) as error:
        raise StateError(f"the Parquet file is damaged: {error}", where=str(path), remedy=_REMEDY) from None
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise StateError(
            f"the file lacks the columns {', '.join(missing)}",
            where=str(path),
            given=", ".join(map(str, frame.columns)),
            remedy=_REMEDY,
        )
    # A file without the column has the test pairs alone.
    splits = frame["split"] if "split" in frame.columns else pd.Series(TEST, index=frame.index)
    return frame.loc[splits == split, list(_COLUMNS)]
