"""The table of label savings: how many labels fewer than random pairs a rule needs, over a range of accuracies."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayesgrid.errors import ConfigurationError
from bayesgrid.metrics.label_saving import BETWEEN, LabelSaving, accuracy_grid, label_saving
from bayesgrid.random_streams import random_stream
from bayesgrid.reporting.agent_curves import LEVEL, AgentCurves
from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.grouped_curves import few_seeds_notes, partial_notes
from bayesgrid.reporting.names import seeds_text
from bayesgrid.reporting.preference_curve_tables import rule_options
from bayesgrid.reporting.preference_names import rule_name
from bayesgrid.reporting.preference_rows import SourceNotes, hole, paired_values, reference_note, tidy_frame
from bayesgrid.reporting.preference_runs import PreferenceCell, RuleRuns, preference_cells
from bayesgrid.reporting.table import MINUS, Cell, Section, Table, number

__all__ = ["preference_saving_table"]

POINTS = 15
REPLICATES = 2000
SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Places on the range of accuracies that the Markdown and LaTeX form shows."""

_REALS = ("accuracy", "accuracy_place", "at_most", "unreached", "reference_unreached")


def preference_saving_table(runs: Sequence[RunRecord], options: Mapping[str, Any]) -> Table:
    """Return the share of labels that each rule saves against the reference rule, at accuracies that this one reaches.

    ``estimate`` is the median over seeds, the least that the data allow, and ``at_most`` the most: they differ where
    seeds that never reach an accuracy decide the median. See :mod:`bayesgrid.metrics.label_saving`.

    Options: ``reference_rule`` (``random``), ``points`` (15 accuracies), ``replicates`` (2000).

    Raises:
        ConfigurationError: for an unknown option, or runs that are not about preferences.
        StateError: if a result file is missing or damaged, or seeds have different rounds.
    """
    checked = rule_options(options, {"points": POINTS, "replicates": REPLICATES})
    reference = checked["reference_rule"]
    points, replicates = _whole(checked, "points", 2), _whole(checked, "replicates", 100)
    cells = preference_cells(runs)
    rows: list[dict[str, Any]] = []
    sections = []
    notes = SourceNotes()
    seeds = []
    for cell in cells:
        curves = {row: row.curves(["accuracy"]) for row in cell.rows}
        found = _savings(cell, curves, reference, points, replicates)
        rows += _records(cell, found, reference)
        seeds += [count for _, count in filter(None, found.values())]
        savings = [saving for saving, _ in filter(None, found.values())]
        reached = ""
        if savings:
            ends = [number(100 * float(savings[0].accuracy[place]), 1) for place in (0, -1)]
            reached = f"accuracies {' to '.join(dict.fromkeys(ends))} %"
        extent = seeds_text(count for _, count in filter(None, found.values()))
        sections.append(Section(notes.heading(cell, cell.model_label, reached, extent), _shown(found)))
    name = rule_name(reference)
    between = " and ".join(f"{share:.0%}".replace("%", " %") for share in BETWEEN)
    return Table(
        tidy_frame(rows, **dict.fromkeys(_REALS, "float64")),
        ("Rule", *(f"{place:.0%}".replace("%", " %") for place in SHOWN), "Not reached"),
        tuple(sections),
        f"Preferences: labels saved against {name} at equal accuracy",
        (
            f"1 − labels of the rule / labels of {name}, in %, the labels of the first fit included; above 0: fewer "
            "labels. Per seed from curves made monotone, straight lines between rounds; median over seeds with its "
            f"95 % interval (bootstrap over seeds, paired; {replicates:,} resamples).",
            f"Columns: places on the range between the accuracies that {name} has with {between} of the labels bought.",
            "An accuracy that is never reached needs more labels than were bought: ≥ and ≤ say what is known of the "
            "median then, and −∞ that it has no lower bound. Not reached: share of seeds on which the rule does not "
            "reach the highest of these accuracies.",
            "† The interval excludes 0.",
            *few_seeds_notes(seeds, "the intervals"),
            *reference_note(cells, reference),
            *partial_notes(runs),
        ),
        notes.texts,
    )


def _whole(options: Mapping[str, Any], name: str, least: int) -> int:
    value = options[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(
            "too few", where=f"option {name}", given=value, allowed=f"an integer, at least {least}"
        )
    return value


def _savings(
    cell: PreferenceCell,
    curves: Mapping[RuleRuns, AgentCurves | None],
    reference: str,
    points: int,
    replicates: int,
) -> dict[RuleRuns, tuple[LabelSaving, int] | None]:
    """Return the savings of every row but the reference's, and their seeds; None where nothing can be compared."""
    base_row = cell.reference(reference)
    base = None if base_row is None else curves[base_row]
    if base is None or len(base.labelled) < 2 or not np.isfinite(base.by_metric["accuracy"]).all():
        return {row: None for row in curves if row is not base_row}
    grid = accuracy_grid(base.labelled, base.by_metric["accuracy"], points=points)
    found: dict[RuleRuns, tuple[LabelSaving, int] | None] = {}
    for row, own in curves.items():
        if row is base_row:
            continue
        pair = paired_values(own, base)
        found[row] = None
        if pair is None or not np.isfinite(pair[0].by_metric["accuracy"]).all():
            continue
        saving = label_saving(
            base.labelled,
            pair[0].by_metric["accuracy"],
            pair[1].by_metric["accuracy"],
            grid,
            generator=random_stream(0, "table_interval"),
            level=LEVEL,
            replicates=replicates,
        )
        found[row] = (saving, len(pair[0].seeds))
    return found


def _records(
    cell: PreferenceCell, found: Mapping[RuleRuns, tuple[LabelSaving, int] | None], reference: str
) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for row, own in found.items():
        if own is None:
            records.append(hole(cell, row))
            continue
        saving, seeds = own
        shared = {**cell.columns, **row.columns, "metric": "accuracy", "quantity": "saving", "seeds": seeds}
        places = _places(saving)
        records += [
            {
                **shared,
                "reference": rule_name(reference),
                "accuracy_place": places[place],
                **{name: values[place] for name, values in vars(saving).items()},
            }
            for place in range(saving.accuracy.size)
        ]
    return records


def _places(saving: LabelSaving) -> list[float]:
    return [0.0] if saving.accuracy.size == 1 else np.linspace(0, 1, saving.accuracy.size).tolist()


def _shown(found: Mapping[RuleRuns, tuple[LabelSaving, int] | None]) -> tuple[tuple[Cell, ...], ...]:
    shown = []
    for row, own in found.items():
        if own is None:
            shown.append((Cell(row.label), *[Cell("—")] * (len(SHOWN) + 1)))
            continue
        saving, places = own[0], _places(own[0])
        cells = []
        for wanted in SHOWN:
            nearest = min(range(len(places)), key=lambda place: (abs(places[place] - wanted), place))
            cells.append(Cell(_text(saving, nearest)))
        shown.append((Cell(row.label), *cells, Cell(f"{100 * saving.unreached[-1]:.0f} %")))
    return tuple(shown)


def _text(saving: LabelSaving, place: int) -> str:
    least, most, lower, upper = (
        float(values[place]) for values in (saving.estimate, saving.at_most, saving.lower, saving.upper)
    )
    if least == most:
        text = _percent(least)
    elif math.isfinite(least):
        text = f"≥ {_percent(least)}"
    elif most < 1:
        text = f"≤ {_percent(most)}"
    else:
        text = "unknown"
    if not math.isnan(lower):
        text += f" ({_percent(lower)} to {_percent(upper)})"
    return f"{text} †" if lower > 0 or upper < 0 else text


def _percent(value: float) -> str:
    return f"{MINUS}∞" if math.isinf(value) else number(100 * value, 0)
