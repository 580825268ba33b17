"""Scatter plots with axes and tick labels, drawn pixel by pixel, so that no font or plotting library changes them."""

from math import floor, log10

import numpy as np
from numpy.typing import NDArray

__all__ = ["PLOT_SIDE", "draw_scatter", "tick_values"]

PLOT_SIDE = 224
"""Width and height of a plot in pixels."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 214, 8, 198
_GLYPH_WIDTH, _GLYPH_HEIGHT, _GAP = 5, 7, 1
_GLYPHS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    "-": "00000 00000 00000 11111 00000 00000 00000",
    ".": "00000 00000 00000 00000 00000 01100 01100",
}
_INK, _POINT = (0, 0, 0), (31, 119, 180)


def tick_values(low: float, high: float) -> list[float]:
    """Return three to seven round numbers in ``[low, high]``, a step of 1, 2 or 5 times a power of ten apart."""
    power = 10.0 ** floor(log10((high - low) / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= 6)
    return [number * step for number in range(floor(low / step), floor(high / step) + 1) if number * step >= low]


def draw_scatter(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a plot of the points ``(x, y)`` as uint8 ``[224, 224, 3]``, the axes a little wider than the points."""
    canvas = np.full((PLOT_SIDE, PLOT_SIDE, 3), 255, dtype=np.uint8)
    canvas[_BOTTOM, _LEFT : _RIGHT + 1] = _INK
    canvas[_TOP : _BOTTOM + 1, _LEFT] = _INK
    columns, x_range = _pixels(x, _LEFT, _RIGHT)
    rows, y_range = _pixels(y, _BOTTOM, _TOP)
    for value in tick_values(*x_range):
        column = _place(value, x_range, _LEFT, _RIGHT)
        canvas[_BOTTOM : _BOTTOM + 4, column] = _INK
        text = f"{value:.6g}"
        _write(canvas, text, column - _width(text) // 2, _BOTTOM + 7)
    for value in tick_values(*y_range):
        row = _place(value, y_range, _BOTTOM, _TOP)
        canvas[row, _LEFT - 3 : _LEFT + 1] = _INK
        text = f"{value:.6g}"
        _write(canvas, text, _LEFT - 6 - _width(text), row - _GLYPH_HEIGHT // 2)
    for column, row in zip(columns, rows, strict=True):
        canvas[row - 1 : row + 2, column - 1 : column + 2] = _POINT
    return canvas


def _pixels(values: NDArray[np.float64], start: int, end: int) -> tuple[list[int], tuple[float, float]]:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low)
    shown = (low - margin, high + margin)
    return [_place(float(value), shown, start, end) for value in values], shown


def _place(value: float, shown: tuple[float, float], start: int, end: int) -> int:
    return start + round((value - shown[0]) / (shown[1] - shown[0]) * (end - start))


def _width(text: str) -> int:
    return len(text) * (_GLYPH_WIDTH + _GAP) - _GAP


def _write(canvas: NDArray[np.uint8], text: str, left: int, top: int) -> None:
    for position, sign in enumerate(text):
        for row, pixels in enumerate(_GLYPHS[sign].split()):
            for column, pixel in enumerate(pixels):
                x, y = left + position * (_GLYPH_WIDTH + _GAP) + column, top + row
                if pixel == "1" and 0 <= x < PLOT_SIDE and 0 <= y < PLOT_SIDE:
                    canvas[y, x] = _INK
