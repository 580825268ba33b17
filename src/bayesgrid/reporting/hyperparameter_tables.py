"""Which hyperparameters a search found best, beside the defaults and the configurations it was told to include."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesgrid.errors import ConfigurationError
from bayesgrid.reporting.agent_curves import LEVEL, interval_over_seeds
from bayesgrid.reporting.collect import RunRecord, cell_of_run, collect_configurations, variants
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.names import architecture_label, dataset_label, seeds_text, state_label
from bayesgrid.reporting.table import Cell, Section, Table, decimals_for, number_with_interval

__all__ = ["hyperparameter_table", "ranked_configurations"]

SHOWN = 5
"""Best configurations in the Markdown and LaTeX form; the others of the data are shown if they were not drawn."""

_CELL = ("dataset", "architecture", "variant")
_CONFIGURATION = ("configuration", "name", "origin", "learning_rate", "weight_decay", "dropout")
_REALS = (
    "validation_nll",
    "lower",
    "upper",
    "difference",
    "difference_lower",
    "difference_upper",
    "epochs",
)
_COUNTS = ("allowed", "diverged", "seeds")
_DATA_COLUMNS = [*_CELL, "rank", *_CONFIGURATION, *_REALS, *_COUNTS, "state"]


def hyperparameter_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return every configuration of each search, ranked by its mean validation NLL over seeds.

    Raises:
        ConfigurationError: for any option, the table has none; or if a run is no search.
        StateError: if a result file is missing or damaged.
    """
    if options:
        raise ConfigurationError("the table has no options", given=", ".join(options))
    finished = [run for run in runs if run.finished]
    ranked = ranked_configurations(finished) if finished else pd.DataFrame(columns=_DATA_COLUMNS)
    label = variants(runs)
    cells: dict[tuple[Any, ...], list[RunRecord]] = {}
    for run in runs:
        axes = cell_of_run(run)
        cells.setdefault((axes["dataset"], axes["architecture"], label[run.run_id]), []).append(run)
    rows: list[dict[str, Any]] = []
    sections = []
    for cell, members in cells.items():
        own = ranked[(ranked[list(_CELL)] == list(cell)).all(axis=1)]
        state = ", ".join(dict.fromkeys(run.state for run in members if not run.finished)) or "done"
        records = own.to_dict("records") or [dict(zip(_CELL, cell, strict=True)) | {"seeds": 0}]
        rows += [record | {"state": state} for record in records]
        sections.append(Section(_heading(cell, own, state), _shown(own)))
    integers = dict.fromkeys(("rank", "configuration", *_COUNTS), "Int64")
    reals = dict.fromkeys(("learning_rate", "weight_decay", "dropout", *_REALS), "float64")
    frame = pd.DataFrame(rows, columns=_DATA_COLUMNS).astype({**integers, **reals})
    notes = [
        f"Validation NLL: per standard deviation of the labelled targets, at the best weights; mean over random "
        f"subsets with its {LEVEL:.0%} interval (Student). Lower is better; the best mean is bold.",
        "Δ: minus the defaults of the study, paired by subset, with its interval.",
        "The best of many is chosen by these same numbers, so its mean is too low on average, and no interval allows "
        "for the choice.",
    ]
    if frame["diverged"].fillna(0).gt(0).any():
        notes.append("No mean where a fit diverged; such configurations rank last.")
    if frame.groupby(list(_CELL), dropna=False)["allowed"].nunique().gt(1).any():
        notes.append("Configurations that a cut of the halving dropped rank below all that it kept.")
    columns = (
        "Rank",
        "Configuration",
        "Learning rate",
        "Weight decay",
        "Dropout",
        "Validation NLL",
        "Δ defaults",
        "Epochs",
    )
    caption = f"Hyperparameters: the best {SHOWN} configurations, the defaults and those included"
    return Table(frame, columns, tuple(sections), caption, (*notes, *partial_notes(runs)))


def ranked_configurations(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the configurations of finished searches, best first within each data set, architecture and variant.

    Columns: the cell, ``rank`` from 1, the configuration's number, name, origin and values; ``validation_nll``, its
    mean over seeds, NaN if a fit diverged, with ``lower`` and ``upper``; ``difference`` to the study's defaults, paired
    by seed, with its ends; mean ``epochs``; epochs ``allowed``; fits that ``diverged``; ``seeds``.

    Raises:
        ConfigurationError: if a run is no search.
        StateError: if a result file is missing or damaged.
    """
    collected = collect_configurations(runs)
    rows: list[dict[str, Any]] = []
    for cell, own in collected.groupby(list(_CELL), sort=False):
        losses = own.pivot_table(index="configuration", columns="seed", values="validation_nll", dropna=False)
        defaults = losses.loc[own.loc[own["origin"] == "defaults", "configuration"].iloc[0]]
        records = []
        for number, members in own.groupby("configuration"):
            values = losses.loc[number]
            record = dict(zip(_CELL, cell, strict=True)) | {name: members[name].iloc[0] for name in _CONFIGURATION}
            record |= _interval(values, ("validation_nll", "lower", "upper"))
            record |= _interval(values - defaults, ("difference", "difference_lower", "difference_upper"))
            if record["origin"] == "defaults":
                record |= dict.fromkeys(("difference_lower", "difference_upper"), math.nan)
            record["epochs"] = members["epochs"].mean()
            # Seeds of several runs are cut by themselves; the shortest fit says how far the comparison goes.
            record["allowed"] = members["allowed"].min()
            record["diverged"] = int(values.isna().sum())
            record["seeds"] = len(values)
            records.append(record)
        records.sort(key=lambda r: (-r["allowed"], math.isnan(r["validation_nll"]), r["validation_nll"]))
        rows += [record | {"rank": rank} for rank, record in enumerate(records, start=1)]
    return pd.DataFrame(rows, columns=[name for name in _DATA_COLUMNS if name != "state"])


def _interval(values: "pd.Series[float]", names: tuple[str, str, str]) -> dict[str, float]:
    array = values.to_numpy(dtype=np.float64)
    if not np.isfinite(array).all():
        return dict.fromkeys(names, math.nan)
    interval = interval_over_seeds(array)
    return dict(zip(names, (interval.estimate, interval.lower, interval.upper), strict=True))


def _shown(own: pd.DataFrame) -> tuple[tuple[Cell, ...], ...]:
    chosen = own[(own["rank"] <= SHOWN) | (own["origin"] != "drawn")]
    halves = (chosen["upper"] - chosen["lower"]) / 2
    further = (chosen["difference_upper"] - chosen["difference_lower"]) / 2
    decimals = decimals_for([*halves.tolist(), *further.tolist()])
    rows = []
    for row in chosen.itertuples(index=False):
        texts = (
            str(row.rank),
            f"drawn {row.name}" if row.origin == "drawn" else str(row.name),
            f"{row.learning_rate:.3g}",
            f"{row.weight_decay:.3g}",
            f"{row.dropout:.3g}",
            number_with_interval(row.validation_nll, row.lower, row.upper, decimals),
            ""
            if row.origin == "defaults"
            else number_with_interval(row.difference, row.difference_lower, row.difference_upper, decimals),
            f"{row.epochs:.0f}",
        )
        rows.append(tuple(Cell(text, best=place == 5 and row.rank == 1) for place, text in enumerate(texts)))
    return tuple(rows)


def _heading(cell: tuple[Any, ...], own: pd.DataFrame, state: str) -> str:
    dataset, architecture, variant = cell
    parts = [dataset_label(dataset), architecture_label(architecture), variant]
    if len(own):
        parts += [f"{len(own)} configurations", seeds_text(own["seeds"])]
    if state != "done":
        parts.append(", ".join(map(state_label, state.split(", "))))
    return " · ".join(part for part in parts if part)
