r"""Two monotone rational-quadratic splines as a density of the target: log-density, its gradient, and knots.

With ``r1`` acting on the standardised target y first,
``log p(y) = log N(r2(r1(y)); 0, 1) + log r1'(y) + log r2'(r1(y))``. A spline of K bins on [-5, 5], the identity
outside, is made of 3 K - 1 unconstrained numbers as in zuko: with c = log(1e-3), widths
``10 softmax(w / (1 + |2 w / c|))``, heights likewise, inner slopes ``exp(d / (1 + |d / c|))``, slope 1 at both ends.

Source: Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows, arXiv 1906.04032, equations 4 to 8.
"""

import math

import numpy as np
import numpy.typing as npt

from bayesgrid.studies.regression.models.compilation import compiled

__all__ = ["BOUND", "spline_knots", "spline_losses"]

BOUND = 5.0
"""Splines are the identity outside [-BOUND, BOUND], in standard deviations of the target."""
_LOG_SMALLEST_SLOPE = math.log(1e-3)
_LOG_NORMAL_CONSTANT = 0.5 * math.log(2.0 * math.pi)


@compiled
def _shares(raw: npt.NDArray[np.float32], shares: npt.NDArray[np.float64]) -> None:
    """Write the softmax of the squashed numbers: the share of the domain that each bin takes."""
    largest = -math.inf
    for i in range(shares.shape[0]):
        value = np.float64(raw[i])
        value /= 1.0 + abs(2.0 * value / _LOG_SMALLEST_SLOPE)
        shares[i] = value
        largest = max(largest, value)
    total = 0.0
    for i in range(shares.shape[0]):
        shares[i] = math.exp(shares[i] - largest)
        total += shares[i]
    for i in range(shares.shape[0]):
        shares[i] /= total


@compiled
def _slope(raw: float) -> float:
    return math.exp(raw / (1.0 + abs(raw / _LOG_SMALLEST_SLOPE)))


@compiled
def _transform(
    raw: npt.NDArray[np.float32],
    point: float,
    widths: npt.NDArray[np.float64],
    heights: npt.NDArray[np.float64],
    bin_state: npt.NDArray[np.float64],
) -> tuple[int, float, float]:
    """Return the bin of ``point`` (-1 outside), its image and the log-slope, and write what the gradient needs."""
    bins = widths.shape[0]
    if not (-BOUND < point < BOUND):
        return -1, point, 0.0
    _shares(raw[:bins], widths)
    _shares(raw[bins : 2 * bins], heights)
    k = 0
    left = -BOUND
    bottom = -BOUND
    right = left + 2.0 * BOUND * widths[0]
    while k < bins - 1 and point >= right:
        bottom += 2.0 * BOUND * heights[k]
        left = right
        k += 1
        right += 2.0 * BOUND * widths[k]
    width = 2.0 * BOUND * widths[k]
    height = 2.0 * BOUND * heights[k]
    slope_left = 1.0 if k == 0 else _slope(np.float64(raw[2 * bins + k - 1]))
    slope_right = 1.0 if k == bins - 1 else _slope(np.float64(raw[2 * bins + k]))
    ratio = height / width
    position = (point - left) / width
    rest = 1.0 - position
    product = position * rest
    denominator = ratio + (slope_right + slope_left - 2.0 * ratio) * product
    share = (ratio * position * position + slope_left * product) / denominator
    numerator = slope_right * position * position + 2.0 * ratio * product + slope_left * rest * rest
    bin_state[0] = width
    bin_state[1] = height
    bin_state[2] = slope_left
    bin_state[3] = slope_right
    bin_state[4] = position
    log_slope = 2.0 * math.log(ratio / denominator) + math.log(numerator)
    return k, bottom + height * share, log_slope


@compiled
def _differentiate_shares(
    raw: npt.NDArray[np.float32],
    shares: npt.NDArray[np.float64],
    k: int,
    before: float,
    inside: float,
    scale: float,
    gradient: npt.NDArray[np.float32],
) -> None:
    """Write the gradient through squashing and softmax; ``before`` and ``inside`` are those for bins < k and bin k."""
    mean = shares[k] * inside
    for i in range(k):
        mean += shares[i] * before
    for i in range(shares.shape[0]):
        upstream = before if i < k else (inside if i == k else 0.0)
        squash = 1.0 + abs(2.0 * np.float64(raw[i]) / _LOG_SMALLEST_SLOPE)
        gradient[i] = scale * 2.0 * BOUND * shares[i] * (upstream - mean) / (squash * squash)


@compiled
def _differentiate(
    raw: npt.NDArray[np.float32],
    k: int,
    widths: npt.NDArray[np.float64],
    heights: npt.NDArray[np.float64],
    bin_state: npt.NDArray[np.float64],
    image_gradient: float,
    scale: float,
    gradient: npt.NDArray[np.float32],
) -> float:
    """Write ``scale`` times the gradient of ``loss(image) - log slope`` and return its derivative by the point."""
    gradient[:] = np.float32(0)
    if k < 0:
        return image_gradient
    bins = widths.shape[0]
    width = bin_state[0]
    height = bin_state[1]
    slope_left = bin_state[2]
    slope_right = bin_state[3]
    position = bin_state[4]
    ratio = height / width
    rest = 1.0 - position
    product = position * rest
    excess = slope_right + slope_left - 2.0 * ratio
    denominator = ratio + excess * product
    top = ratio * position * position + slope_left * product
    share = top / denominator
    numerator = slope_right * position * position + 2.0 * ratio * product + slope_left * rest * rest

    denominator_position = excess * (1.0 - 2.0 * position)
    denominator_ratio = 1.0 - 2.0 * product
    top_position = 2.0 * ratio * position + slope_left * (1.0 - 2.0 * position)
    numerator_position = 2.0 * (slope_right * position + ratio * (1.0 - 2.0 * position) - slope_left * rest)

    by_image = image_gradient * height / denominator
    by_position = by_image * (top_position - share * denominator_position) - (
        numerator_position / numerator - 2.0 * denominator_position / denominator
    )
    by_ratio = by_image * (position * position - share * denominator_ratio) - (
        2.0 / ratio + 2.0 * product / numerator - 2.0 * denominator_ratio / denominator
    )
    by_slope_left = by_image * product * (1.0 - share) - (rest * rest / numerator - 2.0 * product / denominator)
    by_slope_right = -by_image * product * share - (position * position / numerator - 2.0 * product / denominator)
    by_height = image_gradient * share + by_ratio / width
    by_width = -(by_ratio * ratio + by_position * position) / width
    by_left = -by_position / width

    _differentiate_shares(raw[:bins], widths, k, by_left, by_width, scale, gradient[:bins])
    _differentiate_shares(raw[bins : 2 * bins], heights, k, image_gradient, by_height, scale, gradient[bins : 2 * bins])
    if k > 0:
        squash = 1.0 + abs(np.float64(raw[2 * bins + k - 1]) / _LOG_SMALLEST_SLOPE)
        gradient[2 * bins + k - 1] = scale * by_slope_left * slope_left / (squash * squash)
    if k < bins - 1:
        squash = 1.0 + abs(np.float64(raw[2 * bins + k]) / _LOG_SMALLEST_SLOPE)
        gradient[2 * bins + k] = scale * by_slope_right * slope_right / (squash * squash)
    by_point: float = by_position / width
    return by_point


@compiled
def spline_losses(
    raw_first: npt.NDArray[np.float32],
    raw_second: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    bins: int,
    losses: npt.NDArray[np.float32],
    gradient_first: npt.NDArray[np.float32],
    gradient_second: npt.NDArray[np.float32],
    differentiate: bool,
) -> None:
    """Write ``-log p(y)`` of every row of a stack and, if asked, the gradient of each seed's mean of it.

    Args:
        raw_first: `[S, L]`, rows of 3 K - 1 unconstrained numbers of r1, for `[S, n]` targets.
        raw_second: `[S, L]`, the same for r2.
        targets: `[S, n]`, standardised.
        bins: K.
        losses: `[S, n]`, written; in nats.
        gradient_first: `[S, L]`, written.
        gradient_second: `[S, L]`, written.
        differentiate: whether gradients are wanted.
    """
    widths_first = np.empty(bins)
    heights_first = np.empty(bins)
    state_first = np.empty(5)
    widths_second = np.empty(bins)
    heights_second = np.empty(bins)
    state_second = np.empty(5)
    columns = 3 * bins - 1
    rows = targets.shape[1]
    scale = 1.0 / rows
    for seed in range(targets.shape[0]):
        for r in range(rows):
            start = r * columns
            first = raw_first[seed, start : start + columns]
            second = raw_second[seed, start : start + columns]
            k_first, middle, log_first = _transform(
                first, np.float64(targets[seed, r]), widths_first, heights_first, state_first
            )
            k_second, image, log_second = _transform(second, middle, widths_second, heights_second, state_second)
            losses[seed, r] = 0.5 * image * image + _LOG_NORMAL_CONSTANT - log_first - log_second
            if differentiate:
                by_middle = _differentiate(
                    second,
                    k_second,
                    widths_second,
                    heights_second,
                    state_second,
                    image,
                    scale,
                    gradient_second[seed, start : start + columns],
                )
                _differentiate(
                    first,
                    k_first,
                    widths_first,
                    heights_first,
                    state_first,
                    by_middle,
                    scale,
                    gradient_first[seed, start : start + columns],
                )


@compiled
def spline_knots(raw: npt.NDArray[np.float32], bins: int, knots: npt.NDArray[np.float32]) -> None:
    """Write the knots of splines.

    Args:
        raw: `[n, 3 K - 1]`, unconstrained numbers.
        bins: K.
        knots: `[n, 3, K + 1]`, written: input position, output position and slope at each knot.
    """
    shares = np.empty(bins)
    for row in range(raw.shape[0]):
        for axis in range(2):
            _shares(raw[row, axis * bins : (axis + 1) * bins], shares)
            position = -BOUND
            for k in range(bins):
                knots[row, axis, k] = position
                position += 2.0 * BOUND * shares[k]
            knots[row, axis, bins] = BOUND
        knots[row, 2, 0] = 1.0
        knots[row, 2, bins] = 1.0
        for k in range(bins - 1):
            knots[row, 2, k + 1] = _slope(np.float64(raw[row, 2 * bins + k]))
