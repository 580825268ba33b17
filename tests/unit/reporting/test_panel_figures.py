"""What every figure of panels must have: nothing cut off or overlapping, readable text, n and intervals, same bytes."""

import dataclasses
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.reporting.critical_difference_figure import draw_critical_differences
from bayesgrid.reporting.learning_curve_figure import draw_learning_curves
from bayesgrid.reporting.mode_comparison_figure import draw_mode_differences, draw_modes
from bayesgrid.reporting.query_size_figure import draw_query_sizes
from bayesgrid.reporting.score_diagnostics_figure import draw_score_diagnostics
from bayesgrid.reporting.style import TWO_COLUMNS, figure_style, save_figure
from bayesgrid.reporting.tables import build_table, render_partial
from bayesgrid.reporting.training_ablation_figure import draw_training_ablation
from bayesgrid.reporting.win_probability_figure import draw_win_probabilities

AGENTS = ("random", "coreset", "bald_dist_entropy", "balsa_kl_pairs", "balsa_kl_all_pairs")
DATASETS = ("diamonds", "bimodal_sine")
FIGURES = {
    "win_probability": (draw_win_probabilities, "win_probability"),
    "query_size": (draw_query_sizes, "query_size"),
    "training_ablation": (draw_training_ablation, "training_ablation"),
    "score_diagnostics": (draw_score_diagnostics, "score_diagnostics"),
    "modes": (draw_modes, "mode_comparison"),
    "mode_differences": (draw_mode_differences, "mode_comparison"),
}
AXES = {
    "win_probability": [{}],
    "query_size": [{"query_size": size} for size in (1, 10, 50, 200)],
    "training_ablation": [
        {"warm_start": start, "early_stopping": stopping, "rise": rise}
        for start in ("scratch", "shrink_perturb")
        for stopping, rise in (("restore_best", 0.0), ("last_weights", 0.5), ("inverted", 1.0))
    ],
    "score_diagnostics": [{"scores": True}],
    "modes": [{"mode": "corrected"}, {"mode": "faithful", "better": -0.2}],
    "mode_differences": [{"mode": "corrected"}, {"mode": "faithful", "better": -0.2}],
}


@pytest.fixture(autouse=True)
def _style():
    mpl.use("Agg")
    with figure_style():
        yield
    plt.close("all")


@pytest.fixture(scope="module", params=list(FIGURES))
def drawn(request, synthetic, tmp_path_factory):
    """The function of a figure, its table, and the figure."""
    mpl.use("Agg")
    root = tmp_path_factory.mktemp(request.param)
    draw, kind = FIGURES[request.param]
    runs = [
        synthetic.make_run(root, dataset=dataset, agent=agent, test_rows=2, **axes)
        for dataset in DATASETS
        for agent in AGENTS
        for axes in AXES[request.param]
    ]
    table = build_table(kind, runs).data
    with figure_style():
        figure = draw(table, title="A title")
        figure.canvas.draw()
    return draw, table, figure


def visible_texts(figure):
    """Return what is printed and where; numbers of an axis only within its limits."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]
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


def test_words_are_at_least_seven_points_and_state_the_seeds_of_every_row(drawn):
    _, _, figure = drawn
    texts = visible_texts(figure)
    assert min(size for _, _, size in texts) >= 7
    headings = [text for text, _, _ in texts if text.startswith("$\\bf")]
    assert len(headings) >= 2
    assert all("n = 5 seeds" in heading for heading in headings)
    assert any("95 %" in text for text, _, _ in texts)


def test_the_same_table_gives_the_same_bytes(drawn, tmp_path):
    draw, table, _ = drawn
    files = [[path.read_bytes() for path in save_figure(draw(table), tmp_path / name)] for name in ("one", "two")]
    assert files[0] == files[1]


def test_tables_without_numbers_are_refused(drawn):
    draw, table, _ = drawn
    with pytest.raises(StateError, match="to draw"):
        draw(table.iloc[:0])


def line(axes, label):
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found


def bar_ends(axes):
    """Return lower and upper end of every vertical bar of ``axes``."""
    segments = [s for c in axes.collections if isinstance(c, mpl.collections.LineCollection) for s in c.get_segments()]
    return {(round(float(s[0][1]), 9), round(float(s[-1][1]), 9)) for s in segments}


def test_win_probabilities_are_those_of_the_table(demo_runs):
    table = build_table("win_probability", demo_runs).data
    axes = draw_win_probabilities(table).axes[1]
    rows = table[
        (table["dataset"] == "diamonds")
        & (table["agent"] == "coreset")
        & (table["metric"] == "crps")
        & (table["quantity"] == "value")
    ]
    np.testing.assert_allclose(line(axes, "Coreset").get_ydata(), rows["estimate"])
    # Moved sideways, but by less than a tenth of the distance between two rounds.
    np.testing.assert_allclose(line(axes, "Coreset").get_xdata(), rows["labelled"].astype(float), atol=12)
    last = rows.iloc[-1]
    assert (round(last["lower"], 9), round(last["upper"], 9)) in bar_ends(axes)


def test_query_sizes_are_on_a_logarithmic_axis_with_their_intervals(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, agent=agent, query_size=size) for size in (1, 10, 200) for agent in AGENTS[:2]]
    table = build_table("query_size", runs).data
    figure = draw_query_sizes(table)
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "10", "200"]
    rows = table[(table["metric"] == "nll") & (table["quantity"] == "area_difference")]
    np.testing.assert_allclose(line(axes, "Coreset").get_ydata(), rows["estimate"])
    assert {(round(r.lower, 9), round(r.upper, 9)) for r in rows.itertuples()} == bar_ends(axes)
    assert list(axes.lines[0].get_ydata()) == [0, 0]


def test_one_query_size_is_drawn_too(demo_runs):
    figure = draw_query_sizes(build_table("query_size", demo_runs).data)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["50"]


def test_panels_of_the_ablation_share_their_axis_and_tell_the_rise(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, warm_start="continue", early_stopping=stopping, rise=rise)
        for stopping, rise in (("restore_best", 0.0), ("inverted", 1.5))
    ]
    table = build_table("training_ablation", runs).data
    figure = draw_training_ablation(table)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["best weights restored", "inverted stopping"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    rises = table[(table["quantity"] == "isotonic_violation") & (table["metric"] == "nll")]["estimate"]
    shown = [axes.texts[0].get_text() for axes in figure.axes]
    assert shown == [f"Random {value:.3f}" for value in rises]
    assert float(shown[1].split()[1]) > 0.1


def test_a_cell_of_the_ablation_without_runs_says_so(synthetic, tmp_path):
    cells = [("scratch", "restore_best"), ("scratch", "inverted"), ("continue", "inverted")]
    runs = [synthetic.make_run(tmp_path, warm_start=start, early_stopping=stopping) for start, stopping in cells]
    figure = draw_training_ablation(build_table("training_ablation", runs).data)
    assert [text.get_text() for text in figure.axes[2].texts] == ["not in the grid"]


def test_a_cell_of_the_ablation_that_is_planned_is_not_finished_or_diverged(synthetic, tmp_path):
    stoppings = ("restore_best", "last_weights", "inverted")
    runs = [synthetic.make_run(tmp_path, early_stopping=stopping) for stopping in stoppings]
    path = runs[2].folder / "rounds.parquet"
    pd.read_parquet(path).assign(nll=np.nan).to_parquet(path)
    runs[1] = dataclasses.replace(runs[1], state="pending")
    figure = draw_training_ablation(render_partial("training_ablation", runs).data)
    assert [text.get_text() for axes in figure.axes[1:] for text in axes.texts] == ["not finished", "no finite value"]


def test_headings_and_titles_that_are_too_long_for_the_page_are_broken(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, dataset="superconductors", agent=agent, query_size=size)
        for agent in AGENTS[:2]
        for size in (50, 200)
    ]
    for run in runs:
        run.spec["labels"] |= {"split": "published", "published_split": 12}
        run.spec["posterior"] = {"sampler": "ensemble"}
    for kind, draw in (("query_size", draw_query_sizes), ("learning_curves", draw_learning_curves)):
        figure = draw(build_table(kind, runs).data, title="Long enough to leave the page on the right " * 3)
        figure.canvas.draw()
        headings = [text.get_text() for text in figure.texts if text.get_text().startswith("$")]
        assert all("posterior.sampler=ensemble" in heading and "\n" in heading for heading in headings)
        boxes = visible_texts(figure)
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for _, box, _ in boxes)
        assert not [(a, b) for (a, one, _), (b, two, _) in combinations(boxes, 2) if one.overlaps(two)]


def test_bands_end_at_zero_and_leave_the_means_readable(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, agent=agent, seeds=range(2)) for agent in AGENTS[:2]]
    table = build_table("learning_curves", runs).data
    values = table[table["quantity"] == "value"]
    assert (values[values["metric"] == "mae_median"]["lower"] < 0).any()
    figure = draw_learning_curves(table)
    for axes, metric in zip(figure.axes, ("nll", "crps", "mae_median"), strict=True):
        means = values[values["metric"] == metric]["estimate"]
        low, high = axes.get_ylim()
        assert low < means.min() < means.max() < high
        assert means.max() - means.min() > 0.45 * (high - low)
        bands = [band.get_paths()[0].vertices[:, 1].min() for band in axes.collections]
        assert min(bands) == 0 if metric != "nll" else min(bands) < means.min()
    assert any(
        "end at 0" in text and "meets an edge goes on" in text.replace("\n", " ")
        for text, _, _ in visible_texts(figure)
    )


@pytest.mark.parametrize(
    ("draw", "kind", "message"),
    [
        (draw_learning_curves, "learning_curve_summary", "a table of kind learning_curves with value"),
        (draw_learning_curves, "labels_to_target", "lacks quantity, estimate, labelled, test_rows"),
        (draw_win_probabilities, "learning_curves", "a table of kind win_probability, .* lacks wins"),
        (draw_query_sizes, "agent_ranks", "a table of kind query_size"),
        (draw_modes, "learning_curves", "a table of kind mode_comparison, .* lacks mode"),
        (draw_mode_differences, "query_size", "a table of kind mode_comparison, .* lacks mode"),
        (draw_training_ablation, "learning_curves", "lacks warm_start, early_stopping"),
        (draw_score_diagnostics, "learning_curves", "a table of kind score_diagnostics with"),
        (draw_critical_differences, "learning_curves", "a table of kind agent_ranks"),
    ],
)
def test_a_table_of_another_kind_is_refused_with_the_kind_that_is_needed(demo_runs, draw, kind, message):
    with pytest.raises((ConfigurationError, StateError), match=message):
        draw(build_table(kind, demo_runs).data)


def test_diagnostics_that_nobody_recorded_have_no_column_and_dots_lie_at_the_estimates(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, agent=agent, scores=True) for agent in AGENTS[:3]]
    for run in runs:
        path = run.folder / "rounds.parquet"
        pd.read_parquet(path).drop(columns=["distinct_masks", "score_noise_floor"], errors="ignore").to_parquet(path)
    table = build_table("score_diagnostics", runs).data
    figure = draw_score_diagnostics(table)
    names = [axes.get_title().replace("\n", " ") for axes in figure.axes]
    assert names == ["Not finite", "Ties", "Grid coverage", "Aleatoric ρ", "Epistemic ρ", "Batch cosine"]
    row = table[(table["agent"] == "bald_dist_entropy") & (table["quantity"] == "epistemic_correlation")].iloc[0]
    dots = {
        (round(float(d.get_xdata()[0]), 9), d.get_ydata()[0]) for d in figure.axes[4].lines if len(d.get_xdata()) == 1
    }
    assert dots == {(round(row["estimate"], 9), 2.0)}


def test_a_group_without_any_value_of_a_diagnostic_says_so_and_the_note_explains_every_column(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, dataset=dataset, agent=agent, scores=True)
        for dataset, agent in (("diamonds", "balsa_emd"), ("parkinsons", "random"))
    ]
    figure = draw_score_diagnostics(build_table("score_diagnostics", runs).data)
    shown = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert shown == [[]] * 8 + [["none"]] * 6 + [[], ["none"]]
    note = figure.texts[-1].get_text().replace("\n", " ")
    assert "Batch cosine: mean cosine" in note
    assert "Distinct masks: how many" in note


def test_a_noise_floor_above_one_is_still_seen(synthetic, tmp_path):
    run = synthetic.make_run(tmp_path, agent="balsa_emd", scores=True)
    path = run.folder / "rounds.parquet"
    pd.read_parquet(path).assign(score_noise_floor=3.0).to_parquet(path)
    figure = draw_score_diagnostics(build_table("score_diagnostics", [run]).data)
    (panel,) = [axes for axes in figure.axes if axes.get_title() == "Noise\nfloor"]
    assert panel.get_xlim()[1] > 3


def test_both_modes_of_a_group_share_their_axes_and_differences_are_those_of_the_table(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, agent=agent, mode=mode, better=0.3 * (mode == "corrected"))
        for mode in ("faithful", "corrected")
        for agent in AGENTS[:3]
    ]
    table = build_table("mode_comparison", runs).data
    figure = draw_modes(table)
    headings = [text.get_text() for text in figure.texts if text.get_text().startswith("$")]
    assert ["corrected recipe" in headings[0], "reference recipe" in headings[1]] == [True, True]
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["NLL", "MAE (mode of 64)", "CRPS"]
    assert figure.axes[0].get_ylim() == figure.axes[3].get_ylim()
    # The corrected recipe was made better, in the row of panels that says so.
    assert line(figure.axes[0], "Random").get_ydata()[-1] < line(figure.axes[3], "Random").get_ydata()[-1]
    differences = draw_mode_differences(table)
    rows = table[(table["quantity"] == "area_difference") & (table["metric"] == "nll")]
    dots = [d for d in differences.axes[0].lines if len(d.get_xdata()) == 1]
    assert set(rows["estimate"].round(9)) <= {round(float(dot.get_xdata()[0]), 9) for dot in dots}
    tau = table[(table["quantity"] == "area_kendall_tau") & (table["metric"] == "nll")].iloc[0]
    assert differences.axes[0].get_xlabel().startswith(f"τ {tau['estimate']:.2f} (")


def test_axis_of_modes_is_logarithmic_where_the_first_error_dwarfs_the_rest(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, agent=agent, mode="faithful") for agent in AGENTS[:2]]
    table = build_table("mode_comparison", runs).data
    plain = draw_modes(table)
    assert {axes.get_yscale() for axes in plain.axes} == {"linear"}
    first = (table["quantity"] == "value") & (table["labelled"] == 200) & (table["metric"] == "crps")
    table.loc[first, ["estimate", "lower", "upper"]] *= 30
    scales = [axes.get_yscale() for axes in draw_modes(table).axes]
    assert scales == ["linear", "linear", "log"], "a likelihood may be below 0"
    plt.close("all")
