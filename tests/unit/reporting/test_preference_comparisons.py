import dataclasses

import numpy as np
import pandas as pd
import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import validate_parameters
from bayesgrid.reporting.claims import Claim, claims_table, evaluate_claims

GPM, TERRY = {"model": "general_preference"}, {"model": "bradley_terry"}


def verdict(comparison, runs, **fields):
    values = {
        "name": "a_claim",
        "study": "preference",
        "statement": "A statement",
        "source": "A paper",
        "source_kind": "paper",
        "comparison": comparison,
        "tests": [{"experiment": "active"}],
        **fields,
    }
    return evaluate_claims([validate_parameters(Claim, values, where="test")], runs).iloc[0]


def scored(preferences, root, model, scores, *, split="elsewhere", **more):
    """Return a run that publishes ``score`` of an evaluation set, one value a seed."""
    run = preferences.make_run(root, model=model, seeds=range(len(scores)), initial="all", **more)
    path = run.folder / "metrics.parquet"
    frame = pd.DataFrame(
        [(seed, split, "score", value) for seed, value in enumerate(scores)],
        columns=["seed", "split", "metric", "value"],
    )
    pd.concat([pd.read_parquet(path), frame]).to_parquet(path)
    return run


VALUE = {
    "kind": "preference_value",
    "dataset": "pairs",
    "split": "elsewhere",
    "metric": "score",
    "contender": GPM,
    "tolerance": 0.01,
}


@pytest.mark.parametrize(
    ("number", "expected"), [(0.8, "reproduced"), (0.83, "within interval"), (0.95, "not reproduced")]
)
def test_a_value_is_that_of_the_evaluation_set(preferences, tmp_path, number, expected):
    runs = [scored(preferences, tmp_path, "general_preference", [0.78, 0.8, 0.82])]
    row = verdict({**VALUE, "number": number}, runs)
    assert row["verdict"] == expected
    assert (row["estimate"], row["seeds"]) == (pytest.approx(0.8), 3)


@pytest.mark.parametrize(
    ("number", "expected"), [(0.07, "reproduced"), (0.0123, "not reproduced"), (0.0815, "within interval")]
)
def test_a_difference_is_paired_by_seed(preferences, tmp_path, number, expected):
    # Seeds differ by far more than models do.
    levels = np.array([0.3, 0.9, 0.5, 0.7])
    noise = np.array([0.001, -0.001, 0.002, -0.002])
    runs = [
        scored(preferences, tmp_path, "bradley_terry", levels),
        scored(preferences, tmp_path, "general_preference", levels + 0.07 + noise),
    ]
    assert verdict({**VALUE, "minus": TERRY, "number": number}, runs)["verdict"] == expected


@pytest.mark.parametrize(
    ("gaps", "margin", "expected"),
    [
        ([0.1, 0.11, 0.09], 0.0, "reproduced"),
        ([0.1, 0.11, 0.09], 0.1, "within interval"),
        ([0.1, -0.3, 0.2], 0.0, "within interval"),
        ([-0.1, -0.11, -0.09], 0.0, "not reproduced"),
    ],
)
def test_orderings_are_paired_by_seed(preferences, tmp_path, gaps, margin, expected):
    levels = np.array([0.3, 0.9, 0.5])
    runs = [
        scored(preferences, tmp_path, "bradley_terry", levels),
        scored(preferences, tmp_path, "general_preference", levels + gaps),
    ]
    comparison = {
        "kind": "preference_ordering",
        "dataset": "pairs",
        "split": "elsewhere",
        "metric": "score",
        "lower": TERRY,
        "higher": GPM,
        "margin": margin,
    }
    assert verdict(comparison, runs)["verdict"] == expected


SAVING = {
    "kind": "preference_saving",
    "dataset": "pairs",
    "contender": {"model": "bradley_terry", "rule": "bald"},
    "reference": TERRY,
}


@pytest.mark.parametrize(
    ("speed", "share", "expected"),
    [(2.5, 0.35, "reproduced"), (1.1, 0.35, "not reproduced"), (2.5, 0.6, "within interval")],
)
def test_a_saving_is_asked_for_at_every_accuracy_that_random_pairs_reach(preferences, tmp_path, speed, share, expected):
    # Twice and a half as fast: 60 % at most, and less where the first fit alone costs more than that.
    runs = [preferences.make_run(tmp_path, rule=rule, speed=own) for rule, own in (("random", 1.0), ("bald", speed))]
    row = verdict({**SAVING, "share": share}, runs)
    assert row["verdict"] == expected
    assert "share of labels saved" in row["finding"]


def test_a_rule_that_never_gets_there_saves_nothing(preferences, tmp_path):
    runs = [preferences.make_run(tmp_path), preferences.make_run(tmp_path, rule="bald", speed=0.3)]
    assert verdict({**SAVING, "share": 0.35}, runs)["verdict"] == "not reproduced"


def test_what_cannot_be_tested_says_why_before_any_run_is_planned():
    row = verdict({"kind": "untestable", "reason": "the data are not published"}, [], source_kind="readme")
    assert (row["verdict"], row["finding"]) == ("not run", "untestable here: the data are not published")
    assert claims_table(row.to_frame().T).sections[0].rows[0][1].text == "A paper (README only, unverified)"


def test_missing_runs_metrics_and_seeds_leave_a_claim_open(preferences, tmp_path):
    run = scored(preferences, tmp_path, "general_preference", [0.5, 0.6])
    comparison = {**VALUE, "number": 0.5}
    late = dataclasses.replace(run, state="pending")
    assert verdict(comparison, [late])["finding"].endswith("general_preference, random on pairs: pending")
    assert "no such run" in verdict({**comparison, "contender": TERRY}, [run])["finding"]
    assert "do not publish score of nowhere" in verdict({**comparison, "split": "nowhere"}, [run])["finding"]
    single = scored(preferences, tmp_path / "single", "general_preference", [0.5])
    assert "2 seeds" in verdict(comparison, [single])["finding"]


def test_runs_with_other_hyperparameters_are_told_apart_by_where(preferences, tmp_path):
    runs = [scored(preferences, tmp_path, "general_preference", [0.5, 0.6], steps=steps) for steps in (100, 200)]
    with pytest.raises(ConfigurationError, match="different hyperparameters"):
        verdict({**VALUE, "number": 0.5}, runs)
    one = {**VALUE, "number": 0.55, "contender": {**GPM, "where": {"training.steps": 100}}}
    assert verdict(one, runs)["verdict"] == "reproduced"
