"""Tables of curves about answers: a metric of every method at several places of one axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bayesgrid.metrics.bootstrap import Interval
from bayesgrid.reporting.answer_estimates import CellEstimates, Entry
from bayesgrid.reporting.answer_footnotes import AnswerFootnotes
from bayesgrid.reporting.answer_names import answer_metric_label
from bayesgrid.reporting.answer_rows import cells_of_column
from bayesgrid.reporting.answer_runs import AnswerCell
from bayesgrid.reporting.table import Cell, Section

__all__ = ["AnswerCurve", "CurveGroup", "curve_places", "curve_rows", "curve_sections", "entry_curves"]


@dataclass(frozen=True)
class AnswerCurve:
    """One metric of one method along the axis."""

    label: str
    metric: str
    columns: Mapping[str, Any]
    """Of the method and its cell in the tidy table."""
    points: Mapping[float, Interval] = field(default_factory=dict)
    """By place; none for a method that is not finished."""


@dataclass(frozen=True)
class CurveGroup:
    """The curves under one heading."""

    heading: str
    curves: tuple[AnswerCurve, ...]


def curve_places(groups: Sequence[CurveGroup]) -> tuple[float, ...]:
    """Return all places at which a curve of ``groups`` has a value, in increasing order."""
    return tuple(sorted({place for group in groups for curve in group.curves for place in curve.points}))


def curve_rows(groups: Sequence[CurveGroup], axis: str) -> list[dict[str, Any]]:
    """Return the tidy rows of all curves, the place in the column ``axis``; one without a number for an empty curve."""
    rows: list[dict[str, Any]] = []
    for group in groups:
        for curve in group.curves:
            shared = {**curve.columns, "metric": curve.metric, "quantity": "value"}
            rows += [{**shared, axis: place, **vars(interval)} for place, interval in curve.points.items()]
            if not curve.points:
                rows.append(shared)
    return rows


def curve_sections(groups: Sequence[CurveGroup], shown: Sequence[float]) -> tuple[Section, ...]:
    """Return a section a group, a row a metric and method, and behind these a column for every place of ``shown``."""
    sections = []
    for group in groups:
        rows: list[tuple[Cell, ...]] = []
        for metric in dict.fromkeys(curve.metric for curve in group.curves):
            own = [curve for curve in group.curves if curve.metric == metric]
            columns = [cells_of_column([curve.points.get(place) for curve in own]) for place in shown]
            for position, (curve, *cells) in enumerate(zip(own, *columns, strict=True)):
                name = Cell(answer_metric_label(metric) if position == 0 else "")
                rows.append((name, Cell(curve.label), *cells))
        sections.append(Section(group.heading, tuple(rows)))
    return tuple(sections)


def entry_curves(
    estimates: Mapping[float, CellEstimates], metric: str, cell: AnswerCell, footnotes: AnswerFootnotes
) -> list[AnswerCurve]:
    """Return one curve an entry along the places of ``estimates``; entries are matched by their labels.

    Args:
        estimates: by place.
        metric: of the curves.
        cell: what the curves are of.
        footnotes: where it is said which fits are not healthy, and on which data set if there are several.
    """
    members: dict[tuple[str, str, bool], dict[float, Entry]] = {}
    for place, own in estimates.items():
        for entry in own.entries:
            members.setdefault((entry.row.method, entry.row.variant, entry.temperature), {})[place] = entry
    return [_entry_curve(places, estimates, metric, cell, footnotes) for places in members.values()]


def _entry_curve(
    places: Mapping[float, Entry],
    estimates: Mapping[float, CellEstimates],
    metric: str,
    cell: AnswerCell,
    footnotes: AnswerFootnotes,
) -> AnswerCurve:
    waiting = [entry for entry in places.values() if entry.row.state != "done"]
    # The label of an unfinished entry says so.
    named = (waiting or list(places.values()))[0]
    trained = {place: estimates[place].cell.dataset for place in places}
    label = named.label
    unhealthy: list[str] = []
    for place, entry in places.items():
        where = cell.label("dataset", trained[place]) if len({*trained.values()}) > 1 else ""
        label = footnotes.marked(label, entry.row, temperature=entry.temperature, where=where)
        if text := str(entry.columns["unhealthy"]):
            unhealthy.append(f"{text} on {where}" if where else text)
    columns = {
        **cell.columns,
        **named.columns,
        "unhealthy": ", ".join(dict.fromkeys(unhealthy)),
        "state": ", ".join(dict.fromkeys(entry.row.state for entry in waiting)) or "done",
        "seeds": max(len(estimates[place].seeds.get(entry, ())) for place, entry in places.items()),
        "examples": max(own.examples for own in estimates.values()),
    }
    points = {
        place: estimates[place].estimate(entry, metric)
        for place, entry in places.items()
        if estimates[place].known(entry, metric)
    }
    return AnswerCurve(label, metric, columns, points)
