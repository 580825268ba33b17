"""Figures of curves about answers: a metric of every method against draws, labels, noise or coverage."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayesgrid.reporting.agent_lines import CUT_INTERVALS, value_limits
from bayesgrid.reporting.answer_lines import AnswerAxis, draw_answer_lines, interval_word
from bayesgrid.reporting.answer_names import answer_metric_label
from bayesgrid.reporting.answer_runs import CELL_COLUMNS
from bayesgrid.reporting.answer_style import (
    bold_text,
    cell_text,
    health_note,
    printed_name,
    row_keys,
    row_legend,
    row_styles,
    unhealthy_keys,
)
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.names import seeds_text
from bayesgrid.reporting.panel_grid import panel_grid

__all__ = [
    "draw_answer_draws",
    "draw_answer_learning_curves",
    "draw_answer_noise",
    "draw_answer_risk_coverage",
    "draw_answers_by_training_size",
]

_COLUMNS = 3
_LEGEND_COLUMNS = 5
_INTERVALS_UP_TO = 5
"""Curves of risk with their many places; with more methods their bars would be all there is to see."""
_NOT_NEGATIVE = frozenset({"nll", "brier", "ece", "ece_adaptive", "aurc", "risk"})


def draw_answer_draws(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return metrics against the number of draws that are averaged, one row of panels a model and data set.

    Args:
        table: of kind ``answer_draws``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve.
    """
    axis = AnswerAxis("answer_draws", "draws", "Draws averaged", "logarithmic")
    return _draw(table, axis, "95 % interval of the mean over seeds.", title)


def draw_answers_by_training_size(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return metrics against the labels used, one row of panels a model and task.

    Args:
        table: of kind ``answer_by_training_size``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve.
    """
    axis = AnswerAxis("answer_by_training_size", "labels", "Labels used", "logarithmic")
    return _draw(table, axis, "95 % interval of the mean over seeds and questions.", title)


def draw_answer_noise(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return metrics against the noise of the images, one row of panels a model and data set.

    Args:
        table: of kind ``answer_noise``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve.
    """
    axis = AnswerAxis("answer_noise", "noise_level", "Noise level", "steps")
    return _draw(table, axis, "95 % interval of the mean over seeds and questions.", title)


def draw_answer_learning_curves(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return metrics against the number of labels bought, one row of panels a model and data set.

    Args:
        table: of kind ``answer_learning_curves``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve.
    """
    axis = AnswerAxis("answer_learning_curves", "labelled", "Number of labels", "linear")
    return _draw(table, axis, "95 % Student-t interval of the mean over seeds.", title)


def draw_answer_risk_coverage(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Return the share of wrong answers against the share of questions answered, one panel a data set.

    Args:
        table: of kind ``answer_risk_coverage``.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve.
    """
    axis = AnswerAxis("answer_risk_coverage", "coverage", "Share of questions answered", "linear")
    rows = _rows(table, axis)
    rows = rows[rows["metric"] == "risk"]
    styles = row_styles(row_keys(rows), unhealthy=unhealthy_keys(rows))
    lines_alone = len(styles) > _INTERVALS_UP_TO
    models = list(rows.groupby("model", sort=False))
    chunks = []
    for _, own in models:
        cells = list(own.groupby(["dataset", "evaluation"], sort=False))
        chunks += [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
    grid = panel_grid(
        [_model_text(pd.concat([own for _, own in cells])) for cells in chunks],
        _COLUMNS,
        title=title,
        legend=row_legend(styles),
        legend_columns=_LEGEND_COLUMNS,
        note=("" if lines_alone else f"{interval_word(styles)}: 95 % interval of the mean over seeds and questions. ")
        + "Questions are answered in the order of confidence; at 1 all of them are. "
        + ("95 % intervals, too many to draw, are in the table." if lines_alone else CUT_INTERVALS)
        + health_note(rows),
        panel_heights=1.5,
    )
    for cells, panels in zip(chunks, grid.panels, strict=True):
        for panel, ((dataset, evaluation), own) in zip(panels, cells, strict=False):
            name = printed_name(own, "dataset")
            name = name if dataset == evaluation else f"{name}, answering {printed_name(own, 'evaluation')}"
            panel.set_title(name, loc="left", size=8, pad=3)
            draw_answer_lines(panel, own.assign(lower=np.nan) if lines_alone else own, axis, styles, every=4)
            panel.set_ylim(*value_limits(own, lowest=0.0, share=0.05 if lines_alone else 0.5))
        for panel in panels[len(cells) :]:
            panel.set_axis_off()
        panels[0].set_ylabel("Share of wrong answers")
    _name_axes(grid.panels, axis)
    return grid.figure


def _draw(table: pd.DataFrame, axis: AnswerAxis, interval: str, title: str) -> Figure:
    rows = _rows(table, axis)
    styles = row_styles(row_keys(rows), unhealthy=unhealthy_keys(rows))
    metrics = list(dict.fromkeys(rows["metric"]))[:_COLUMNS]
    groups = list(rows.groupby(list(CELL_COLUMNS), sort=False))
    grid = panel_grid(
        [cell_text(key, own) for key, own in groups],
        len(metrics),
        title=title,
        legend=row_legend(styles),
        legend_columns=_LEGEND_COLUMNS if all(len(key[1]) == 0 for key in styles) else 3,
        note=f"{interval_word(styles)}: {interval} {CUT_INTERVALS}{health_note(rows)}",
    )
    for (_, own), panels in zip(groups, grid.panels, strict=True):
        for panel, metric in zip(panels, metrics, strict=True):
            shown = own[own["metric"] == metric]
            draw_answer_lines(panel, shown, axis, styles)
            panel.set_title(answer_metric_label(metric), loc="left", size=8, pad=3)
            if len(shown):
                panel.set_ylim(*value_limits(shown, lowest=0.0 if metric in _NOT_NEGATIVE else None))
    _name_axes(grid.panels, axis)
    return grid.figure


def _rows(table: pd.DataFrame, axis: AnswerAxis) -> pd.DataFrame:
    columns = [*CELL_COLUMNS, "method", "variant", "metric", "seeds", axis.column]
    return drawn_rows(table, ["value"], kind=axis.kind, columns=columns, what="curve", remedy="finish at least one run")


def _model_text(rows: pd.DataFrame) -> str:
    return f"{bold_text(printed_name(rows, 'model'))}   n = {seeds_text(rows['seeds'].astype(int))}"


def _name_axes(panels: tuple[tuple[Axes, ...], ...], axis: AnswerAxis) -> None:
    for panel in panels[-1]:
        panel.set_xlabel(axis.label)
