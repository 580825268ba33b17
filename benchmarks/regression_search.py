"""CPU seconds per configuration of a hyperparameter search: stacked configurations, against one at a time.

Both sides fit the same network to the same Parkinsons-shaped synthetic subset (1,000 x 61 labelled, 1,000 validation
rows) for a fixed number of epochs, in one process and one thread, with the values that the search draws. The one-by-one
side fits a few of the configurations and is reported per configuration; that the results have the same bits is checked.

    python benchmarks/regression_search.py --output search.json
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from bayesgrid.studies.regression.models.layout import initial_parameters, network_layout
from bayesgrid.studies.regression.one_thread import one_thread
from bayesgrid.studies.regression.training import FitSettings, LabelledBlock, fit
from bayesgrid.studies.regression_search.configurations import drawn_configurations
from bayesgrid.studies.regression_search.spec import SearchSpace


def synthetic_subset(rows: int, features: int, validation_rows: int) -> LabelledBlock:
    rng = np.random.default_rng(0)
    x = rng.random((1, rows + validation_rows, features)).astype(np.float32)
    y = np.sin(4 * x[..., 0]) + x[..., 1] * x[..., 2] + 0.1 * rng.standard_normal(x.shape[:2])
    y = ((y - y.mean()) / y.std()).astype(np.float32)
    return LabelledBlock(x[:, :rows], y[:, :rows], x[:, rows:], y[:, rows:], np.array([validation_rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=16, help="how many of them make one stack")
    parser.add_argument("--one-by-one", type=int, default=4, help="how many of them are fitted alone")
    parser.add_argument("--architecture", choices=["spline_flow", "gaussian"], default="spline_flow")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--features", type=int, default=61)
    parser.add_argument("--validation-rows", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    layout = network_layout(
        arguments.features,
        architecture=arguments.architecture,
        hidden=(32, 32, 64, 128),
        head_hidden=(64, 64),
        bins=8,
        transforms=2,
        rectified=True,
    )
    subset = synthetic_subset(arguments.rows, arguments.features, arguments.validation_rows)
    start = initial_parameters(layout, (0,))
    values = drawn_configurations(SearchSpace(), arguments.configurations, 0)

    def losses(chosen: np.ndarray) -> np.ndarray:
        learning_rate, weight_decay, dropout = chosen.T
        copies = np.zeros(len(chosen), dtype=np.int64)
        arrays = (subset.features, subset.targets, subset.validation_features, subset.validation_targets)
        block = LabelledBlock(*(array[copies] for array in arrays), subset.validation_counts[copies])
        settings = FitSettings(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            dropout=dropout,
            batch_size=arguments.batch_size,
            max_epochs=arguments.epochs,
            patience=arguments.epochs,
            minimum_improvement=0.0,
        )
        return fit(start[copies], layout, block, (0,) * len(chosen), (0,), settings).validation_nll

    alone = min(arguments.one_by_one, arguments.configurations)
    stacked_seconds, single_seconds = [], []
    with one_thread():
        losses(values[:2])  # compiles
        for _ in range(arguments.repetitions):
            started = time.process_time()
            stacked = np.concatenate(
                [losses(values[begin : begin + arguments.chunk]) for begin in range(0, len(values), arguments.chunk)]
            )
            stacked_seconds.append((time.process_time() - started) / arguments.configurations)
            started = time.process_time()
            single = np.concatenate([losses(values[place : place + 1]) for place in range(alone)])
            single_seconds.append((time.process_time() - started) / alone)
            if not np.array_equal(stacked[:alone], single):
                raise SystemExit("a configuration in the stack has other bits than alone")
    ratios = np.array(single_seconds) / np.array(stacked_seconds)
    record = {
        "configurations": arguments.configurations,
        "in_one_stack": arguments.chunk,
        "one_by_one": alone,
        "architecture": arguments.architecture,
        "rows": arguments.rows,
        "batch_size": arguments.batch_size,
        "epochs": arguments.epochs,
        "repetitions": arguments.repetitions,
        "stacked_seconds_per_configuration_and_epoch": float(np.median(stacked_seconds)) / arguments.epochs,
        "single_seconds_per_configuration_and_epoch": float(np.median(single_seconds)) / arguments.epochs,
        "ratio": float(np.median(ratios)),
    }
    for key, value in record.items():
        print(f"{key:44s} {value:.6g}" if isinstance(value, float) else f"{key:44s} {value}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
