"""Where to read the predictive densities of one candidate: nodes on the union of the draws' supports."""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from bayesgrid.acquisition.compilation import compiled
from bayesgrid.errors import ConfigurationError

__all__ = ["base_of_levels", "place_nodes"]

# Placement of the nodes, chosen on flows trained on the study's data and on Gaussian draws of very unequal widths. The
# margin, in standard deviations of the base beyond the tail, lets a narrow density die before the spacing widens.
_UNIFORM_SHARE = 0.25
_LEVELS = 13
_MARGIN = 3.0
_MARGIN_SHARE = 0.5
_SMALLEST = 1e-300


def base_of_levels(grid_nodes: int, tail_probability: float) -> npt.NDArray[np.float64]:
    """Return the standard-normal base `[L]` of the levels that :func:`place_nodes` takes for ``grid_nodes`` nodes.

    Args:
        grid_nodes: nodes to be placed.
        tail_probability: beyond the second and the last level but one.

    Raises:
        ConfigurationError: for fewer than 8 nodes, or a tail probability outside (0, 0.5).
    """
    if grid_nodes < 8:
        raise ConfigurationError("too few nodes for a density grid", given=grid_nodes, allowed="at least 8")
    if not 0.0 < tail_probability < 0.5:
        raise ConfigurationError("tail probability out of range", given=tail_probability, allowed="in (0, 0.5)")
    reach = -float(ndtri(tail_probability))
    return np.concatenate(([-reach - _MARGIN], np.linspace(-reach, reach, _LEVELS), [reach + _MARGIN]))


@compiled
def _merged_order(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the positions of ``levels`` `[T, L]`, flattened, in ascending order, by merging its ascending rows."""
    length = levels.shape[1]
    values = levels.ravel()
    count = values.shape[0]
    order = np.arange(count)
    merged = np.empty(count, dtype=np.int64)
    width = length
    while width < count:
        for begin in range(0, count, 2 * width):
            middle = min(begin + width, count)
            end = min(begin + 2 * width, count)
            left, right = begin, middle
            for place in range(begin, end):
                if right >= end or (left < middle and values[order[left]] <= values[order[right]]):
                    merged[place] = order[left]
                    left += 1
                else:
                    merged[place] = order[right]
                    right += 1
        order, merged = merged, order
        width *= 2
    return order


@compiled
def place_nodes(
    levels: npt.NDArray[np.float64],
    nodes: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
) -> None:
    """Write ascending nodes dense enough for the narrowest draw at every point, and their trapezoid weights.

    Within a draw, the nodes it needs are constant between two of its levels and the same for every such interval. At
    each point the density of nodes is that of the draw that needs most there, plus a small even density over the union
    of the supports. Draws that agree thus share their nodes, and a narrow draw among wide ones gets its own.

    Args:
        levels: `[T, L]`, ascending quantiles of each draw at equal steps of the standard-normal base, the first and the
            last beyond the tails; clipped in place to the union of the supports, which they do not widen.
        nodes: `[G]`, written.
        weights: `[G]`, written.
    """
    draws, steps = levels.shape[0], levels.shape[1] - 1
    count = nodes.shape[0]
    lower = levels[0, 1]
    upper = levels[0, steps - 1]
    for draw in range(1, draws):
        lower = min(lower, levels[draw, 1])
        upper = max(upper, levels[draw, steps - 1])
    for draw in range(draws):
        for step in range(steps + 1):
            levels[draw, step] = min(max(levels[draw, step], lower), upper)
    even_density = _UNIFORM_SHARE / max(upper - lower, _SMALLEST)
    narrowest = max(1e-9 * (upper - lower), _SMALLEST)

    # The node density is constant between two positions: its integral is piecewise linear and inverted exactly.
    positions = levels.ravel()
    order = _merged_order(levels)
    densities = np.empty(order.shape[0])
    current = np.zeros(draws)
    largest = 0.0
    total = 0.0
    for index in range(order.shape[0] - 1):
        draw, step = divmod(order[index], steps + 1)
        before = current[draw]
        if step == steps:
            current[draw] = 0.0
        elif levels[draw, step + 1] > levels[draw, step]:  # levels that coincide come in any order
            share = _MARGIN_SHARE if step == 0 or step == steps - 1 else 1.0
            current[draw] = share / ((steps - 2) * max(levels[draw, step + 1] - levels[draw, step], narrowest))
        if current[draw] >= largest:
            largest = current[draw]
        elif before == largest:
            largest = current.max()
        densities[index] = even_density + largest
        total += densities[index] * (positions[order[index + 1]] - positions[order[index]])
    nodes[0] = lower
    node = 1
    reached = 0.0
    for index in range(order.shape[0] - 1):
        left = positions[order[index]]
        mass = densities[index] * (positions[order[index + 1]] - left)
        while node < count - 1 and total * node <= (reached + mass) * (count - 1):
            nodes[node] = left + max(total * node / (count - 1) - reached, 0.0) / densities[index]
            node += 1
        reached += mass
    while node < count:
        nodes[node] = upper
        node += 1

    weights[0] = 0.5 * (nodes[1] - nodes[0])
    for inner in range(1, count - 1):
        weights[inner] = 0.5 * (nodes[inner + 1] - nodes[inner - 1])
    weights[count - 1] = 0.5 * (nodes[count - 1] - nodes[count - 2])
