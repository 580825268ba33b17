"""Run folders of preference models whose learning curves, and so areas and savings, are known."""

from pathlib import Path

import numpy as np
import pandas as pd

from bayesgrid.reporting.collect import RunRecord
from bayesgrid.reporting.source_texts import SourceText

METRICS = ("accuracy", "nll", "brier", "ece", "aurc", "error_auroc", "tempered_nll", "tempered_ece")
SOURCES = {
    ("dataset", "pairs"): SourceText("Synthetic pairs", "Made for tests."),
    ("model", "encoder"): SourceText("Encoder", "Reads little."),
}
LENGTH_BASELINE = 0.72


def accuracies(labelled, speed, seeds, *, start=0.6, ceiling=0.8, scale=400.0):
    """Return exact curves [S, R]: a rule of speed v is after n labels where random pairs are after v n."""
    level = 0.01 * np.sin(1 + np.array(seeds, dtype=float))
    return start + (ceiling - start) * (1 - np.exp(-speed * np.asarray(labelled) / scale))[None] + level[:, None]


def make_run(
    root: Path,
    *,
    rule: str = "random",
    speed: float = 1.0,
    model: str = "bradley_terry",
    posterior: str = "laplace",
    selector: str = "top",
    dataset: str = "pairs",
    features: str | None = "encoder",
    seeds=range(5),
    initial: int | str = 100,
    per_round: int = 50,
    rounds: int = 8,
    noise: float = 0.0,
    ceiling: float = 0.8,
    split: str = "prompt",
    kappa: float = 1.0,
    steps: int = 300,
    pairs: int = 60,
    published: dict[str, float] | None = None,
    extra_splits: dict[str, dict[str, float]] | None = None,
    state: str = "done",
) -> RunRecord:
    """Write the files of a run and return its record."""
    spec = {
        "dataset": dataset,
        "inputs": {"model": features},
        "model": {"kind": model, "dimension": 6},
        "posterior": {"kind": posterior},
        "training": {"steps": steps},
        "labels": {"initial": initial, "per_round": per_round, "rounds": rounds, "split": split},
        "acquisition": {"rule": rule, "selector": selector, "kappa": kappa},
        "seeds": list(seeds),
    }
    identity = "-".join(
        map(str, (dataset, features, model, posterior, rule, selector, split, kappa, steps, seeds[0], seeds[-1]))
    )
    folder = root / "runs" / "preference" / identity
    if state == "done":
        folder.mkdir(parents=True)
        labelled = np.arange(rounds + 1) * per_round + initial if initial != "all" else np.array([1000])
        curves = accuracies(labelled, speed, seeds, ceiling=ceiling)
        names = (rule, model, selector)
        shake = np.random.default_rng(sum(map(ord, "".join(names)))).normal(scale=noise, size=curves.shape)
        shake[:, 0] = 0.0
        curves += shake
        frames = []
        for row, seed in zip(curves, seeds, strict=True):
            columns = {"seed": seed, "round": np.arange(labelled.size), "labelled": labelled, "accuracy": row}
            columns |= {name: 1.3 - row for name in METRICS if name != "accuracy"}
            frames.append(pd.DataFrame(columns))
        rounds_frame = pd.concat(frames, ignore_index=True)
        rounds_frame.to_parquet(folder / "rounds.parquet", index=False)
        values = {"longer_is_better_accuracy": LENGTH_BASELINE, **(published or {})}
        records = [(seed, "test", name, value) for seed in seeds for name, value in values.items()]
        for name, own in (extra_splits or {}).items():
            records += [(seed, name, metric, value + 0.001 * seed) for seed in seeds for metric, value in own.items()]
        pd.DataFrame(records, columns=["seed", "split", "metric", "value"]).to_parquet(
            folder / "metrics.parquet", index=False
        )
        _predictions(curves[:, -1], seeds, labelled.size - 1, pairs).to_parquet(
            folder / "predictions.parquet", index=False
        )
    return RunRecord(identity, "preference", spec, folder, ("active",), state, sources=SOURCES)


def _predictions(final, seeds, last, pairs):
    """Return predictions of the first and the last round; of the last, as many are right as the accuracy says."""
    target = (np.arange(pairs) % 2).astype(float)
    frames = []
    for seed, accuracy in zip(seeds, final, strict=True):
        for number in {0, last}:
            right = np.arange(pairs) < round(accuracy * pairs)
            towards = np.where(right, target, 1 - target)
            probability = 0.5 + (towards - 0.5) * np.linspace(0.95, 0.3, pairs)
            frames.append(
                pd.DataFrame(
                    {
                        "seed": seed,
                        "round": number,
                        "pair": [f"pair {place}" for place in range(pairs)],
                        "prompt": [f"prompt {place // 3}" for place in range(pairs)],
                        "first_preferred": target,
                        "probability": probability,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)
