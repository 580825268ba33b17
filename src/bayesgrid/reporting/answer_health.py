"""Whether the fits behind answers are to be trusted: what training and temperature scaling found wrong, by seed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from bayesgrid.errors import StateError
from bayesgrid.metrics.temperature import INVERSE_TEMPERATURE_BOUNDS
from bayesgrid.reporting.collect import RunRecord

__all__ = [
    "TEMPERATURE_AT_BOUND",
    "Findings",
    "few_labels_sentence",
    "finding_sentence",
    "findings_of_runs",
    "findings_text",
]

Findings = Mapping[str, tuple[int, ...]]
"""Kind of finding to the seeds that have it; a healthy fit has none."""

TEMPERATURE_AT_BOUND = "temperature_at_bound"
"""Concerns scaled logits alone."""

_LOWEST, _HIGHEST = INVERSE_TEMPERATURE_BOUNDS
_SENTENCES = {
    "collapsed": "Collapsed: the training loss ended at that of a uniform guess",
    "parent_collapsed": "The fit that it starts from collapsed: its loss ended at that of a uniform guess",
    "width_is_data_free": "The posterior is as wide as the objective alone makes it, without any data",
    TEMPERATURE_AT_BOUND: f"The fitted inverse temperature is at an end of its search, {_LOWEST:g} or {_HIGHEST:g}",
    "unknown": "Whether the fit is healthy is not known, since its metrics are not there",
}
_PHRASES = {
    "collapsed": "collapsed to chance",
    "parent_collapsed": "starts from a collapsed fit",
    "width_is_data_free": "width set without data",
    TEMPERATURE_AT_BOUND: "temperature at its bound",
    "unknown": "health not known",
}
_NEAR = 1.001
"""The search ends this close to a bound, as a ratio, when it wants to go beyond."""
_FEW = 30
"""A temperature that rests on fewer labels is little more than a guess."""
_COLUMNS = ("seed", "split", "metric", "value")


def findings_of_runs(runs: Iterable[RunRecord]) -> dict[str, tuple[int, ...]]:
    """Return what is wrong with the fits of finished evaluations ``runs``, in a fixed order of kinds.

    Of the fit itself counts whether it collapsed and whether its width is free of data; of fits that it starts from,
    whether they collapsed.

    Raises:
        StateError: if a metrics file is damaged.
    """
    found: dict[str, set[int]] = {}
    for run in runs:
        seeds = {int(seed) for seed in run.spec.get("seeds", ())}
        for kind, own in _of_fits(run.fits, seeds):
            found.setdefault(kind, set()).update(own & seeds)
        inverse = _values(run.folder, "test").get("inverse_temperature", {})
        at_bound = {s for s, t in inverse.items() if t <= _LOWEST * _NEAR or t >= _HIGHEST / _NEAR}
        found.setdefault(TEMPERATURE_AT_BOUND, set()).update(at_bound)
    return {kind: tuple(sorted(found[kind])) for kind in _SENTENCES if found.get(kind)}


def finding_sentence(kind: str, seeds: Sequence[int], count: int) -> str:
    """Return what a finding says, for the line below a table, without a full stop.

    Args:
        kind: of the finding.
        seeds: those that have it.
        count: number of all seeds.
    """
    return f"{_SENTENCES[kind]}, in {_share(seeds, count)} ({', '.join(map(str, seeds))})"


def findings_text(findings: Findings, count: int) -> str:
    """Return all findings in short, such as ``collapsed to chance in 2 of 4 seeds``; empty if there is none."""
    return ", ".join(f"{_PHRASES[kind]} in {_share(seeds, count)}" for kind, seeds in findings.items())


def few_labels_sentence(runs: Iterable[RunRecord]) -> str:
    """Return, without a full stop, how many held-out labels the temperatures rest on if some are few; else nothing."""
    counts = {count for run in runs for count in _held_out(run.folder / "predictions.parquet")}
    if not counts or min(counts) >= _FEW:
        return ""
    shown = str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"The temperature rests on {shown} held-out label{'s' if shown != '1' else ''} alone"


def _share(seeds: Sequence[int], count: int) -> str:
    return f"{len(seeds)} of {count} seed{'s' if count != 1 else ''}"


def _of_fits(fits: Sequence[Path], seeds: set[int]) -> Iterable[tuple[str, set[int]]]:
    for place, folder in enumerate(fits):
        if not (folder / "metrics.parquet").is_file():
            yield "unknown", seeds
            continue
        values = _values(folder, "train")
        # Of an ensemble, width_is_data_free is a mean over its members.
        flagged = {
            name: {seed for seed, value in values.get(name, {}).items() if value > 0}
            for name in ("collapsed", "width_is_data_free")
        }
        if place:
            yield "parent_collapsed", flagged["collapsed"]
        else:
            yield from flagged.items()


def _held_out(path: Path) -> set[int]:
    """Return how many held-out labels the seeds of an evaluation answered; none where none are published."""
    try:
        frame = pd.read_parquet(path, columns=["seed", "split", "example"], filters=[("split", "==", "validation")])
    except (OSError, pa.ArrowException, ValueError, KeyError):
        # Whoever shows the predictions says what is wrong with the file.
        return set()
    return {int(count) for count in frame.groupby("seed")["example"].nunique()}


def _values(folder: Path, split: str) -> dict[str, dict[int, float]]:
    """Return the metrics of a split by name, then by seed; none where a run, such as a round's, publishes none."""
    path = folder / "metrics.parquet"
    try:
        frame = pd.read_parquet(path, columns=list(_COLUMNS))
    except FileNotFoundError:
        return {}
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StateError(
            f"the Parquet file is damaged: {message}",
            where=str(path),
            allowed=f"the columns {', '.join(_COLUMNS)}",
            remedy="delete the file and start the workflow again: it is published anew from the run's state",
        ) from None
    own = frame[frame["split"] == split]
    found: dict[str, dict[int, float]] = {}
    for seed, metric, value in zip(own["seed"], own["metric"], own["value"], strict=True):
        found.setdefault(str(metric), {})[int(seed)] = float(value)
    return found
