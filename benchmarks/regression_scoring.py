"""Time of the fused density scores of active regression against plain array code for the same scores.

Both score the same candidates in this process on one thread: mutual information (KL-grid), KL of consecutive pairs and
KL of all pairs, for draws of a flow of two rational-quadratic splines. The plain version is what one writes first in
torch: ``searchsorted`` and ``gather`` for the splines and their inverses, in blocks of candidates so that it fits into
memory. Its grid is even and ours is adapted, so besides their agreement at the timed number of nodes the benchmark
prints the agreement of each with a fine grid.

The draws are random but have the disagreement of trained networks (about 0.1 nat).

Usage: ``OMP_NUM_THREADS=1 python benchmarks/regression_scoring.py --output FILE.json``
"""

import argparse
import json
import math
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.epistemic_spread import epistemic_spread
from bayesgrid.acquisition.predictive_draws import SplineDraws
from bayesgrid.acquisition.wasserstein import wasserstein_disagreement
from bayesgrid.studies.regression.models.layout import initial_parameters, network_layout
from bayesgrid.studies.regression.models.posterior import posterior_draws, posterior_masks

BOUND = 5.0
REACH = 3.719016485455709  # standard-normal quantile of 1 - 1e-4
SCORES = ("kl_grid", "kl_consecutive", "kl_all_pairs")


def random_knots(draws: int, candidates: int, bins: int, seed: int = 0) -> np.ndarray:
    """Return float32 knots `[T, M, 2, 3, K + 1]` of draws that scatter around one flow per candidate."""
    rng = np.random.default_rng(seed)
    shape = (candidates, 2, 3 * bins + 1)
    raw = rng.normal(0.0, 0.5, (1, *shape)) + rng.normal(0.0, 0.08, (draws, *shape))
    positions = []
    for part in (raw[..., :bins], raw[..., bins : 2 * bins]):
        exponential = np.exp(part)
        share = np.cumsum(exponential / exponential.sum(-1, keepdims=True), axis=-1)
        share[..., -1] = 1.0
        positions.append(np.pad(share * 2 * BOUND, [(0, 0)] * 3 + [(1, 0)]) - BOUND)
    slopes = np.exp(raw[..., 2 * bins :])
    slopes[..., 0] = slopes[..., -1] = 1.0
    return np.stack([*positions, slopes], axis=-2).astype(np.float32)


def _spline(knots: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image and log-slope of ``values`` `[T, m, G]` under splines with ``knots`` `[T, m, 3, K + 1]`."""
    x, y, d = (knots[..., part, :].contiguous() for part in range(3))
    left = (torch.searchsorted(x, values, right=True) - 1).clamp(0, x.shape[-1] - 2)
    x0, x1, y0, y1, d0, d1 = (table.gather(-1, left + shift) for table in (x, y, d) for shift in (0, 1))
    ratio = (y1 - y0) / (x1 - x0)
    position = ((values - x0) / (x1 - x0)).clamp(0, 1)
    product = position * (1 - position)
    denominator = ratio + (d1 + d0 - 2 * ratio) * product
    image = y0 + (y1 - y0) * (ratio * position**2 + d0 * product) / denominator
    slope = ratio**2 * (d1 * position**2 + 2 * ratio * product + d0 * (1 - position) ** 2) / denominator**2
    inside = (values >= -BOUND) & (values < BOUND)
    return torch.where(inside, image, values), torch.where(inside, slope.log(), torch.zeros_like(values))


def _inverse_spline(knots: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the preimages of ``values`` `[T, m, 2]` under splines with ``knots`` `[T, m, 3, K + 1]`."""
    x, y, d = (knots[..., part, :].contiguous() for part in range(3))
    left = (torch.searchsorted(y, values, right=True) - 1).clamp(0, y.shape[-1] - 2)
    x0, x1, y0, y1, d0, d1 = (table.gather(-1, left + shift) for table in (x, y, d) for shift in (0, 1))
    ratio, rise = (y1 - y0) / (x1 - x0), values - y0
    curvature = d1 + d0 - 2 * ratio
    quadratic = (y1 - y0) * (ratio - d0) + rise * curvature
    linear = (y1 - y0) * d0 - rise * curvature
    root = (linear**2 + 4 * quadratic * ratio * rise).clamp(min=0).sqrt()
    return x0 + (x1 - x0) * 2 * ratio * rise / (linear + root)


def plain_scores(knots: np.ndarray, nodes: int, block: int = 250) -> dict[str, np.ndarray]:
    """Return the scores `[M]` by gathers and broadcasting on an even grid over the union of the supports."""
    results = []
    for start in range(0, knots.shape[1], block):
        part = torch.from_numpy(knots[:, start : start + block]).double()
        draws = part.shape[0]
        ends = torch.tensor([-REACH, REACH]).double().expand(*part.shape[:2], 2).contiguous()
        ends = _inverse_spline(part[:, :, 0], _inverse_spline(part[:, :, 1], ends))
        lower, upper = ends[..., 0].amin(0), ends[..., 1].amax(0)
        step = (upper - lower) / (nodes - 1)
        grid = lower[:, None] + step[:, None] * torch.arange(nodes)
        weights = step[:, None].expand(-1, nodes).clone()
        weights[:, [0, -1]] /= 2
        image, first_slope = _spline(part[:, :, 0], grid.expand(draws, -1, -1).contiguous())
        image, second_slope = _spline(part[:, :, 1], image)
        log_density = first_slope + second_slope - 0.5 * image**2 - 0.5 * math.log(2 * math.pi)
        log_density -= torch.logsumexp(log_density + weights.log(), dim=-1, keepdim=True)
        mass = weights * log_density.exp()
        log_mean = torch.logsumexp(log_density, dim=0) - math.log(draws)
        consecutive = (mass[:-1] * (log_density[:-1] - log_density[1:])).sum((0, 2))
        pairs = draws * (mass * log_density).sum((0, 2)) - (mass.sum(0) * log_density.sum(0)).sum(-1)
        kl_grid = (mass * (log_density - log_mean)).sum((0, 2))
        results.append(torch.stack([kl_grid, consecutive, pairs / (draws * (draws - 1))]))
    return dict(zip(SCORES, torch.cat(results, dim=1).numpy(), strict=True))


def fused_scores(knots: np.ndarray, nodes: int) -> dict[str, np.ndarray]:
    scores = density_disagreement(SplineDraws(knots), grid_nodes=nodes)
    return {name: getattr(scores, name) for name in SCORES}


def network_forward(candidates: int, draws: int, bins: int) -> Callable[[], object]:
    """Return the part of a query before the scores: the network under every mask, with 81 features."""
    layout = network_layout(
        81,
        architecture="spline_flow",
        hidden=(32, 32, 64, 128),
        head_hidden=(64, 64),
        bins=bins,
        transforms=2,
        rectified=True,
    )
    parameters = {name: view[0] for name, view in layout.views(initial_parameters(layout, (0,))).items()}
    features = np.random.default_rng(0).random((candidates, 81), dtype=np.float32)
    masks = posterior_masks(layout, 0, 0, draws, 0.05)
    posterior_draws(parameters, layout, features[:8], masks)
    return lambda: posterior_draws(parameters, layout, features, masks)


def seconds_and_result(function: Callable[[], object], repeats: int) -> tuple[float, object]:
    """Return the least CPU seconds of several calls, and the last result."""
    least = math.inf
    result: object = None
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        least = min(least, time.process_time() - start)
    return least, result


def agreement(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return per score the relative differences, the rank correlation and the overlap of the top 50."""
    report = {}
    for name in SCORES:
        difference = np.abs(left[name] - right[name]) / np.maximum(right[name], 1e-3)
        top = [set(np.argsort(-scores[name])[:50].tolist()) for scores in (left, right)]
        report[name] = {
            "median_relative_difference": float(np.median(difference)),
            "largest_relative_difference": float(difference.max()),
            "spearman": float(spearmanr(left[name], right[name]).statistic),
            "top_50_shared": len(top[0] & top[1]),
        }
    return report


def peak_memory_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--draws", type=int, default=25)
    parser.add_argument("--bins", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--knots", type=Path, help="knots of a trained network, .npy `[T, M, 2, 3, K + 1]` float32")
    parser.add_argument("--output", type=Path, help="write the report as JSON")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    knots = (
        np.load(arguments.knots)
        if arguments.knots
        else random_knots(arguments.draws, arguments.candidates, arguments.bins)
    )
    draws = SplineDraws(knots)
    for warm_up in (density_disagreement, wasserstein_disagreement, epistemic_spread):
        warm_up(SplineDraws(knots[:, :2].copy()))

    fused_seconds, fused = seconds_and_result(lambda: fused_scores(knots, arguments.nodes), arguments.repeats)
    fused_memory = peak_memory_gib()
    wasserstein_seconds, _ = seconds_and_result(lambda: wasserstein_disagreement(draws), arguments.repeats)
    spread_seconds, _ = seconds_and_result(lambda: epistemic_spread(draws), arguments.repeats)
    forward_seconds, _ = seconds_and_result(
        network_forward(arguments.candidates, arguments.draws, arguments.bins), arguments.repeats
    )
    plain_seconds, plain = seconds_and_result(lambda: plain_scores(knots, arguments.nodes), 1)
    fine = fused_scores(knots, 3000)
    few = slice(0, min(100, knots.shape[1]))
    plain_fine = plain_scores(knots[:, few].copy(), 20_000, block=10)

    report = {
        "shape": list(knots.shape),
        "nodes": arguments.nodes,
        "mean_mutual_information": float(fine["kl_grid"].mean() / knots.shape[0]),
        "fused_seconds": fused_seconds,
        "plain_seconds": plain_seconds,
        "ratio": plain_seconds / fused_seconds,
        "network_forward_seconds": forward_seconds,
        "whole_query_seconds": forward_seconds + fused_seconds,
        "wasserstein_seconds": wasserstein_seconds,
        "epistemic_spread_seconds": spread_seconds,
        "peak_memory_gib_after_fused": fused_memory,
        "peak_memory_gib_after_plain": peak_memory_gib(),
        "fused_3000_nodes_against_plain_20000": agreement({name: fine[name][few] for name in SCORES}, plain_fine),
        "fused_against_fine": agreement(fused, fine),
        "plain_against_fine": agreement(plain, fine),
        "fused_against_plain": agreement(fused, plain),
        "fused_against_200_nodes": agreement(fused, fused_scores(knots, 200)),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
