import hashlib
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from PIL import Image

from bayesgrid.reporting.names import agent_label
from bayesgrid.reporting.style import OKABE_ITO, ONE_COLUMN, agent_style, figure_style, save_figure
from bayesgrid.studies.regression.agents import agent_names


def drawn():
    figure, axes = plt.subplots(figsize=(ONE_COLUMN, 2))
    axes.plot([0, 1], [0, 1], **agent_style("random").line_options())
    axes.fill_between([0, 1], [0, 0], [1, 2], alpha=0.2)
    axes.legend()
    axes.set_xlabel("Number of labels")
    return figure


@pytest.fixture(autouse=True)
def _close_figures():
    mpl.use("Agg")
    yield
    plt.close("all")


def test_every_agent_differs_from_every_other_in_print_and_in_grey():
    styles = [agent_style(name) for name in agent_names()]
    assert len({(style.colour, style.marker, str(style.line)) for style in styles}) == len(styles)
    assert len({style.marker for style in styles}) == len(styles)
    assert {style.colour for style in styles} <= set(OKABE_ITO.values())
    # Yellow on white cannot be read.
    assert OKABE_ITO["yellow"] not in {style.colour for style in styles}
    assert len({agent_label(name) for name in agent_names()}) == len(styles)


def test_an_unlisted_agent_keeps_its_style_and_is_not_taken_for_a_listed_one():
    style = agent_style("my_new_agent")
    assert style == agent_style("my_new_agent")
    assert style.label == "my new agent"
    listed = {(agent_style(name).marker, str(agent_style(name).line)) for name in agent_names()}
    assert (style.marker, str(style.line)) not in listed


def test_text_is_at_least_seven_points():
    with figure_style():
        figure = drawn()
        figure.canvas.draw()
        texts = [text for text in figure.findobj(mpl.text.Text) if text.get_text()]
        assert len(texts) > 5
        assert min(text.get_fontsize() for text in texts) >= 7


def test_the_style_ends_with_its_block():
    before = dict(mpl.rcParams)
    with figure_style():
        assert mpl.rcParams["font.size"] != before["font.size"]
    assert dict(mpl.rcParams) == before


def test_the_same_figure_gives_the_same_bytes_without_a_date(tmp_path):
    digests = []
    for attempt in range(2):
        with figure_style():
            paths = save_figure(drawn(), tmp_path / str(attempt) / "figure")
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
    assert digests[0] == digests[1]
    assert [path.name for path in paths] == ["figure.svg", "figure.png"]
    assert not re.search(r"<dc:date>|\b20\d\d-\d\d-\d\d", paths[0].read_text())


def test_the_picture_has_the_width_asked_for_at_300_dots_an_inch(tmp_path):
    with figure_style():
        _, png = save_figure(drawn(), tmp_path / "figure")
    with Image.open(png) as picture:
        assert picture.size == (round(ONE_COLUMN * 300), 600)
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
