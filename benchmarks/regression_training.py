"""Seconds per seed to train the spline flow: ten seeds as one stack, against zuko one seed at a time.

Both sides train the same network on Parkinsons-shaped synthetic data (600 x 61 labelled, 940 validation rows) with
NAdam, dropout 0.05 and a validation pass after every epoch, in one process and one thread. zuko is the library of the
reference implementation; its side trains two seeds and is reported per seed.

    python benchmarks/regression_training.py --output training.json
"""

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import zuko
from torch import nn

from bayesgrid.studies.regression.models.layout import initial_parameters, network_layout
from bayesgrid.studies.regression.training import FitSettings, LabelledBlock, fit

HIDDEN = (32, 32, 64, 128)
HEAD_HIDDEN = (64, 64)


def synthetic_block(seeds: int, rows: int, features: int, validation_rows: int) -> LabelledBlock:
    rng = np.random.default_rng(0)
    x = rng.random((seeds, rows + validation_rows, features)).astype(np.float32)
    y = np.sin(4 * x[..., 0]) + x[..., 1] * x[..., 2] + 0.1 * rng.standard_normal(x.shape[:2])
    y = ((y - y.mean()) / y.std()).astype(np.float32)
    counts = np.full(seeds, validation_rows)
    return LabelledBlock(x[:, :rows], y[:, :rows], x[:, rows:], y[:, rows:], counts)


class ZukoRegressor(nn.Module):
    """The same network from torch.nn and zuko."""

    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(features, HIDDEN[0]), nn.ReLU()]
        for inputs, outputs in pairwise(HIDDEN):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
        self.encoder = nn.Sequential(*layers)
        self.flow = zuko.flows.NSF(1, HIDDEN[-1], transforms=2, bins=8, hidden_features=HEAD_HIDDEN)

    def forward(self, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the negative log-likelihood of every row."""
        return -self.flow(self.encoder(features)).log_prob(targets[:, None])


def train_zuko(block: LabelledBlock, seed: int, epochs: int, batch_size: int) -> float:
    torch.manual_seed(seed)
    model = ZukoRegressor(block.features.shape[2], 0.05)
    optimiser = torch.optim.NAdam(model.parameters(), lr=1e-3)
    arrays = (block.features, block.targets, block.validation_features, block.validation_targets)
    features, targets, validation_features, validation_targets = (torch.from_numpy(a[seed].copy()) for a in arrays)
    validation = float("inf")
    for _ in range(epochs):
        model.train()
        order = torch.randperm(len(targets))
        for step in range(len(targets) // batch_size):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            optimiser.zero_grad()
            model(features[chosen], targets[chosen]).mean().backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            validation = float(model(validation_features, validation_targets).mean())
    return validation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--features", type=int, default=61)
    parser.add_argument("--validation-rows", type=int, default=940)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    block = synthetic_block(arguments.seeds, arguments.rows, arguments.features, arguments.validation_rows)
    layout = network_layout(
        arguments.features,
        architecture="spline_flow",
        hidden=HIDDEN,
        head_hidden=HEAD_HIDDEN,
        bins=8,
        transforms=2,
        rectified=True,
    )
    settings = FitSettings(
        learning_rate=1e-3,
        weight_decay=0.0,
        dropout=0.05,
        batch_size=64,
        max_epochs=arguments.epochs,
        patience=arguments.epochs,
        minimum_improvement=0.0,
    )
    seeds = tuple(range(arguments.seeds))

    def train_stack() -> float:
        result = fit(initial_parameters(layout, seeds), layout, block, seeds, (0,), settings)
        return float(result.validation_nll.mean())

    train_stack()  # compiles
    train_zuko(block, 0, 1, 64)
    stacked_seconds, zuko_seconds = [], []
    zuko_seeds = min(2, arguments.seeds)
    for _ in range(arguments.repetitions):
        started = time.perf_counter()
        stacked_loss = train_stack()
        stacked_seconds.append((time.perf_counter() - started) / arguments.seeds)
        started = time.perf_counter()
        zuko_loss = float(np.mean([train_zuko(block, seed, arguments.epochs, 64) for seed in range(zuko_seeds)]))
        zuko_seconds.append((time.perf_counter() - started) / zuko_seeds)
    record = {
        "seeds_in_stack": arguments.seeds,
        "rows": arguments.rows,
        "features": arguments.features,
        "validation_rows": arguments.validation_rows,
        "epochs": arguments.epochs,
        "repetitions": arguments.repetitions,
        "stacked_seconds_per_seed_and_epoch": float(np.median(stacked_seconds)) / arguments.epochs,
        "zuko_seconds_per_seed_and_epoch": float(np.median(zuko_seconds)) / arguments.epochs,
        "ratio": float(np.median(zuko_seconds) / np.median(stacked_seconds)),
        "stacked_validation_nll": stacked_loss,
        "zuko_validation_nll": zuko_loss,
    }
    for key, value in record.items():
        print(f"{key:38s} {value:.6g}" if isinstance(value, float) else f"{key:38s} {value}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
