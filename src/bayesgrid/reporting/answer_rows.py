"""What all tables about answers have in common: tidy rows, their options, and cells of numbers with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bayesgrid.errors import ConfigurationError
from bayesgrid.metrics.answer_scores import ANSWER_STATISTICS
from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.reporting.answer_estimates import CellEstimates, Entry
from bayesgrid.reporting.answer_intervals import CUT_NOTE, decimals_of_difference, interval_text
from bayesgrid.reporting.answer_names import checked_answer_metrics
from bayesgrid.reporting.grouped_curves import checked_options
from bayesgrid.reporting.names import seeds_text
from bayesgrid.reporting.table import Cell, decimals_for

__all__ = [
    "INTERVAL_NOTE",
    "REPLICATES",
    "TEMPERATURE_NOTE",
    "answer_options",
    "cells_of_column",
    "entry_rows",
    "extent",
    "tidy_frame",
]

REPLICATES = 10_000
"""Resamples of the questions behind an interval, unless the option ``replicates`` says otherwise."""

INTERVAL_NOTE = (
    "±: half-width of the 95 % interval of the mean over seeds, for new seeds and new questions (crossed bootstrap, "
    "Student's t); of metrics that no prediction gives, such as times, over seeds alone. With one seed it is for new "
    "questions alone. Questions of one group, such as a picture or a passage, are drawn together. " + CUT_NOTE
)
TEMPERATURE_NOTE = (
    "+ temperature: logits multiplied by one number, fitted to the validation slice of the training split, which every "
    "method sets aside."
)

_COLUMNS = {
    "model": "str",
    "dataset": "str",
    "evaluation": "str",
    "method": "str",
    "variant": "str",
    "temperature": "boolean",
    "metric": "str",
    "quantity": "str",
    "estimate": "float64",
    "lower": "float64",
    "upper": "float64",
    "seeds": "Int64",
    "examples": "Int64",
    "state": "str",
    "unhealthy": "str",
    "model_label": "str",
    "dataset_label": "str",
    "evaluation_label": "str",
}


def answer_options(
    options: Mapping[str, Any], defaults: Mapping[str, Any], *, metrics: Sequence[str] = tuple(ANSWER_STATISTICS)
) -> dict[str, Any]:
    """Return ``defaults`` updated by ``options``, with a checked list of metrics and number of replicates.

    Args:
        options: of the table.
        defaults: with every option that the table has.
        metrics: names that its option ``metrics`` may hold.

    Raises:
        ConfigurationError: for an unknown option or metric, or fewer than 100 replicates.
    """
    checked = checked_options(options, defaults)
    if "metrics" in checked:
        checked["metrics"] = checked_answer_metrics(checked["metrics"], allowed=metrics)
    replicates = checked.get("replicates", REPLICATES)
    if not isinstance(replicates, int) or isinstance(replicates, bool) or replicates < 100:
        raise ConfigurationError(
            "too few resamples", where="option replicates", given=replicates, allowed="an integer, at least 100"
        )
    return checked


def entry_rows(estimates: CellEstimates, entry: Entry, metrics: Sequence[str], **more: Any) -> list[dict[str, Any]]:
    """Return a tidy row of each metric that ``entry`` has; one without a number if it has none."""
    shared = {**estimates.cell.columns, **entry.columns, "state": entry.row.state, "quantity": "mean", **more}
    if entry not in estimates.seeds:
        return [{**shared, "seeds": 0}]
    shared |= {"seeds": len(estimates.seeds[entry]), "examples": estimates.examples}
    return [
        {**shared, "metric": metric, **vars(estimates.estimate(entry, metric))}
        for metric in metrics
        if estimates.known(entry, metric)
    ]


def tidy_frame(rows: Sequence[Mapping[str, Any]], **more: str) -> pd.DataFrame:
    """Return ``rows`` with the columns common to all tables about answers and the types of ``more`` behind them."""
    columns = {**_COLUMNS, **more}
    return pd.DataFrame(list(rows), columns=list(columns)).astype(columns)


def cells_of_column(
    intervals: Sequence[Interval | None],
    *,
    best: Sequence[bool] = (),
    marks: Sequence[bool] = (),
    differences: bool = False,
) -> list[Cell]:
    """Return the cells of one column, all with the decimals that suit their intervals; None is an em dash.

    Args:
        intervals: top to bottom.
        best: whether a cell is bold; none if empty.
        marks: whether a dagger follows; none if empty.
        differences: whether each has the decimals that suit its own interval instead: differences of a metric may be
            of very different size.
    """
    common = decimals_for([(one.upper - one.lower) / 2 for one in intervals if one is not None])
    decimals = decimals_of_difference(intervals, common) if differences else [common] * len(intervals)
    cells = []
    for place, one in enumerate(intervals):
        text = "—" if one is None else interval_text(one, decimals[place])
        mark = " †" if marks and marks[place] else ""
        cells.append(Cell(text + mark, best=bool(best and best[place])))
    return cells


def extent(estimates: CellEstimates) -> str:
    """Return how many questions and seeds are behind a section, as printed; empty if nothing is finished."""
    if not estimates.seeds:
        return ""
    return f"{estimates.examples:,} questions · {seeds_text(len(seeds) for seeds in estimates.seeds.values())}"
