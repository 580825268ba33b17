"""Run folders of the study ``bayesian_lora`` with predictions whose quality is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bayesgrid.reporting.collect import RunRecord
from bayesgrid.studies.bayesian_lora.answer_metrics import DrawnAnswers, answer_metrics

# How much sharper than calibrated a method's logits are, and the spread of its draws.
SHARPNESS = {"zeroshot": (1.0, 0.0), "mle": (2.5, 0.0), "map": (2.0, 0.0), "tfb": (1.6, 1.0)}
METHODS = ("zeroshot", "mle", "map", "mcdropout", "ensemble", "laplace", "blob", "scalabl", "tfb", "ivon")
COST = {"mle": (0.02, 8e5, 3e6), "map": (0.02, 8e5, 3e6), "zeroshot": (0.015, 0, 0), "ensemble": (0.2, 8e6, 3e7)}


def make_answers(
    root: Path,
    *,
    method: str = "mle",
    model: str = "qwen3-0.6b",
    dataset: str = "obqa",
    evaluation: str = "",
    seeds=range(4),
    questions: int = 60,
    classes: int = 4,
    draws: int | None = None,
    signal: float = 1.5,
    labels: int = 200,
    mode: str = "correct",
    settings: dict | None = None,
    predictions: pd.DataFrame | None = None,
    metrics: dict[str, float] | None = None,
    state: str = "done",
) -> RunRecord:
    """Write an evaluation run and return its record.

    ``predictions`` replaces the drawn ones, and ``metrics`` is then all that is published, the same for every seed.
    ``settings`` are further dotted keys of the specification; ``draws`` of 0 predicts with the mean.
    """
    single = method in {"mle", "map", "zeroshot"} or draws == 0
    spec = {
        "model": model,
        "method": method,
        "mode": mode,
        "dataset": dataset,
        "seeds": list(seeds),
        "evaluation": {"dataset": evaluation, "draws": (1 if single else 10) if draws is None else draws},
        "training": {"steps": 100},
        "variational": {"kl_direction": "posterior_to_prior", "flipout": "example"},
    }
    for key, value in (settings or {}).items():
        group, _, last = key.rpartition(".")
        (spec[group] if group else spec)[last] = value
    changed = "-".join(f"{key}-{value}" for key, value in (settings or {}).items())
    identity = f"{model}-{dataset}-{evaluation}-{method}-{mode}-{draws}-{changed}-s{seeds[0]}-{state}"
    folder = root / "runs" / "bayesian_lora" / identity
    record = RunRecord(identity, "bayesian_lora", spec, folder, ("answers",), state)
    if state != "done":
        return record
    folder.mkdir(parents=True)
    if predictions is None:
        stored = 1 if single else (draws or 10)
        frames, rows = [], []
        for seed in seeds:
            drawn = _drawn(
                method,
                evaluation or dataset,
                seed,
                questions,
                classes,
                stored,
                signal,
                len(repr(settings)) if settings else 0,
            )
            frames.append(frame_of(seed, *drawn))
            held_out = _drawn(
                method,
                f"{dataset} validation",
                seed,
                100,
                classes,
                stored,
                signal,
                len(repr(settings)) if settings else 0,
            )
            values = answer_metrics(DrawnAnswers(*drawn), DrawnAnswers(*held_out))
            values |= _costs(method, stored, labels)
            rows += [{"seed": seed, "split": "test", "metric": name, "value": v} for name, v in values.items()]
        predictions, published = pd.concat(frames, ignore_index=True), pd.DataFrame(rows)
    else:
        published = pd.DataFrame(
            [
                {"seed": seed, "split": "test", "metric": name, "value": value}
                for seed in seeds
                for name, value in (metrics or {"examples": 1.0}).items()
            ]
        )
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    published.to_parquet(folder / "metrics.parquet", index=False)
    (folder / "manifest.json").write_text(json.dumps({"attempt": 1, "wall_seconds": 1.0, "peak_memory_mb": 2.0}))
    return record


def make_fit(root: Path, name: str, **flags: dict[int, float]) -> Path:
    """Write the metrics of a fit, each a value by seed on the split ``train``, and return its published folder."""
    folder = root / "runs" / "bayesian_lora_fit" / name
    folder.mkdir(parents=True)
    rows = [
        {"seed": seed, "split": "train", "metric": metric, "value": value}
        for metric, values in flags.items()
        for seed, value in values.items()
    ]
    # What the same flag would say of another split is no finding.
    rows.append({"seed": 0, "split": "validation", "metric": "collapsed", "value": 1.0})
    pd.DataFrame(rows).to_parquet(folder / "metrics.parquet", index=False)
    return folder


def make_rounds(root: Path, *, method="blob", acquisition="random", seeds=range(3), rounds=6, dataset="srqa", gain=0.0):
    """Write a run of active learning and return its record; accuracy rises by ``gain`` a round above the usual."""
    spec = {
        "model": "qwen3-vl-2b",
        "method": method,
        "mode": "correct",
        "dataset": dataset,
        "seeds": list(seeds),
        "acquisition": acquisition,
    }
    identity = f"{dataset}-{method}-{acquisition}"
    folder = root / "runs" / "bayesian_lora_active" / identity
    folder.mkdir(parents=True)
    rows = []
    for seed in seeds:
        noise = np.random.default_rng([seed, len(acquisition)]).normal(scale=0.02, size=rounds)
        for number in range(rounds):
            accuracy = 0.4 + (0.05 + gain) * number + noise[number]
            row = {"seed": seed, "round": number, "labelled": 10 + 10 * number, "accuracy": accuracy}
            rows.append({**row, "nll": 1.5 - accuracy, "ece": 0.3 - 0.2 * accuracy})
    pd.DataFrame(rows).to_parquet(folder / "rounds.parquet", index=False)
    return RunRecord(identity, "bayesian_lora_active", spec, folder, ("active",))


def frame_of(seed, logits, answers, options, split="test"):
    """Return predictions in the published schema from logits ``[S, N, C]``."""
    draws, questions, classes = logits.shape
    columns = {
        "seed": seed,
        "split": split,
        "example": np.repeat([f"question-{place:04d}" for place in range(questions)], draws),
        "answer": np.repeat(answers, draws),
        "options": np.repeat(options, draws),
        "draw": np.tile(np.arange(draws), questions),
    }
    values = logits.transpose(1, 0, 2).reshape(-1, classes)
    return pd.DataFrame(columns | {f"logit_{place}": values[:, place] for place in range(classes)})


def entry(table, **wanted):
    """Return the one row of a table's data that has the wanted values."""
    rows = table.data
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def _drawn(method, dataset, seed, questions, classes, draws, signal, changed):
    shared = np.random.default_rng([len(dataset), *map(ord, dataset[-4:])])
    options = np.where(shared.random(questions) < 0.2, classes - 1, classes)
    logits = shared.normal(size=(questions, classes)) * signal
    logits[np.arange(classes) >= options[:, None]] = -30.0
    noisy = logits + shared.gumbel(size=(questions, classes))
    answers = noisy.argmax(axis=1)
    own = np.random.default_rng([seed, METHODS.index(method) if method in METHODS else 99, len(dataset)])
    sharpness, spread = SHARPNESS.get(method, (1.4, 0.8))
    sharpness += 0.04 * changed
    member = logits + own.normal(scale=0.35, size=logits.shape)
    drawn = sharpness * member + own.normal(scale=spread, size=(draws, *logits.shape))
    return drawn, answers, options


def _costs(method, draws, labels):
    seconds, parameters, size = COST.get(method, (0.05 + 0.012 * draws, 1.2e6, 6e6))
    return {
        "seconds_per_example": seconds,
        "peak_memory_mb": 900.0 + 20 * draws,
        "trained_parameters": parameters,
        "posterior_bytes": size,
        "labels_used": float(labels),
    }
