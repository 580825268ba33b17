"""Symbolic regression as questions: which of four formulas describes the points of a plot.

Our own generator, in the place of a set that the reference reads from a folder it does not publish. The wrong formulas
have random parameters too; on the plotted values of x, the root mean square distance of each from the right one is at
least a fifth of the range of the points.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bayesgrid.data.choice_questions import ChoiceQuestion, Splits
from bayesgrid.data.plot_raster import draw_scatter
from bayesgrid.data.seeded_splits import draw_splits
from bayesgrid.grid.question_sets import SeedBlocks
from bayesgrid.random_streams import random_stream

__all__ = ["Formula", "draw_plot_questions", "plot_question"]

Values = NDArray[np.float64]

_OPTIONS = 4
_POINTS = 60
_NOISE = 0.02
_DISTANCE = 0.2
_QUESTION = "The image shows points of one function. Which formula is it?"


@dataclass(frozen=True)
class Formula:
    """A formula with its parameters filled in: how it is written, and its values."""

    text: str
    values: Callable[[Values], Values]


def _polynomial(degree: int) -> Callable[[float, float, float], Formula]:
    power = "x" if degree == 1 else f"x^{degree}"
    return lambda a, _b, c: Formula(f"y = {a:g}*{power} {_signed(c)}", lambda x: a * x**degree + c)


_FAMILIES: tuple[Callable[[float, float, float], Formula], ...] = (
    _polynomial(1),
    _polynomial(2),
    _polynomial(3),
    lambda a, b, c: Formula(f"y = {a:g}*sin({b:g}*x) {_signed(c)}", lambda x: a * np.sin(b * x) + c),
    lambda a, b, c: Formula(f"y = {a:g}*cos({b:g}*x) {_signed(c)}", lambda x: a * np.cos(b * x) + c),
    lambda a, b, c: Formula(f"y = {a:g}*exp({b / 2:g}*x) {_signed(c)}", lambda x: a * np.exp(b / 2 * x) + c),
    lambda a, _, c: Formula(f"y = {a:g}*log(x) {_signed(c)}", lambda x: a * np.log(x) + c),
    lambda a, _, c: Formula(f"y = {a:g}*sqrt(x) {_signed(c)}", lambda x: a * np.sqrt(x) + c),
    lambda a, _, c: Formula(f"y = {a:g}/x {_signed(c)}", lambda x: a / x + c),
    lambda a, b, c: Formula(f"y = {a:g}*abs(x - {b:g}) {_signed(c)}", lambda x: a * np.abs(x - b) + c),
)


def draw_plot_questions(parameters: SeedBlocks, images: Path) -> tuple[Splits, dict[str, str]]:
    """Draw the questions of each split and write their plots into ``images`` as PNG; no package shapes the pixels."""
    images.mkdir(parents=True, exist_ok=True)

    def draw(split: str, seed: int) -> ChoiceQuestion:
        options, answer, pixels = plot_question(seed)
        name = f"{split}-{seed}"
        Image.fromarray(pixels).save(images / f"{name}.png")
        group = hashlib.sha256(options[answer].encode()).hexdigest()[:16]
        return ChoiceQuestion(name, _QUESTION, options, answer, group=group, image=f"{name}.png")

    return draw_splits(parameters, draw, generator="symbolic_regression_plots"), {}


def plot_question(seed: int) -> tuple[tuple[str, ...], int, NDArray[np.uint8]]:
    """Return four formulas as text, the place of the one that fits, and the plot uint8 ``[224, 224, 3]``."""
    stream = random_stream(seed, "plot question")
    x = np.sort(np.round(stream.uniform(0.5, 5.0, size=_POINTS), 4))
    truth = _draw_formula(stream)
    height = float(np.ptp(truth.values(x)))
    options = [truth]
    while len(options) < _OPTIONS:
        candidate = _draw_formula(stream)
        new = candidate.text not in {option.text for option in options}
        if new and _distance(candidate, truth, x) >= _DISTANCE * height:
            options.append(candidate)
    order = stream.permutation(_OPTIONS)
    y = truth.values(x) + _NOISE * height * stream.standard_normal(_POINTS)
    return tuple(options[place].text for place in order), int(np.flatnonzero(order == 0)[0]), draw_scatter(x, y)


def _draw_formula(stream: np.random.Generator) -> Formula:
    family = _FAMILIES[int(stream.integers(len(_FAMILIES)))]
    factor = float(stream.choice((-1, 1)) * stream.integers(5, 50) / 10)
    inner = float(stream.integers(1, 7) / 2)
    return family(factor, inner, float(stream.integers(-50, 51) / 10))


def _distance(first: Formula, second: Formula, x: Values) -> float:
    return float(np.sqrt(np.mean((first.values(x) - second.values(x)) ** 2)))


def _signed(number: float) -> str:
    return f"{'-' if number < 0 else '+'} {abs(number):g}"
