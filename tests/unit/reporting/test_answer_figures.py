"""Figures about answers: nothing cut off or overlapping, readable text, n and intervals, the numbers of the tables."""

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.reporting.answer_dot_figure import draw_answer_ablation, draw_answer_metrics
from bayesgrid.reporting.answer_line_figure import (
    draw_answer_draws,
    draw_answer_learning_curves,
    draw_answer_noise,
    draw_answer_risk_coverage,
    draw_answers_by_training_size,
)
from bayesgrid.reporting.answer_names import method_label
from bayesgrid.reporting.answer_pareto_figure import draw_answer_pareto
from bayesgrid.reporting.answer_reliability_figure import draw_answer_reliability
from bayesgrid.reporting.answer_style import method_style, row_styles
from bayesgrid.reporting.figures import render_notebook
from bayesgrid.reporting.style import OKABE_ITO, TWO_COLUMNS, figure_style, save_figure
from bayesgrid.reporting.tables import build_table, write_table

NOTEBOOKS = Path(__file__).parents[3] / "workflow" / "notebooks"
METHODS = ("zeroshot", "mle", "map", "laplace", "blob", "scalabl", "tfb")
FIGURES = {
    "answer_metrics_by_method": (draw_answer_metrics, "answer_metrics"),
    "answer_ablation": (draw_answer_ablation, "answer_ablation"),
    "answer_reliability": (draw_answer_reliability, "answer_reliability"),
    "answer_risk_coverage": (draw_answer_risk_coverage, "answer_risk_coverage"),
    "answer_draws": (draw_answer_draws, "answer_draws"),
    "answer_pareto": (draw_answer_pareto, "answer_cost"),
    "answer_by_training_size": (draw_answers_by_training_size, "answer_by_training_size"),
    "answer_noise": (draw_answer_noise, "answer_noise"),
    "answer_learning_curves": (draw_answer_learning_curves, "answer_learning_curves"),
}
QUICK = {"replicates": 100}
OPTIONS = {
    kind: QUICK
    for _, kind in FIGURES.values()
    if kind not in {"answer_reliability", "answer_draws", "answer_learning_curves"}
}


def runs_of(name, answers, root):
    """Return runs that fill a figure as much as a user's would."""
    if name == "answer_learning_curves":
        return [
            answers.make_rounds(root, method=method, acquisition=choice)
            for method in ("mle", "blob")
            for choice in ("random", "bald", "entropy")
        ]
    if name == "answer_ablation":
        settings = [None, {"variational.kl_direction": "prior_to_posterior"}, {"variational.flipout": "token"}]
        return [
            answers.make_answers(root, method=method, settings=own)
            for method in ("blob", "scalabl")
            for own in settings
        ]
    cells = {
        "answer_by_training_size": [{"dataset": f"winogrande_{s}", "labels": n} for s, n in (("xs", 160), ("s", 640))],
        "answer_noise": [{"dataset": "slake", "evaluation": name} for name in ("", "noisy_slake_8", "noisy_slake_128")],
    }.get(name, [{"dataset": "obqa"}, {"dataset": "arc_challenge", "evaluation": "mmlu_physics"}])
    return [answers.make_answers(root, method=method, **cell) for cell in cells for method in METHODS]


@pytest.fixture(autouse=True)
def _style():
    mpl.use("Agg")
    with figure_style():
        yield
    plt.close("all")


@pytest.fixture(scope="module", params=list(FIGURES))
def drawn(request, answers, tmp_path_factory):
    """The name of a figure, its function, its table, and the figure."""
    mpl.use("Agg")
    draw, kind = FIGURES[request.param]
    runs = runs_of(request.param, answers, tmp_path_factory.mktemp(request.param))
    table = build_table(kind, runs, OPTIONS.get(kind, {}))
    with figure_style():
        figure = draw(table.data, title="A title")
        figure.canvas.draw()
    return request.param, draw, table, figure


def visible_texts(figure):
    """Return what is printed and where; numbers of an axis only within its limits."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        if not axes.axison:
            continue
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted((low, high))
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    return [(text.get_text(), text.get_window_extent(), text.get_fontsize()) for text in found if text.get_text()]


def test_no_words_overlap_and_nothing_leaves_the_page(drawn):
    figure = drawn[3]
    boxes = visible_texts(figure)
    assert [(a, b) for (a, one, _), (b, two, _) in combinations(boxes, 2) if one.overlaps(two)] == []
    page = figure.bbox
    assert [t for t, b, _ in boxes if b.x0 < 0 or b.x1 > page.x1 or b.y0 < 0 or b.y1 > page.y1] == []
    assert figure.get_figwidth() == TWO_COLUMNS


def test_words_are_at_least_seven_points_and_state_seeds_and_intervals(drawn):
    texts = visible_texts(drawn[3])
    assert min(size for _, _, size in texts) >= 7
    headings = [text for text, _, _ in texts if text.startswith("$\\bf")]
    assert headings
    assert all("seeds" in heading for heading in headings)
    assert any("95 %" in text for text, _, _ in texts)


def test_the_same_table_gives_the_same_bytes(drawn, tmp_path):
    _, draw, table, _ = drawn
    files = [[path.read_bytes() for path in save_figure(draw(table.data), tmp_path / name)] for name in ("one", "two")]
    assert files[0] == files[1]


def test_tables_without_numbers_or_of_another_kind_are_refused(drawn, demo_runs):
    draw, table = drawn[1:3]
    with pytest.raises(StateError, match="to draw"):
        draw(table.data.iloc[:0])
    with pytest.raises(ConfigurationError, match="lacks model"):
        draw(build_table("learning_curves", demo_runs[:2]).data)


def test_the_notebook_of_the_figure_draws_it(drawn, tmp_path):
    name, draw, table, _ = drawn
    path = write_table(table, tmp_path / "table")[0]
    parameters = {"table": path, "output_stem": tmp_path / "drawn", "title": "A title"}
    render_notebook(NOTEBOOKS / f"{name}.py", tmp_path / "drawn.ipynb", parameters)
    direct = save_figure(draw(table.data, title="A title"), tmp_path / "direct")
    assert [p.read_bytes() for p in direct] == [(tmp_path / f"drawn{p.suffix}").read_bytes() for p in direct]


def test_dots_lie_at_the_means_of_the_table_as_trained_and_after_scaling(answers, tmp_path):
    runs = [answers.make_answers(tmp_path, method=method) for method in ("mle", "blob")]
    table = build_table("answer_metrics", runs, {"metrics": ["nll", "ece"], **QUICK}).data
    figure = draw_answer_metrics(table)
    for panel, metric in zip(figure.axes, ("nll", "ece"), strict=True):
        dots = sorted(float(line.get_xdata()[0]) for line in panel.lines if len(line.get_xdata()) == 1)
        assert dots == pytest.approx(sorted(table.loc[table["metric"] == metric, "estimate"]))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["MLE", "BLoB"]


def test_lines_are_those_of_the_table_and_noise_levels_are_equally_far_apart(answers, tmp_path):
    runs = runs_of("answer_noise", answers, tmp_path)
    table = build_table("answer_noise", runs, {"metrics": ["nll"], **QUICK}).data
    (panel,) = draw_answer_noise(table).axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0", "8", "128"]
    (line,) = [line for line in panel.lines if line.get_label() == "BLoB"]
    np.testing.assert_allclose(line.get_ydata(), table.loc[table["method"] == "blob", "estimate"])
    assert np.diff(line.get_xdata()) == pytest.approx([1, 1])


def test_the_front_joins_the_efficient_methods_from_the_cheapest(answers, tmp_path):
    runs = [answers.make_answers(tmp_path, method=method) for method in METHODS]
    table = build_table("answer_cost", runs, QUICK).data
    (panel,) = [axes for axes in draw_answer_pareto(table).axes if axes.get_title(loc="left") == "NLL"]
    (front,) = [line for line in panel.lines if line.get_color() == "#888888"]
    efficient = table[table["pareto"].astype(bool) & (table["metric"] == "nll")]
    assert set(front.get_ydata()) == set(efficient["estimate"])
    assert (np.diff(front.get_ydata()) <= 0).all()


def test_reliability_has_one_panel_a_method_with_the_diagonal_and_every_bin(answers, tmp_path):
    runs = [answers.make_answers(tmp_path, method=method) for method in METHODS]
    table = build_table("answer_reliability", runs).data
    figure = draw_answer_reliability(table)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == [method_label(method) for method in METHODS]
    dots = [line for line in shown[1].lines if len(line.get_xdata()) == 1]
    assert len(dots) == (table["method"] == "mle").sum()


def test_methods_can_be_told_apart_in_print_and_in_grey():
    styles = [
        method_style(name)
        for name in (*METHODS, "mcdropout", "ensemble", "ivon", "laplace_kronecker", "blob_mean", "scalabl_mean")
    ]
    assert len({style.marker for style in styles}) == len(styles)
    assert len({style.label for style in styles}) == len(styles)
    assert {style.colour for style in styles} <= set(OKABE_ITO.values()) - {OKABE_ITO["yellow"]}
    variants = row_styles([("blob", name) for name in ("", "a", "b", "c")])
    assert len({(style.marker, str(style.line)) for style in variants.values()}) == 4
    assert {style.colour for style in variants.values()} == {method_style("blob").colour}
