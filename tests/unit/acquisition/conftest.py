"""Spline draws to score, and their densities and quantiles by plain numpy, written from the formulas alone."""

from collections.abc import Callable

import numpy as np
import pytest

from bayesgrid.acquisition.predictive_draws import SplineDraws

BOUND = 5.0


def _knots(raw: np.ndarray) -> np.ndarray:
    """Return knots `[..., 3, K + 1]` for unconstrained numbers `[..., 3K + 1]`."""
    bins = (raw.shape[-1] - 1) // 3
    widths, heights = (
        np.exp(part - part.max(-1, keepdims=True)) for part in (raw[..., :bins], raw[..., bins : 2 * bins])
    )
    positions = []
    for part in (widths, heights):
        inner = np.cumsum(part / part.sum(-1, keepdims=True), axis=-1)[..., :-1] * 2 * BOUND - BOUND
        edge = np.full((*inner.shape[:-1], 1), BOUND)
        positions.append(np.concatenate([-edge, inner, edge], axis=-1))
    slopes = np.exp(raw[..., 2 * bins :])
    slopes[..., 0] = slopes[..., -1] = 1.0
    return np.stack([*positions, slopes], axis=-2)


@pytest.fixture
def spline_draws() -> Callable[..., SplineDraws]:
    def make(
        seed: int, draws: int, inputs: int, *, spread: float = 0.3, shape: float = 1.0, bins: int = 8
    ) -> SplineDraws:
        rng = np.random.default_rng(seed)
        centre = rng.normal(0.0, shape, (1, inputs, 2, 3 * bins + 1))
        raw = (
            centre + rng.normal(0.0, spread, (draws, inputs, 2, 3 * bins + 1))
            if spread
            else np.repeat(centre, draws, 0)
        )
        return SplineDraws(_knots(raw).astype(np.float32))

    return make


class ReferenceFlow:
    """One draw at one input, evaluated in float64 with one pass per bin and inverted by bisection."""

    def __init__(self, knots: np.ndarray) -> None:
        self.knots = knots.astype(np.float64)

    def forward(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images and logarithms of the slope."""
        value, log_slope = np.array(targets, dtype=np.float64), np.zeros(np.shape(targets))
        for x, y, d in self.knots:
            image, slope = value.copy(), np.ones_like(value)
            for k in range(len(x) - 1):
                inside = (value >= x[k]) & (value < x[k + 1])
                w, h = x[k + 1] - x[k], y[k + 1] - y[k]
                s, t = h / w, (value[inside] - x[k]) / w
                below = s + (d[k + 1] + d[k] - 2 * s) * t * (1 - t)
                image[inside] = y[k] + h * (s * t**2 + d[k] * t * (1 - t)) / below
                slope[inside] = s**2 * (d[k + 1] * t**2 + 2 * s * t * (1 - t) + d[k] * (1 - t) ** 2) / below**2
            value, log_slope = image, log_slope + np.log(slope)
        return value, log_slope

    def log_density(self, targets: np.ndarray) -> np.ndarray:
        image, log_slope = self.forward(targets)
        return -0.5 * image**2 - 0.5 * np.log(2 * np.pi) + log_slope

    def quantiles(self, base: np.ndarray) -> np.ndarray:
        base = np.asarray(base, dtype=np.float64)
        low, high = np.minimum(-BOUND, base) - 1.0, np.maximum(BOUND, base) + 1.0
        for _ in range(100):
            middle = 0.5 * (low + high)
            below = self.forward(middle)[0] < base
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)


@pytest.fixture
def reference_flow() -> type[ReferenceFlow]:
    return ReferenceFlow
