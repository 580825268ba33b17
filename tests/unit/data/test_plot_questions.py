import re

import numpy as np
import pytest
from PIL import Image

from bayesgrid.data.plot_questions import draw_plot_questions, plot_question
from bayesgrid.data.plot_raster import PLOT_SIDE, draw_scatter, tick_values
from bayesgrid.grid.question_sets import SeedBlocks

FUNCTIONS = {"sin": np.sin, "cos": np.cos, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "abs": np.abs}
POINT = np.array([31, 119, 180])


def values(text, x):
    """The values of a formula as it is written."""
    match = re.fullmatch(r"y = (-?[\d.]+)([*/])(.+) ([+-]) ([\d.]+)", text)
    factor, operation, core, sign, offset = match.groups()
    if power := re.fullmatch(r"x(?:\^(\d))?", core):
        inner = x ** int(power[1] or 1)
    else:
        name, argument = re.fullmatch(r"(\w+)\((.*)\)", core).groups()
        if scaled := re.fullmatch(r"([\d.]+)\*x", argument):
            argument_values = float(scaled[1]) * x
        elif shifted := re.fullmatch(r"x - ([\d.]+)", argument):
            argument_values = x - float(shifted[1])
        else:
            argument_values = {"x": x}[argument]
        inner = FUNCTIONS[name](argument_values)
    product = float(factor) / inner if operation == "/" else float(factor) * inner
    return product + (1 if sign == "+" else -1) * float(offset)


def points(pixels):
    """Centres of the points of a plot in axis units, from 0 to 1 in both directions."""
    marked = (pixels == POINT).all(axis=2)
    rows, columns = np.nonzero(marked)
    return (columns - columns.min()) / np.ptp(columns), (rows.max() - rows) / np.ptp(rows)


@pytest.mark.parametrize("seed", range(25))
def test_the_answer_fits_the_points_of_the_plot_and_the_others_differ(seed):
    options, answer, pixels = plot_question(seed)
    assert len(set(options)) == 4
    x = np.linspace(0.5, 5, 400)
    truth = values(options[answer], x)
    for place, option in enumerate(options):
        distance = np.sqrt(np.mean((values(option, x) - truth) ** 2)) / np.ptp(truth)
        assert (distance == 0) == (place == answer)
        assert place == answer or distance > 0.1
    across, up = points(pixels)
    shown = np.interp(0.5 + 4.5 * across, x, (truth - truth.min()) / np.ptp(truth))
    assert np.median(np.abs(shown - up)) < 0.1


def test_questions_are_the_same_every_time_and_none_is_in_two_splits(tmp_path):
    blocks = SeedBlocks(train=20, validation=5, test=5)
    (first, packages), (second, _) = (draw_plot_questions(blocks, tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert packages == {}
    for questions in first.values():
        for question in questions:
            one, other = (np.asarray(Image.open(tmp_path / name / question.image)) for name in ("a", "b"))
            np.testing.assert_array_equal(one, other)
            assert one.shape == (PLOT_SIDE, PLOT_SIDE, 3)
    groups = [question.group for questions in first.values() for question in questions]
    assert len(set(groups)) == 30


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.9), (0.5, 5), (-1e-3, 2e-3), (1234, 98765), (-5000, 12)])
def test_ticks_are_few_round_and_within_the_range(low, high):
    ticks = tick_values(low, high)
    assert 3 <= len(ticks) <= 7
    assert low <= ticks[0]
    assert ticks[-1] <= high
    step = ticks[1] - ticks[0]
    np.testing.assert_allclose(np.diff(ticks), step)
    assert f"{step:e}"[0] in "125"


def test_points_stand_where_their_values_say():
    x, y = np.array([0.0, 1.0, 2.0, 4.0]), np.array([0.0, 10.0, 10.0, 5.0])
    marked = (draw_scatter(x, y) == POINT).all(axis=2)
    assert marked.sum() == 4 * 9
    rows, columns = np.nonzero(marked)
    assert np.unique(columns).size == 12
    assert np.unique(rows).size == 9
