import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bayesgrid.errors import StateError
from bayesgrid.reporting.learning_curve_figure import draw_differences, draw_learning_curves
from bayesgrid.reporting.style import TWO_COLUMNS, figure_style
from bayesgrid.reporting.tables import build_table, render_partial


@pytest.fixture(autouse=True)
def _style():
    mpl.use("Agg")
    with figure_style():
        yield
    plt.close("all")


def line(figure, panel, label):
    (found,) = [line for line in figure.axes[panel].lines if line.get_label() == label]
    return found


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def test_lines_and_bands_are_the_numbers_of_the_table(demo_runs):
    table = build_table("learning_curves", demo_runs).data
    figure = draw_learning_curves(table, title="A title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["NLL", "CRPS", "MAE"] * 2
    wanted = table[
        (table["dataset"] == "bimodal_sine")
        & (table["agent"] == "coreset")
        & (table["metric"] == "crps")
        & (table["quantity"] == "value")
    ]
    drawn = line(figure, 4, "Coreset")
    np.testing.assert_allclose(drawn.get_xdata(), wanted["labelled"].to_numpy(dtype=float))
    np.testing.assert_allclose(drawn.get_ydata(), wanted["estimate"])
    edges = figure.axes[4].collections[1].get_paths()[0].vertices[:, 1]
    assert edges.max() == pytest.approx(wanted["upper"].max())
    assert edges.min() == pytest.approx(wanted["lower"].min())


def test_every_panel_row_states_seeds_and_test_rows_and_nothing_leaves_the_page(demo_runs):
    figure = draw_learning_curves(build_table("learning_curves", demo_runs).data, title="A title")
    figure.canvas.draw()
    assert sum("n = 5 seeds, 30 test rows" in text for text in texts(figure)) == 2
    assert figure.get_figwidth() == TWO_COLUMNS
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= figure.get_figwidth()
    assert drawn.y1 <= figure.get_figheight()


def test_the_legend_lies_outside_the_panels(demo_runs):
    figure = draw_learning_curves(build_table("learning_curves", demo_runs).data)
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert all(axes.get_window_extent().y1 < legend.y0 for axes in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "Random",
        "Coreset",
        "BALD entropy",
        "BALSA KL pairs",
        "BALSA KL grid",
    ]


@pytest.mark.parametrize("draw", [draw_learning_curves, draw_differences])
def test_numbers_and_names_of_panels_do_not_touch(demo_runs, draw):
    figure = draw(build_table("learning_curves", demo_runs).data)
    figure.canvas.draw()
    headings = [text.get_window_extent() for text in figure.texts]
    for left, axes in zip([None, *figure.axes], figure.axes, strict=False):
        low, high = axes.get_ylim()
        numbers = [
            tick.label1.get_window_extent() for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high
        ]
        if left is not None and left.get_window_extent().y0 == axes.get_window_extent().y0:
            assert min(number.x0 for number in numbers) > left.get_window_extent().x1
        name = axes.get_title(loc="left")
        (shown,) = [text.get_window_extent() for text in axes.findobj(mpl.text.Text) if text.get_text() == name]
        assert not any(shown.overlaps(other) for other in [*headings, *numbers])


def test_many_agents_get_bars_instead_of_bands(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, agent=agent) for agent in synthetic.EFFECT]
    figure = draw_learning_curves(build_table("learning_curves", runs).data)
    assert not any(isinstance(c, mpl.collections.PolyCollection) for c in figure.axes[0].collections)
    assert any(text.startswith("Bars: 95 %") for text in texts(figure))


def test_differences_leave_out_the_reference_and_mark_zero(demo_runs):
    table = build_table("learning_curves", demo_runs).data
    figure = draw_differences(table)
    assert "Random" not in [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(list(line.get_ydata()) == [0, 0] for line in figure.axes[0].lines)
    assert line(figure, 0, "Coreset").get_ydata()[0] == 0.0
    assert any("to Random, paired by seed" in text for text in texts(figure))


def test_partial_tables_and_single_seeds_are_drawn_and_empty_ones_refused(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, agent="random", seeds=range(1)),
        synthetic.make_run(tmp_path, agent="coreset", seeds=range(1), state="running"),
    ]
    table = render_partial("learning_curves", runs).data
    figure = draw_learning_curves(table)
    figure.canvas.draw()
    assert any("n = 1 seed," in text for text in texts(figure))
    with pytest.raises(StateError, match="no difference"):
        draw_differences(table)
    with pytest.raises(StateError, match="no value"):
        draw_learning_curves(table[table["seeds"] == 0])
