"""What every figure of preferences must have, with all rules of the study: nothing cut off, overlapping or hidden."""

from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.reporting.preference_area_figure import draw_area_differences
from bayesgrid.reporting.preference_curve_figures import draw_preference_curves
from bayesgrid.reporting.preference_cyclic_figure import draw_cyclic_accuracy
from bayesgrid.reporting.preference_names import FAMILIES, rule_name
from bayesgrid.reporting.preference_saving_figure import draw_label_saving
from bayesgrid.reporting.preference_style import panels_of_rules, rule_style
from bayesgrid.reporting.style import TWO_COLUMNS, figure_style, save_figure
from bayesgrid.reporting.tables import build_table

RULES = [rule for rules in FAMILIES.values() for rule in rules]
FIGURES = {
    "preference_curves": draw_preference_curves,
    "preference_areas": draw_area_differences,
    "preference_saving": draw_label_saving,
    "preference_cyclic": draw_cyclic_accuracy,
}


@pytest.fixture(autouse=True)
def _style():
    mpl.use("Agg")
    with figure_style():
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def tables(preferences, tmp_path_factory):
    """Tables of two models with all rules, and of two games with two models and two splits."""
    root = tmp_path_factory.mktemp("preferences")
    speeds = {"random": 1.0, **{rule: 0.5 + 0.09 * place for place, rule in enumerate(RULES)}}
    runs = [
        preferences.make_run(root, rule=rule, speed=speed, model=model, posterior="latent", noise=0.005)
        for model in ("bayesian_exact", "bayesian_reference")
        for rule, speed in speeds.items()
    ]
    runs += [
        preferences.make_run(
            root, rule=rule, model="bayesian_reference", posterior="latent", selector="cluster_reference", noise=0.005
        )
        for rule in FAMILIES["Scores of the reference code"]
    ]
    games = [
        preferences.make_run(
            root,
            dataset=dataset,
            features=None,
            model=model,
            ceiling=ceiling,
            initial="all",
            rule=rule,
            split=split,
            published={"transitive_ceiling": 0.7, "transitive_ceiling_lower": 0.66},
        )
        for rule in ("random", "mv_reference")
        for dataset in ("game_disc", "game_blotto_5_3")
        for split in ("pair", "item")
        for model, ceiling in (("bradley_terry", 0.66), ("general_preference", 0.95))
    ]
    return {kind: build_table(kind, games if kind == "preference_cyclic" else runs).data for kind in FIGURES}


@pytest.fixture(scope="module", params=list(FIGURES))
def drawn(request, tables):
    """The function of a figure, its table, and the figure."""
    mpl.use("Agg")
    draw, table = FIGURES[request.param], tables[request.param]
    with figure_style():
        figure = draw(table, title="A title")
        figure.canvas.draw()
    return draw, table, figure


def visible_texts(figure):
    """Return what is printed and where; numbers of an axis only within its limits."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        if not axes.axison:
            continue
        own = axes.get_legend()
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes._left_title]
        found += own.get_texts() if own is not None else []
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted((low, high))
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    return [(text.get_text(), text.get_window_extent(), text.get_fontsize()) for text in found if text.get_text()]


def test_no_words_overlap_and_nothing_leaves_the_page(drawn):
    _, _, figure = drawn
    boxes = visible_texts(figure)
    touching = [(a, b) for (a, one, _), (b, two, _) in combinations(boxes, 2) if one.overlaps(two)]
    assert touching == []
    page = figure.bbox
    outside = [t for t, b, _ in boxes if b.x0 < 0 or b.x1 > page.x1 or b.y0 < 0 or b.y1 > page.y1]
    assert outside == []
    assert figure.get_figwidth() == TWO_COLUMNS


def test_no_legend_covers_a_panel(drawn):
    _, _, figure = drawn
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)]
    panels = [axes.get_window_extent() for axes in figure.axes if axes.axison]
    covered = [
        legend for legend in legends for panel in panels
        if any(text.get_window_extent().overlaps(panel) for text in legend.get_texts())
    ]  # fmt: skip
    assert covered == []


def test_words_are_at_least_seven_points_and_say_the_seeds_and_the_interval(drawn):
    _, _, figure = drawn
    texts = visible_texts(figure)
    assert min(size for _, _, size in texts) >= 7
    assert any("n = 5 seeds" in text for text, _, _ in texts)
    assert any("95 %" in text for text, _, _ in texts)


def test_the_same_table_gives_the_same_bytes(tables, tmp_path):
    draw, table = draw_label_saving, tables["preference_saving"]
    files = [[path.read_bytes() for path in save_figure(draw(table), tmp_path / name)] for name in ("one", "two")]
    assert files[0] == files[1]


def test_tables_without_numbers_or_of_another_kind_are_refused(drawn, tables):
    draw, table, _ = drawn
    with pytest.raises(StateError, match="to draw"):
        draw(table.iloc[:0])
    with pytest.raises(ConfigurationError, match="is for a table of kind preference_"):
        draw(tables["preference_curves"].drop(columns=["data_label", "rule"]))


def test_every_rule_is_drawn_where_the_table_says(tables):
    table = tables["preference_curves"]
    figure = draw_preference_curves(table)
    for rule in RULES:
        label = rule_name(rule)
        lines = [line for axes in figure.axes for line in axes.lines if line.get_label() == label]
        own = table[(table["rule"] == rule) & (table["metric"] == "accuracy") & (table["quantity"] == "value")]
        assert len(lines) == own["model"].nunique()
        wanted = own[own["model"] == "bayesian_exact"].sort_values("labelled")
        assert lines[0].get_ydata() == pytest.approx(wanted["estimate"].to_numpy())
    panels = [axes for axes in figure.axes if axes.axison]
    assert all("Random" in [line.get_label() for line in axes.lines] for axes in panels)
    # The dotted line of the longer response is in every panel.
    lengths = table[table["quantity"] == "length_only"]["estimate"].iloc[0]
    assert all(any(set(line.get_ydata()) == {lengths} for line in axes.lines) for axes in panels)


def test_rules_of_one_panel_differ_in_colour_and_all_rules_in_colour_or_marker():
    keys = [(rule, "top", "") for rule in RULES]
    for _, members in panels_of_rules(keys):
        assert len({rule_style(key).colour for key in members}) == len(members)
    styles = {(rule_style(key).colour, str(rule_style(key).marker)) for key in [("random", "top", ""), *keys]}
    assert len(styles) == len(RULES) + 1


def test_area_differences_are_sorted_and_turned_so_that_right_is_better(tables):
    table = tables["preference_areas"]
    figure = draw_area_differences(table)
    first = figure.axes[0]
    own = table[
        (table["quantity"] == "area_difference")
        & (table["metric"] == "accuracy")
        & (table["model"] == "bayesian_exact")
    ].sort_values("estimate", ascending=False)
    assert [tick.get_text() for tick in first.get_yticklabels()] == own["rule_label"].tolist()
    assert not first.xaxis_inverted()
    assert [axes.xaxis_inverted() for axes in figure.axes[:3]] == [False, True, True]


def test_savings_are_dashed_or_hatched_where_seeds_are_censored(tables):
    table = tables["preference_saving"]
    figure = draw_label_saving(table)
    slowest = rule_name(RULES[0])
    own = table[(table["rule"] == RULES[0]) & (table["model"] == "bayesian_exact")].sort_values("accuracy")
    assert np.isinf(own["estimate"]).any()
    axes = next(axes for axes in figure.axes if slowest in [line.get_label() for line in axes.lines])
    solid = next(line for line in axes.lines if line.get_label() == slowest and line.get_linestyle() == "-")
    assert (np.isfinite(solid.get_ydata()) <= (own["unreached"] == 0).to_numpy()).all()
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    colour = mpl.colors.to_rgb(rule_style((RULES[0], "top", "")).colour)
    assert sum(patch.get_edgecolor()[:3] == colour for patch in hatched) == np.isinf(own["estimate"]).sum()


def test_the_ceiling_stands_in_the_panel_of_its_set(tables):
    table = tables["preference_cyclic"].copy()
    ceiling = (table["quantity"] == "ceiling") & (table["dataset"] == "game_disc")
    table.loc[ceiling, ["estimate", "upper"]] = 0.81
    figure = draw_cyclic_accuracy(table)
    found = {
        axes.get_title(loc="left"): [float(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == "--"]
        for axes in figure.axes
        if axes.axison
    }
    assert found == {"game disc": [0.81], "game blotto 5 3": [0.7]}
    without = draw_cyclic_accuracy(table[table["quantity"] == "value"])
    assert not any(line.get_linestyle() == "--" for axes in without.axes for line in axes.lines)


def test_a_few_rules_of_several_families_share_one_panel():
    few = [("bald", "top", ""), ("d_optimal", "top", ""), ("entropy", "top", "")]
    assert panels_of_rules(few) == [("", tuple(few))]
    reference = [(rule, selector, "") for selector in ("top", "cluster_reference") for rule in FAMILIES[
        "Scores of the reference code"]]  # fmt: skip
    assert [name for name, _ in panels_of_rules(reference)] == ["Scores of the reference code"]
    more = [(rule, selector, "") for selector in ("top", "cluster_reference") for rule in FAMILIES["Disagreement"]]
    assert [len(members) for _, members in panels_of_rules(more)] == [6, 6]


def test_the_figure_of_a_metric_that_the_table_lacks_says_what_is_missing(tables):
    with pytest.raises(StateError, match="no curve of crps"):
        draw_preference_curves(tables["preference_curves"], metric="crps")
    table: pd.DataFrame = tables["preference_curves"]
    assert draw_preference_curves(table, metric="nll").axes[0].get_ylabel() == "NLL"
