"""Run folders with learning curves whose true differences are known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bayesgrid.reporting.collect import RunRecord

# Area of each agent above that of `random`, in units of the metric.
EFFECT = {
    "random": 0.0,
    "coreset": 0.05,
    "bald_dist_entropy": -0.08,
    "bald_dist_std": -0.03,
    "balsa_kl_pairs": -0.10,
    "balsa_kl_all_pairs": -0.11,
    "balsa_kl_grid": -0.08,
    "balsa_emd": -0.01,
}
TWINS = {"balsa_kl_grid": "bald_dist_entropy"}
SCALE = {"nll": (0.6, -2.4), "crps": (0.02, 0.014), "mae_median": (0.03, 0.02)}


def make_run(
    root: Path,
    *,
    dataset: str = "diamonds",
    agent: str = "random",
    seeds: range = range(5),
    query_size: int = 50,
    initial: int = 200,
    budget: int = 400,
    test_rows: int = 30,
    architecture: str = "spline_flow",
    warm_start: str = "scratch",
    early_stopping: str | None = None,
    mode: str | None = None,
    rise: float = 0.0,
    better: float = 0.0,
    scores: bool = False,
    experiments: tuple[str, ...] = ("demo",),
    state: str = "done",
) -> RunRecord:
    """Write the files of a run and return its record.

    ``rise`` is added to every metric in the middle of the curve and ``better`` taken off it everywhere, both in units
    of the metric's height; a budget of 0 gives the single round of a fit to all labels; ``scores`` adds the columns of
    score diagnostics.
    """
    settings = [str(value) for value in (early_stopping, mode, "all" if budget == 0 else None) if value]
    identity = f"{dataset}-{architecture}-{agent}-q{query_size}-s{seeds[0]}-{seeds[-1]}-" + "-".join(
        [warm_start, *settings]
    )
    folder = root / "runs" / "regression" / identity
    spec = {
        "dataset": dataset,
        "architecture": architecture,
        "agent": agent,
        "seeds": list(seeds),
        "labels": {"initial": initial if budget else "all", "budget": budget, "query_size": query_size},
        "training": {"warm_start": warm_start},
    }
    if early_stopping is not None:
        spec["training"]["early_stopping"] = early_stopping
    if mode is not None:
        # What a mode brings along must not be taken for variants.
        spec |= {"mode": mode, "posterior": {"masks": "per_row" if mode == "faithful" else "per_function"}}
    if state == "done":
        folder.mkdir(parents=True)
        labelled = np.arange(initial, initial + budget + 1, query_size)
        rounds = _rounds(dataset, agent, seeds, labelled, stream=len(mode or ""))
        middle = np.sin(np.pi * rounds["round"] / max(1, rounds["round"].max()))
        for metric, (height, _) in {**SCALE, "mae_mode64": SCALE["mae_median"]}.items():
            rounds[metric] += height * (rise * middle - better)
        if scores:
            rounds = rounds.assign(**_diagnostics(rounds, agent))
        rounds.to_parquet(folder / "rounds.parquet", index=False)
        pd.DataFrame({"seed": list(seeds), "split": "test", "metric": "nll", "value": 1.0}).to_parquet(
            folder / "metrics.parquet", index=False
        )
        _predictions(rounds, test_rows).to_parquet(folder / "predictions.parquet", index=False)
        manifest = {
            "code": {"commit": "0123456789abcdef", "changes": None},
            "machine": {"host": "node"},
            "attempt": 1,
            "wall_seconds": 12.5,
            "peak_memory_mb": 812.0,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return RunRecord(identity, "regression", spec, folder, experiments, state)


def _rounds(dataset: str, agent: str, seeds: range, labelled: np.ndarray, *, stream: int) -> pd.DataFrame:
    frames = []
    for seed in seeds:
        shared = np.random.default_rng([seed, len(dataset)])
        level = shared.normal(scale=0.15)
        first = shared.normal(scale=0.1)
        own = np.random.default_rng([seed, sorted(EFFECT).index(TWINS.get(agent, agent)), stream])
        columns = {"seed": seed, "round": np.arange(labelled.size), "labelled": labelled}
        for metric, (height, floor) in SCALE.items():
            progress = (labelled - labelled[0]) / max(1, labelled[-1] - labelled[0])
            noise = own.normal(scale=0.04, size=labelled.size)
            # All agents start from the same labels, so the first value is common to them.
            noise[0] = 0.0
            relative = np.exp(-3 * progress) + level + first * (progress == 0) + noise
            columns[metric] = floor + height * (relative + 2 * EFFECT[agent] * np.minimum(1, 4 * progress))
        columns["chosen"] = [[int(i) for i in own.integers(0, 100, 3)] for _ in labelled]
        frames.append(pd.DataFrame(columns))
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(nll_standardised=frame["nll"] + 1, mae_mode64=frame["mae_median"] * 1.01)


def _diagnostics(rounds: pd.DataFrame, agent: str) -> dict[str, object]:
    """Return columns about scores, without numbers in the last round, which buys nothing."""
    rng = np.random.default_rng(sorted(EFFECT).index(agent))
    asked = np.where(rounds["round"] < rounds["round"].max(), 1.0, np.nan)
    if agent in {"random", "coreset"}:
        columns = dict.fromkeys(("score_min", "score_median", "score_max", "score_ties"), np.nan)
        return {**columns, "score_nonfinite": 0.0 * asked, "batch_similarity": asked * rng.uniform(0, 0.2)}
    level = rng.uniform(0.2, 0.9)
    noise = rng.normal(scale=0.05, size=len(rounds))
    return {
        "score_min": 0.01 * asked,
        "score_median": 0.1 * asked,
        "score_max": asked,
        "score_ties": 50 * level * asked,
        "score_nonfinite": 5 * asked,
        "score_candidates": 500.0,
        "score_noise_floor": asked * (level / 2 + noise),
        "grid_coverage": asked * (0.9 + 0.1 * level),
        "score_aleatoric_correlation": asked * (level - 0.3 + noise),
        "score_epistemic_correlation": asked * (level + noise),
        "batch_similarity": asked * (level + noise),
        "distinct_masks": 25 * asked,
    }


def _predictions(rounds: pd.DataFrame, test_rows: int) -> pd.DataFrame:
    """Return scores per row whose means are the metrics of the first and the last round."""
    difficulty = np.random.default_rng(99).normal(size=test_rows)
    difficulty -= difficulty.mean()
    frames = []
    for (seed, number), row in rounds.set_index(["seed", "round"]).iterrows():
        if number not in {0, rounds["round"].max()}:
            continue
        errors = row["mae_median"] * (1 + 0.2 * difficulty / np.abs(difficulty).max())
        columns = {
            "seed": seed,
            "round": number,
            "row": np.arange(test_rows) * 3,
            "target": 0.5,
            "log_density": -row["nll"] - 0.3 * difficulty,
            "crps": row["crps"] * (1 + 0.2 * difficulty / np.abs(difficulty).max()),
            "median": 0.5 + errors,
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def entry(table, **wanted):
    """Return the one row of a table's data that has the wanted values."""
    rows = table.data
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def wide(run, metric="nll"):
    """Return the curves as an array of seeds by rounds, and the numbers of labels."""
    rounds = pd.read_parquet(run.folder / "rounds.parquet")
    table = rounds.pivot_table(index="seed", columns="labelled", values=metric)
    return table.to_numpy(), table.columns.to_numpy(dtype=float)


def areas(run, metric="nll"):
    """Return the area under each seed's curve, by the trapezoid rule, over the labels bought."""
    values, labelled = wide(run, metric)
    return ((values[:, 1:] + values[:, :-1]) / 2 * np.diff(labelled)).sum(axis=1) / (labelled[-1] - labelled[0])
