"""The table of preferences that go in circles: models by sets, beside the most that any order could reach."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import partial_notes
from bayesgrid.reporting.names import seeds_text
from bayesgrid.reporting.preference_estimates import PAIRS_NOTE, RowEstimates, row_estimates
from bayesgrid.reporting.preference_metrics_tables import evaluation_options, published_constant
from bayesgrid.reporting.preference_names import CEILING_LOWER, TRANSITIVE_CEILING, metric_name
from bayesgrid.reporting.preference_rows import SourceNotes, best_of, hole, interval_cells, tidy_frame
from bayesgrid.reporting.preference_runs import PreferenceCell, RuleRuns, preference_cells
from bayesgrid.reporting.table import Cell, Section, Table

__all__ = ["preference_cyclic_table"]

_METRIC = "accuracy"


def preference_cyclic_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the accuracy of every model on every set, and the largest accuracy of any order where runs publish it.

    Models that give each response a score, as Bradley-Terry does, cannot be above that ceiling. One section a setting
    of the labels, such as pairs or items that were never seen.

    Options: ``splits`` (``[test]``, and names of further evaluation sets), ``replicates`` (2000).

    Raises:
        ConfigurationError: for an unknown option, or runs that are not about preferences.
        StateError: if a result file is missing or damaged.
    """
    checked = evaluation_options(options)
    cells = preference_cells(runs)
    by_setting: dict[str, list[PreferenceCell]] = {}
    for cell in cells:
        by_setting.setdefault(cell.setting, []).append(cell)
    places = list(dict.fromkeys((cell.dataset, cell.features, split) for cell in cells for split in checked["splits"]))
    names = {(cell.dataset, cell.features): cell for cell in cells}
    notes = SourceNotes()
    rows: list[dict[str, Any]] = []
    sections = []
    columns = [_column(names[place[:2]], place[2], notes) for place in places]
    for setting, own in by_setting.items():
        estimates = {
            (cell, row, split): row_estimates(row, [_METRIC], split, replicates=checked["replicates"])
            for cell in own
            for row in cell.rows
            for split in checked["splits"]
        }
        ceilings = {place: _ceiling(own, place) for place in places}
        rows += [record for key, found in estimates.items() for record in _records(*key, found)]
        rows += _ceiling_records(own, ceilings)
        seeds = seeds_text(found.seeds for found in estimates.values() if found is not None and found.intervals)
        heading = " · ".join(part for part in (setting, seeds) if part) or "Accuracy"
        sections.append(Section(heading, _shown(estimates, ceilings, places)))
    return Table(
        tidy_frame(rows, split="str", pairs="Int64"),
        ("Model", *columns),
        tuple(sections),
        "Preferences that go in circles: accuracy",
        (
            f"{metric_name(TRANSITIVE_CEILING)}: the most that scores of single responses could reach on these pairs; "
            "no model that gives such scores is above it. Two numbers are bounds of what is not known exactly. ‡ The "
            "interval lies above it. The best mean is bold.",
            PAIRS_NOTE,
            *partial_notes(runs),
        ),
        notes.texts,
    )


def _column(cell: PreferenceCell, split: str, notes: SourceNotes) -> str:
    name = cell.label("dataset", cell.dataset)
    marks = notes.heading(cell).removeprefix(cell.data_label)
    return (name if split == "test" else f"{name}, on {cell.label('dataset', split)}") + marks


def _ceiling(cells: Sequence[PreferenceCell], place: tuple[str, str, str]) -> tuple[float, float] | None:
    """Return the least and the most that the ceiling of a set can be; None if no run publishes it."""
    own = [cell for cell in cells if (cell.dataset, cell.features) == place[:2]]
    most = published_constant(own, TRANSITIVE_CEILING, place[2])
    if most is None:
        return None
    least = published_constant(own, CEILING_LOWER, place[2])
    return (most if least is None else least), most


def _records(cell: PreferenceCell, row: RuleRuns, split: str, found: RowEstimates | None) -> list[dict[str, Any]]:
    if found is None:
        return [{**hole(cell, row), "split": split}]
    shared = {**cell.columns, **row.columns, "split": split, "metric": _METRIC, "quantity": "value"}
    extent = {"seeds": found.seeds, "pairs": found.pairs}
    return [{**shared, **extent, **vars(interval)} for interval in found.intervals.values()]


def _ceiling_records(
    cells: Sequence[PreferenceCell], ceilings: Mapping[tuple[str, str, str], tuple[float, float] | None]
) -> list[dict[str, Any]]:
    known = {(cell.dataset, cell.features): cell for cell in cells}
    return [
        {
            **known[key[:2]].data_columns,
            "split": key[2],
            "metric": _METRIC,
            "quantity": "ceiling",
            "estimate": value[1],
            "lower": value[0],
            "upper": value[1],
            "state": "done",
        }
        for key, value in ceilings.items()
        if value is not None and key[:2] in known
    ]


def _ceiling_text(ceiling: tuple[float, float] | None) -> str:
    if ceiling is None:
        return "—"
    return " to ".join(dict.fromkeys(f"{end:.3f}" for end in ceiling))


def _shown(
    estimates: Mapping[tuple[PreferenceCell, RuleRuns, str], RowEstimates | None],
    ceilings: Mapping[tuple[str, str, str], tuple[float, float] | None],
    places: Sequence[tuple[str, str, str]],
) -> tuple[tuple[Cell, ...], ...]:
    several = len({row.name for _, row, _ in estimates}) > 1
    lines: dict[str, dict[tuple[str, str, str], Interval | None]] = {}
    holes: dict[tuple[str, tuple[str, str, str]], str] = {}
    for (cell, row, split), found in estimates.items():
        name = f"{cell.model_label} · {row.name}" if several else cell.model_label
        place = (cell.dataset, cell.features, split)
        lines.setdefault(name, {})[place] = None if found is None else found.intervals.get(_METRIC)
        if found is None:
            holes[name, place] = row.with_state("—")
    columns = []
    for place in places:
        intervals = [own.get(place) for own in lines.values()]
        best = best_of(_METRIC, [np.nan if one is None else one.estimate for one in intervals])
        ceiling = ceilings.get(place)
        cells = interval_cells(intervals, best=best)
        cells = [Cell(holes.get((name, place), cell.text), cell.best) for name, cell in zip(lines, cells, strict=True)]
        above = [ceiling is not None and one is not None and one.lower > ceiling[1] for one in intervals]
        marked = [
            Cell(cell.text + (" ‡" if mark else ""), best=cell.best) for cell, mark in zip(cells, above, strict=True)
        ]
        columns.append([*marked, Cell(_ceiling_text(ceiling))])
    names = [Cell(name) for name in (*lines, metric_name(TRANSITIVE_CEILING))]
    return tuple((name, *cells) for name, cells in zip(names, zip(*columns, strict=True), strict=True))
