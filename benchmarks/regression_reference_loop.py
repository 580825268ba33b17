"""Time of the pieces of one round of active regression against the reference implementation's way of doing them.

The other side is written from the description of the reference, with the libraries it uses: torch and zuko, one seed
at a time. Both sides hold the same network, without ReLU in the encoder as in the reference, and the same weights; data
are synthetic, in the shape of Parkinsons (61 features).

- training epoch: 600 labels in shuffled batches of 64 from a data loader, NAdam, dropout; ours is a stack of seeds,
  divided by their number, and also pays for a validation pass over a single row.
- training and validation: the same, and the mean loss of 940 validation rows on both sides.
- KL-pairs query: 3,160 candidates, 25 masks, 200 nodes; the other side draws a mask per row, runs the masks in a loop
  and the candidates in batches of 256.
- test evaluation: 1,175 rows; the other side evaluates batches of 64 rows, takes the densest of 64 samples in a loop
  over rows and the CRPS of the samples; ours is exact and gives all metrics.

Every time is the median of several repeats that alternate between the sides, in one process and one thread. The
agreement of both sides without dropout is printed too, as is the memory of the greedy k-centre choice and the time of
CoreGCN.

    python benchmarks/regression_reference_loop.py [--output FILE.json]
"""

import argparse
import json
import math
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import zuko
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bayesgrid.acquisition.density_disagreement import density_disagreement
from bayesgrid.acquisition.graph_coreset import core_gcn
from bayesgrid.acquisition.selection import k_centre_greedy
from bayesgrid.studies.regression.evaluation import evaluate
from bayesgrid.studies.regression.models.layout import ParameterLayout, initial_parameters, network_layout
from bayesgrid.studies.regression.models.posterior import posterior_draws, posterior_masks
from bayesgrid.studies.regression.training import FitSettings, LabelledBlock, fit

FEATURES = 61
LABELS, VALIDATION_ROWS, CANDIDATES, TEST_ROWS = 600, 940, 3160, 1175
HIDDEN, HEAD_HIDDEN, BINS = (32, 32, 64, 128), (64, 64), 8
MASKS, NODES, SAMPLES = 25, 200, 64
BATCH, VALIDATION_BATCH, QUERY_BATCH = 64, 512, 256
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 1e-3, 1.87e-3, 0.05
STACKS = (1, 5, 10)
EPOCHS = 8


class ReferenceNetwork(nn.Module):
    """Encoder without activations, dropout after every layer but the first, and zuko's spline flow."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(FEATURES, HIDDEN[0])]
        for inputs, outputs in pairwise(HIDDEN):
            layers += [nn.Linear(inputs, outputs), nn.Dropout(DROPOUT)]
        self.encoder = nn.Sequential(*layers)
        self.flow = zuko.flows.NSF(1, HIDDEN[-1], transforms=2, bins=BINS, hidden_features=HEAD_HIDDEN)

    def forward(self, features: Tensor) -> torch.distributions.Distribution:
        """Return the density of every row's target."""
        return self.flow(self.encoder(features))


def our_layout() -> ParameterLayout:
    return network_layout(
        FEATURES,
        architecture="spline_flow",
        hidden=HIDDEN,
        head_hidden=HEAD_HIDDEN,
        bins=BINS,
        transforms=2,
        rectified=False,
    )


def same_network(layout: ParameterLayout, parameters: dict[str, Tensor]) -> ReferenceNetwork:
    """Return the reference's network with our weights."""
    network = ReferenceNetwork()
    parts: list[nn.Module] = [network.encoder, *(transform.hyper for transform in network.flow.transform.transforms)]
    with torch.no_grad():
        for part, layers in zip(parts, (layout.encoder, *layout.heads), strict=True):
            linear = [module for module in part if hasattr(module, "weight")]
            for module, layer in zip(linear, layers, strict=True):
                module.weight.copy_(parameters[f"{layer.name}.weight"].T)
                module.bias.copy_(parameters[f"{layer.name}.bias"])
    return network


def synthetic_rows(rows: int, stream: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 features `[rows, 61]` and targets `[rows]` of about unit variance."""
    features = stream.random((rows, FEATURES), dtype=np.float32)
    targets = np.sin(4 * features[:, 0]) + features[:, 1] * features[:, 2] + 0.1 * stream.standard_normal(rows)
    return features, ((targets - 0.6) / 0.6).astype(np.float32)


@dataclass(frozen=True)
class Data:
    """Rows of each role, as (features, targets)."""

    labelled: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    candidates: np.ndarray
    test: tuple[np.ndarray, np.ndarray]

    def stack(self, seeds: int, validation_rows: int) -> LabelledBlock:
        """Return the same rows for every seed."""
        features, targets, validation_features, validation_targets = (
            np.repeat(array[None], seeds, axis=0) for array in (*self.labelled, *self.validation)
        )
        counts = np.full(seeds, validation_rows)
        return LabelledBlock(
            features,
            targets,
            validation_features[:, :validation_rows],
            validation_targets[:, :validation_rows],
            counts,
        )


def reference_epochs(data: Data, network: ReferenceNetwork, validate: bool) -> Callable[[], None]:
    """Return one training epoch, with a validation pass if asked."""
    optimiser = torch.optim.NAdam(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    sets = [TensorDataset(*map(torch.from_numpy, rows)) for rows in (data.labelled, data.validation)]
    batches = DataLoader(sets[0], BATCH, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(1))
    validation = DataLoader(sets[1], VALIDATION_BATCH)

    def epoch() -> None:
        network.train()
        for features, targets in batches:
            optimiser.zero_grad()
            (-network(features).log_prob(targets[:, None])).mean().backward()
            optimiser.step()
        if validate:
            network.eval()
            losses = []
            with torch.no_grad():
                for features, targets in validation:
                    losses.append((-network(features).log_prob(targets[:, None])).mean().item())
            assert math.isfinite(sum(losses))

    return epoch


def our_epochs(data: Data, layout: ParameterLayout, seeds: int, validate: bool) -> Callable[[], None]:
    """Return ``EPOCHS`` epochs of a stack of seeds."""
    block = data.stack(seeds, VALIDATION_ROWS if validate else 1)
    numbers = tuple(range(seeds))
    start = initial_parameters(layout, numbers)
    settings = FitSettings(
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        dropout=DROPOUT,
        batch_size=BATCH,
        max_epochs=EPOCHS,
        patience=EPOCHS,
        minimum_improvement=0.0,
    )

    def epochs() -> None:
        fit(start, layout, block, numbers, (0,), settings)

    return epochs


@torch.no_grad()
def reference_kl_pairs(network: ReferenceNetwork, candidates: np.ndarray, grid: Tensor) -> np.ndarray:
    """Return ``sum_h sum_g p_h log(p_h / p_{h+1})`` `[n]` with fresh dropout for every row and pass."""
    network.train()
    batches = torch.from_numpy(candidates).split(QUERY_BATCH)
    densities = [
        torch.cat([network(batch).log_prob(grid[:, None, None]).exp().T for batch in batches]) for _ in range(MASKS)
    ]
    scores = torch.zeros(len(candidates))
    for density, following in pairwise(densities):
        scores += (density * (density / following).log()).sum(dim=1)
    return scores.numpy()


@torch.no_grad()
def reference_evaluation(network: ReferenceNetwork, features: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return likelihood, error of the densest of 64 samples, and CRPS of the samples."""
    network.eval()
    rows = zip(torch.from_numpy(features).split(BATCH), torch.from_numpy(targets).split(BATCH), strict=True)
    losses, errors, scores = [], [], []
    for part, observed in rows:
        density = network(part)
        losses.append(-density.log_prob(observed[:, None]))
        samples = density.sample((SAMPLES,))
        log_density = density.log_prob(samples)
        modes = [samples[log_density[:, row].argmax(), row, 0] for row in range(len(part))]
        errors.append((torch.stack(modes) - observed).abs())
        scores.append(ensemble_crps(samples[..., 0].numpy().T, observed.numpy()))
    return {
        "nll": float(torch.cat(losses).mean()),
        "mae_mode64": float(torch.cat(errors).mean()),
        "crps": float(np.concatenate(scores).mean()),
    }


def ensemble_crps(samples: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return ``E|X - y| - E|X - X'| / 2`` `[n]` of the empirical distribution of samples `[n, m]`, by sorting."""
    count = samples.shape[1]
    ordered = np.sort(samples, axis=1)
    weights = 2 * np.arange(1, count + 1) - count - 1
    return np.abs(samples - observed[:, None]).mean(axis=1) - ordered @ weights / count**2


@dataclass(frozen=True)
class Seconds:
    """Median CPU and wall seconds of one piece."""

    cpu: float
    wall: float


def medians(pieces: dict[str, tuple[Callable[[], object], float]], repeats: int) -> dict[str, Seconds]:
    """Return the median seconds of every piece over its divisor; pieces take turns, the first one untimed."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in pieces}
    for turn in range(repeats + 1):
        for name, (piece, divisor) in pieces.items():
            cpu, wall = time.process_time(), time.perf_counter()
            piece()
            if turn > 0:
                taken[name].append(((time.process_time() - cpu) / divisor, (time.perf_counter() - wall) / divisor))
    return {name: Seconds(*np.median(times, axis=0).tolist()) for name, times in taken.items()}


def timings(data: Data, repeats: int) -> dict[str, dict[str, Seconds]]:
    """Return for every piece the seconds of each way to do it; the reference is the first."""
    layout = our_layout()
    parameters = {name: view[0] for name, view in layout.views(initial_parameters(layout, (0,))).items()}
    results = {}
    for name, validate in (("training epoch", False), ("training and validation", True)):
        ways = {"reference": (reference_epochs(data, same_network(layout, parameters), validate), 1.0)}
        for seeds in STACKS:
            ways[f"{seeds} stacked" if seeds > 1 else "1 seed"] = (
                our_epochs(data, layout, seeds, validate),
                float(seeds * EPOCHS),
            )
        results[name] = medians(ways, repeats)

    network = same_network(layout, parameters)
    grid = torch.linspace(-2.0, 2.0, NODES)
    masks = posterior_masks(layout, 0, 0, MASKS, DROPOUT)

    def our_query(nodes: int) -> object:
        return density_disagreement(posterior_draws(parameters, layout, data.candidates, masks), grid_nodes=nodes)

    results["KL-pairs query"] = medians(
        {
            "reference": (lambda: reference_kl_pairs(network, data.candidates, grid), 1.0),
            "200 nodes": (lambda: our_query(NODES), 1.0),
            "64 nodes": (lambda: our_query(64), 1.0),
        },
        repeats,
    )
    normal = np.random.default_rng(1).standard_normal((TEST_ROWS, SAMPLES), dtype=np.float32)
    features, targets = data.test
    results["test evaluation"] = medians(
        {
            "reference": (lambda: reference_evaluation(network, features, targets), 1.0),
            "exact": (
                lambda: evaluate(
                    parameters, layout, features, targets.astype(float), location=0.0, scale=1.0, normal=normal
                ),
                1.0,
            ),
        },
        repeats,
    )
    return results


def agreement(data: Data) -> dict[str, dict[str, float]]:
    """Return the metrics of both sides for the same weights, after training so that densities are no bells."""
    layout = our_layout()
    settings = FitSettings(LEARNING_RATE, WEIGHT_DECAY, DROPOUT, BATCH, 20, 20, 0.0)
    fitted = fit(initial_parameters(layout, (0,)), layout, data.stack(1, VALIDATION_ROWS), (0,), (0,), settings)
    parameters = {name: view[0].clone() for name, view in layout.views(fitted.parameters).items()}
    normal = np.random.default_rng(1).standard_normal((TEST_ROWS, SAMPLES), dtype=np.float32)
    features, targets = data.test
    ours, _ = evaluate(parameters, layout, features, targets.astype(float), location=0.0, scale=1.0, normal=normal)
    theirs = reference_evaluation(same_network(layout, parameters), features, targets)
    return {name: {"reference": theirs[name], "ours": ours[name]} for name in theirs}


def k_centre_memory(candidates: int, labelled: int = 200, query_size: int = 50, width: int = 128) -> dict[str, float]:
    """Return the peak of memory that the greedy k-centre choice allocates, in bytes per candidate."""
    stream = np.random.default_rng(0)
    points = stream.standard_normal((candidates, width), dtype=np.float32)
    centres = stream.standard_normal((labelled, width), dtype=np.float32)
    tracemalloc.start()
    started = time.process_time()
    k_centre_greedy(points, centres, query_size)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"candidates": candidates, "bytes_per_candidate": peak / candidates, "cpu_seconds": seconds}


def core_gcn_seconds(candidates: int = 2000, labelled: int = 600, query_size: int = 50) -> Seconds:
    stream = np.random.default_rng(0)
    points = stream.standard_normal((candidates + labelled, HIDDEN[-1]), dtype=np.float32)
    choose = lambda: core_gcn(points[:candidates], points[candidates:], query_size, np.random.default_rng(1))  # noqa: E731
    return medians({"coregcn": (choose, 1.0)}, 3)["coregcn"]


def print_table(results: dict[str, dict[str, Seconds]]) -> None:
    print(f"{'piece':26s} {'way':12s} {'CPU ms':>10s} {'wall ms':>10s} {'CPU ratio':>10s} {'wall ratio':>10s}")
    for piece, ways in results.items():
        reference = ways["reference"]
        for way, seconds in ways.items():
            ratios = "".join(
                f" {value:10.1f}" for value in (reference.cpu / seconds.cpu, reference.wall / seconds.wall)
            )
            print(
                f"{piece:26s} {way:12s} {1e3 * seconds.cpu:10.2f} {1e3 * seconds.wall:10.2f}"
                f"{'' if way == 'reference' else ratios}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the report as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stream = np.random.default_rng(0)
    data = Data(
        synthetic_rows(LABELS, stream),
        synthetic_rows(VALIDATION_ROWS, stream),
        synthetic_rows(CANDIDATES, stream)[0],
        synthetic_rows(TEST_ROWS, stream),
    )
    with threadpool_limits(limits=1):
        results = timings(data, arguments.repeats)
        print_table(results)
        metrics = agreement(data)
        print("\nthe same weights on both sides, test rows")
        for name, values in metrics.items():
            print(f"{name:12s} reference {values['reference']:.5f}   ours {values['ours']:.5f}")
        k_centre_memory(100)  # compiles
        memory = [k_centre_memory(candidates) for candidates in (2_000, 20_000, 80_000)]
        print("\ngreedy k-centre, 128 features")
        for row in memory:
            print(
                f"{row['candidates']:8.0f} candidates {row['bytes_per_candidate']:10.0f} bytes per candidate"
                f" {row['cpu_seconds']:8.3f} CPU s"
            )
        graph = core_gcn_seconds()
        print(f"\nCoreGCN, 2,000 candidates: {graph.cpu:.2f} CPU s, {graph.wall:.2f} wall s")
    report = {
        "repeats": arguments.repeats,
        "seconds": {
            piece: {way: {"cpu": seconds.cpu, "wall": seconds.wall} for way, seconds in ways.items()}
            for piece, ways in results.items()
        },
        "agreement": metrics,
        "k_centre": memory,
        "core_gcn": {"cpu": graph.cpu, "wall": graph.wall},
    }
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
