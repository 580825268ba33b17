"""The figure of learning curves of preference models: one panel a model, or, with many rules, a family of rules."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bayesgrid.reporting.agent_lines import CUT_INTERVALS, value_limits
from bayesgrid.reporting.drawn_rows import drawn_rows
from bayesgrid.reporting.preference_names import LENGTH_BASELINE, metric_name
from bayesgrid.reporting.preference_panels import RulePanel, rule_panels
from bayesgrid.reporting.preference_runs import CELL_COLUMNS, ROW_COLUMNS
from bayesgrid.reporting.preference_style import LENGTH_LINE, RuleKey, rows_of_rule, rule_keys, rule_style

__all__ = ["draw_preference_curves"]


def draw_preference_curves(table: pd.DataFrame, *, metric: str = "accuracy", title: str = "") -> Figure:
    """Return a metric against the number of labels: means over seeds and their 95 % intervals.

    Random pairs are grey. Of accuracy, the dotted line is what preferring the longer response reaches.

    Args:
        table: of kind ``preference_curves``.
        metric: one of the table.
        title: printed above; may be empty.

    Raises:
        ConfigurationError: if the table lacks a column.
        StateError: if the table holds no curve of the metric.
    """
    rows = drawn_rows(
        table[table["metric"] == metric] if "metric" in table.columns else table,
        ["value"],
        kind="preference_curves",
        columns=[
            *CELL_COLUMNS,
            *ROW_COLUMNS,
            "metric",
            "labelled",
            "seeds",
            "dataset_label",
            "data_label",
            "model_label",
        ],
        what=f"curve of {metric}",
        remedy="finish at least one run",
    )
    lengths = table[(table["quantity"] == "length_only") & (table["metric"] == metric)]
    random = [key for key in rule_keys(rows) if key[0] == "random"]
    dotted = [Line2D([], [], label=metric_name(LENGTH_BASELINE), **LENGTH_LINE)] if len(lengths) else []
    figure, panels = rule_panels(
        rows,
        reference=random,
        more=dotted,
        title=title,
        note="Bands: 95 % Student-t interval of the mean over seeds. Rules share seeds, so their paired differences "
        f"are surer than the bands suggest. {CUT_INTERVALS}",
        x="Number of labels",
        y=metric_name(metric),
    )
    for panel in panels:
        _draw(panel, random, _of_cell(lengths, panel.rows))
    return figure


def _draw(panel: RulePanel, reference: list[RuleKey], length: float | None) -> None:
    keys = [*(key for key in rule_keys(panel.rows) if key in reference), *panel.keys]
    for place, key in enumerate(keys):
        _draw_curve(panel.axes, rows_of_rule(panel.rows, key).sort_values("labelled"), key, place, key in reference)
    limits = value_limits(panel.rows)
    if length is not None:
        panel.axes.axhline(length, zorder=1.2, **LENGTH_LINE)
        margin = 0.04 * (limits[1] - limits[0])
        limits = min(limits[0], length - margin), max(limits[1], length + margin)
    panel.axes.set_ylim(*limits)
    panel.axes.margins(x=0.03)
    panel.axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.axes.yaxis.set_major_locator(MaxNLocator(5))


def _draw_curve(axes: Axes, curve: pd.DataFrame, key: RuleKey, place: int, is_reference: bool) -> None:
    style = rule_style(key)
    labelled, mean, lower, upper = (
        curve[name].to_numpy(dtype=float) for name in ("labelled", "estimate", "lower", "upper")
    )
    shade = 0.22 if is_reference else 0.13
    axes.fill_between(labelled, lower, upper, color=style.colour, alpha=shade, linewidth=0, zorder=1)
    step = max(1, round(len(curve) / 5))
    options = style.line_options() | ({"linewidth": 1.8} if is_reference else {})
    # Markers at other places for every rule, so that equal curves can be told apart.
    axes.plot(labelled, mean, **options, markevery=slice(place % step, None, step), zorder=2 + place)


def _of_cell(lengths: pd.DataFrame, rows: pd.DataFrame) -> float | None:
    chosen = pd.Series(data=True, index=lengths.index)
    for column in CELL_COLUMNS:
        chosen &= lengths[column] == rows[column].iloc[0]
    own = lengths.loc[chosen, "estimate"]
    return float(own.iloc[0]) if len(own) else None
