import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesgrid.data.regression_tables import RegressionTable, prepared_folder, write_table
from bayesgrid.errors import DataError
from bayesgrid.random_streams import random_stream
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import Preempted, RunContext, RunInputs, RunResult
from bayesgrid.store.tracking import Tracker, read_stream
from bayesgrid.studies.regression.agents import agent_names
from bayesgrid.studies.regression.label_choice import DIAGNOSTIC_COLUMNS
from bayesgrid.studies.regression.labelled_rows import block_rows
from bayesgrid.studies.regression.run import run, run_on_table
from bayesgrid.studies.regression.spec import RegressionSpec

ROWS = 200


def table(groups: bool = False) -> RegressionTable:
    rng = np.random.default_rng(0)
    x = rng.random((ROWS, 4)) * [1.0, 10.0, 5.0, 0.0] + [0.0, -3.0, 2.0, 7.0]
    y = 40 * np.sin(4 * x[:, 0]) + 3 * x[:, 1] + rng.normal(0, 2, ROWS)
    members = np.repeat(np.arange(5), [70, 50, 35, 25, 20]) if groups else None
    return RegressionTable("synthetic", x, y, ("a", "b", "c", "constant"), members, {})


def spec_of(**changes: object) -> RegressionSpec:
    values: dict[str, object] = {
        "dataset": "synthetic",
        "agent": "balsa_kl_pairs",
        "seeds": (0, 1, 2),
        "labels": {"initial": 20, "budget": 14, "query_size": 5, "candidates": 50},
        "network": {"hidden": (8, 8, 16), "head_hidden": (16,)},
        "training": {"max_epochs": 3, "batch_size": 8},
        "posterior": {"draws": 4, "grid_nodes": 16},
    }
    return RegressionSpec(**(values | changes))


def context_of(folder: Path) -> RunContext:
    return RunContext("test", folder, Tracker(folder / "tracking"), CheckpointStore(folder / "checkpoints", "test"))


def assert_equal(first: RunResult, second: RunResult) -> None:
    for name in ("metrics", "predictions", "rounds"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


@pytest.mark.parametrize("warm_start", ["scratch", "continue", "shrink_perturb"])
@pytest.mark.parametrize("stopped_after", [1, 3, 4])
def test_interrupted_and_resumed_loop_gives_the_same_bits(tmp_path: Path, warm_start: str, stopped_after: int) -> None:
    spec = spec_of(training={"max_epochs": 3, "batch_size": 8, "warm_start": warm_start})
    whole = run_on_table(spec, table(), context_of(tmp_path / "whole"))
    context = context_of(tmp_path / "parts")

    def stop(_description: str, completed: int, _total: int) -> None:
        if completed == stopped_after:
            context.request_stop()

    context.report_progress = stop
    with pytest.raises(Preempted):
        run_on_table(spec, table(), context)
    latest = context.checkpoints.latest()
    assert latest is not None
    assert latest.step == stopped_after
    resumed = context_of(tmp_path / "parts")
    assert_equal(run_on_table(spec, table(), resumed), whole)
    steps = [entry["step"] for entry in read_stream(tmp_path / "parts" / "tracking" / "seconds.jsonl")]
    assert steps == [0, 1, 2, 3], "a resumed loop must not repeat finished rounds"


@pytest.mark.parametrize("agent", agent_names())
@pytest.mark.parametrize("architecture", ["spline_flow", "gaussian"])
def test_seed_alone_equals_seed_in_block(tmp_path: Path, agent: str, architecture: str) -> None:
    together = run_on_table(spec_of(agent=agent, architecture=architecture), table(), context_of(tmp_path / "together"))
    alone = run_on_table(
        spec_of(agent=agent, architecture=architecture, seeds=(1,)), table(), context_of(tmp_path / "alone")
    )
    for name in ("metrics", "predictions", "rounds"):
        frame = getattr(together, name)
        part = frame[frame["seed"] == 1].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, getattr(alone, name), check_exact=True)


def test_grouped_seed_alone_equals_seed_in_block(tmp_path: Path) -> None:
    labels = {"initial": 20, "budget": 5, "query_size": 5, "candidates": 50, "split": "grouped"}
    data = table(groups=True)
    together = run_on_table(spec_of(labels=labels), data, context_of(tmp_path / "together"))
    alone = run_on_table(spec_of(labels=labels, seeds=(2,)), data, context_of(tmp_path / "alone"))
    part = together.rounds[together.rounds["seed"] == 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, alone.rounds, check_exact=True)
    rows = block_rows(data, spec_of(labels=labels).labels, (0, 1, 2))
    for validation, training in zip(rows.validation, rows.training, strict=True):
        sides = [set(data.groups[part].tolist()) for part in (rows.test, validation, training)]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_seeds_with_fewer_validation_rows_are_filled_up() -> None:
    rows = block_rows(table(), spec_of().labels, (0, 1))
    shorter = dataclasses.replace(rows, validation=(rows.validation[0], rows.validation[1][:-3]))
    block, full = shorter.labelled_block(rows.initial), rows.labelled_block(rows.initial)
    count = len(rows.validation[0])
    assert block.validation_counts.tolist() == [count, count - 3]
    assert block.validation_features.shape == full.validation_features.shape
    assert np.array_equal(block.validation_targets[1, :-3], full.validation_targets[1, :-3])
    expected = (rows.targets[rows.initial] - rows.location[:, None]) / rows.scale[:, None]
    np.testing.assert_allclose(block.targets, expected, rtol=1e-6)
    assert np.array_equal(block.features, rows.features[rows.initial])


def test_rounds_buy_each_label_once_from_the_own_pool(tmp_path: Path) -> None:
    spec = spec_of()
    result = run_on_table(spec, table(), context_of(tmp_path))
    rows = block_rows(table(), spec.labels, spec.seeds)
    assert result.rounds is not None
    assert result.rounds["labelled"].tolist() == [20] * 3 + [25] * 3 + [30] * 3 + [34] * 3
    for place, seed in enumerate(spec.seeds):
        own = result.rounds[result.rounds["seed"] == seed]
        bought = [row for chosen in own["chosen"] for row in chosen]
        assert [len(chosen) for chosen in own["chosen"]] == [5, 5, 4, 0]
        assert len({*bought, *rows.initial[place].tolist()}) == 34
        assert set(bought) <= set(rows.training[place].tolist())
        assert not set(bought) & {*rows.validation[place].tolist(), *rows.test.tolist()}
    scored = result.rounds[result.rounds["round"] < 3]
    assert np.isfinite(scored[["score_min", "score_median", "score_max", "score_ties"]]).all(axis=None)
    assert (scored["score_min"] <= scored["score_median"]).all()


def test_metrics_can_be_recomputed_from_predictions(tmp_path: Path) -> None:
    result = run_on_table(spec_of(), table(), context_of(tmp_path))
    assert result.rounds is not None
    last = result.predictions[result.predictions["round"] == 3]
    final = result.rounds[result.rounds["round"] == 3].set_index("seed")
    for _, row in result.metrics[result.metrics["split"] == "test"].iterrows():
        if not row["metric"].startswith(("area_", "leaked_")):
            assert row["value"] == final.loc[row["seed"], row["metric"]]
    own = last.groupby("seed")
    np.testing.assert_allclose(-own["log_density"].mean(), final["nll"], rtol=1e-12)
    np.testing.assert_allclose(own["crps"].mean(), final["crps"], rtol=1e-12)
    own_rounds = result.rounds[result.rounds["seed"] == 1]
    area = np.trapezoid(own_rounds["crps"], own_rounds["labelled"]) / 14
    reported = result.metrics.query("seed == 1 and metric == 'area_crps'")["value"].item()
    assert reported == pytest.approx(area, rel=1e-12)
    absolute = (last["median"] - last["target"]).abs().groupby(last["seed"]).mean()
    np.testing.assert_allclose(absolute, final["mae_median"], rtol=1e-12)
    inside = last["pit"].between(0.05, 0.95).groupby(last["seed"]).mean()
    np.testing.assert_allclose(inside, final["cov90"], rtol=1e-12)
    rows = block_rows(table(), spec_of().labels, (0, 1, 2))
    np.testing.assert_allclose(final["nll"] - final["nll_standardised"], np.log(rows.scale), rtol=1e-9)
    assert set(result.predictions["round"]) == {0, 3}
    assert sorted(last[last["seed"] == 0]["row"]) == rows.test.tolist()


def test_published_tables_hold_no_wall_times_and_equal_those_of_another_run(tmp_path: Path) -> None:
    first = run_on_table(spec_of(), table(), context_of(tmp_path / "first"))
    second = run_on_table(spec_of(), table(), context_of(tmp_path / "second"))
    for name in ("metrics", "predictions", "rounds"):
        paths = []
        for folder, result in (("first", first), ("second", second)):
            paths.append(tmp_path / folder / f"{name}.parquet")
            getattr(result, name).to_parquet(paths[-1], index=False)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_scaling_is_fitted_outside_the_test_split() -> None:
    data = table()
    rows = block_rows(data, spec_of().labels, (0, 1))
    kept = np.setdiff1d(np.arange(ROWS), rows.test)
    assert rows.features[kept].min(axis=0).tolist() == [0, 0, 0, 0]
    assert rows.features[kept].max(axis=0).tolist() == [1, 1, 1, 0]
    assert rows.targets[kept].min() == 0
    assert rows.targets[kept].max() == 1
    np.testing.assert_allclose(rows.location, rows.targets[rows.initial].mean(axis=1))
    assert not np.array_equal(rows.validation[0], rows.validation[1])


def test_equal_initial_targets_are_refused() -> None:
    data = table()
    target = data.target.copy()
    spec = spec_of()
    target[block_rows(data, spec.labels, (0, 1)).initial[1]] = 3.0
    constant = RegressionTable(data.name, data.features, target, data.feature_names, None, {})
    with pytest.raises(DataError, match="seed 1"):
        block_rows(constant, spec.labels, (0, 1))


def test_entry_point_reads_the_prepared_table(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path / "data", "synthetic", "v1")
    folder.mkdir(parents=True)
    write_table(table(), folder / "table.parquet")
    digest = hashlib.sha256((folder / "table.parquet").read_bytes()).hexdigest()
    (folder / "provenance.json").write_text(json.dumps({"parquet_sha256": digest}))
    spec = spec_of(agent="random", seeds=(4,))
    result = run(spec, context_of(tmp_path / "run"), RunInputs(tmp_path / "data", {"synthetic": "v1"}))
    assert_equal(result, run_on_table(spec, table(), context_of(tmp_path / "direct")))


def test_what_the_test_split_leaks_is_published_and_a_grouped_one_leaks_nothing(tmp_path: Path) -> None:
    rows = table(groups=True)
    twins = dataclasses.replace(rows, features=np.concatenate([rows.features[:100], rows.features[:100]]))
    leaked = {}
    for split in ("random", "grouped"):
        labels = {"initial": 20, "budget": 5, "query_size": 5, "candidates": 50, "split": split}
        source = twins if split == "random" else rows
        metrics = run_on_table(spec_of(labels=labels), source, context_of(tmp_path / split)).metrics
        leaked[split] = metrics[metrics["metric"].str.startswith("leaked")].groupby("metric")["value"].max()
    test_rows = 0.2 * ROWS
    assert 0 < leaked["random"]["leaked_equal_rows"] <= test_rows
    assert leaked["random"]["leaked_rows_of_shared_groups"] == test_rows
    assert (leaked["grouped"] == 0).all()
    labels = {"initial": 20, "budget": 5, "query_size": 5, "candidates": 50, "split": "grouped"}
    with pytest.raises(DataError, match="leak"):
        run_on_table(spec_of(labels=labels), twins, context_of(tmp_path / "twins"))


FAITHFUL = {
    "mode": "faithful",
    "network": {"hidden": (8, 8, 16), "head_hidden": (16,), "activation": "none"},
    "training": {"max_epochs": 3, "first_fit_epochs": 2, "batch_size": 8},
    "posterior": {"draws": 4, "grid_nodes": 16},
}


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_interrupted_and_resumed_faithful_loop_gives_the_same_bits(tmp_path: Path, stopped_after: int) -> None:
    """The moments of the optimiser are part of the checkpoint."""
    spec = spec_of(**FAITHFUL)
    assert spec.training.optimiser_state == "kept"
    whole = run_on_table(spec, table(), context_of(tmp_path / "whole"))
    context = context_of(tmp_path / "parts")

    def stop(_description: str, completed: int, _total: int) -> None:
        if completed == stopped_after:
            context.request_stop()

    context.report_progress = stop
    with pytest.raises(Preempted):
        run_on_table(spec, table(), context)
    assert_equal(run_on_table(spec, table(), context_of(tmp_path / "parts")), whole)


@pytest.mark.parametrize("agent", agent_names("faithful"))
@pytest.mark.parametrize("architecture", ["spline_flow", "gaussian"])
def test_faithful_seed_alone_equals_seed_in_block(tmp_path: Path, agent: str, architecture: str) -> None:
    changes = {**FAITHFUL, "agent": agent, "architecture": architecture}
    changes["labels"] = {"initial": 20, "budget": 6, "query_size": 3, "candidates": 50}
    together = run_on_table(spec_of(**changes), table(), context_of(tmp_path / "together"))
    alone = run_on_table(spec_of(**changes, seeds=(1,)), table(), context_of(tmp_path / "alone"))
    for name in ("metrics", "predictions", "rounds"):
        frame = getattr(together, name)
        part = frame[frame["seed"] == 1].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, getattr(alone, name), check_exact=True)


def test_faithful_mode_refits_after_every_label_on_unit_targets(tmp_path: Path) -> None:
    spec = spec_of(**FAITHFUL, agent="random")
    result = run_on_table(spec, table(), context_of(tmp_path))
    rows = block_rows(table(), spec.labels, spec.seeds)
    assert rows.location.tolist() == [0, 0, 0]
    assert rows.scale.tolist() == [1, 1, 1]
    assert result.rounds is not None
    rounds = result.rounds.set_index(["seed", "round"])
    assert (rounds.xs(0, level="round")["epochs"] <= 2).all()
    for number, bought in ((1, 5), (2, 5), (3, 4)):
        # Inverted stopping with patience 5 never ends before three epochs are over.
        assert (rounds.xs(number, level="round")["epochs"] == 3 * bought).all()
    spread = np.log(rows.spread)
    np.testing.assert_allclose(
        rounds["nll"] - rounds["nll_standardised"], np.repeat(spread[None], 4, axis=0).ravel(), rtol=1e-9
    )
    for place, seed in enumerate(spec.seeds):
        for chosen in rounds.loc[seed]["chosen"]:
            assert list(chosen) == sorted(chosen, reverse=True)
        assert not set(rounds.loc[seed]["chosen"][0]) & set(rows.initial[place].tolist())


def test_random_agent_of_the_reference_asks_every_seed_for_the_same_positions(tmp_path: Path) -> None:
    spec = spec_of(**FAITHFUL, agent="random")
    rows = block_rows(table(), spec.labels, spec.seeds)
    result = run_on_table(spec, table(), context_of(tmp_path))
    assert result.rounds is not None
    positions = []
    for place, seed in enumerate(spec.seeds):
        pool = rows.pool(place, rows.initial[place])
        candidates = pool
        if len(pool) > spec.labels.candidates:
            candidates = np.sort(random_stream(seed, "candidates", 0).choice(pool, 50, replace=False))
        own = result.rounds.query("seed == @seed and round == 0")["chosen"].item()
        positions.append(np.searchsorted(candidates, own).tolist())
    assert positions[0] == positions[1] == positions[2]


def test_evaluating_every_other_round_changes_nothing_else(tmp_path: Path) -> None:
    often = run_on_table(spec_of(), table(), context_of(tmp_path / "often"))
    seldom = run_on_table(spec_of(evaluation={"every": 2}), table(), context_of(tmp_path / "seldom"))
    assert often.rounds is not None
    assert seldom.rounds is not None
    assert sorted(set(seldom.rounds["round"])) == [0, 2, 3]
    kept = often.rounds[often.rounds["round"] != 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept.drop(columns="chosen"), seldom.rounds.drop(columns="chosen"), check_exact=True)
    for seed in (0, 1, 2):
        bought = [
            [row for chosen in rounds.loc[rounds["seed"] == seed, "chosen"] for row in chosen]
            for rounds in (often.rounds, seldom.rounds)
        ]
        assert bought[0] == bought[1]
    pd.testing.assert_frame_equal(often.predictions, seldom.predictions, check_exact=True)


def test_first_member_of_an_ensemble_is_the_network_without_one(tmp_path: Path) -> None:
    alone = run_on_table(spec_of(agent="random"), table(), context_of(tmp_path / "alone"))
    posterior = {"draws": 3, "grid_nodes": 16, "sampler": "ensemble"}
    ensemble = run_on_table(spec_of(agent="random", posterior=posterior), table(), context_of(tmp_path / "ensemble"))
    for name in ("metrics", "predictions", "rounds"):
        pd.testing.assert_frame_equal(getattr(alone, name), getattr(ensemble, name), check_exact=True)


@pytest.mark.parametrize("architecture", ["spline_flow", "gaussian"])
def test_ensemble_of_a_seed_alone_equals_it_in_a_block_and_scores_disagreement(
    tmp_path: Path, architecture: str
) -> None:
    changes = {
        "architecture": architecture,
        "posterior": {"draws": 3, "grid_nodes": 16, "sampler": "ensemble"},
        "training": {"max_epochs": 3, "batch_size": 8, "dropout": 0.0},
    }
    together = run_on_table(spec_of(**changes), table(), context_of(tmp_path / "together"))
    alone = run_on_table(spec_of(**changes, seeds=(2,)), table(), context_of(tmp_path / "alone"))
    assert together.rounds is not None
    part = together.rounds[together.rounds["seed"] == 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, alone.rounds, check_exact=True)
    assert (together.rounds.query("round < 3")["score_min"] > 0).all(), "members trained apart must disagree"
    masked = run_on_table(
        spec_of(architecture=architecture, posterior={"draws": 3, "grid_nodes": 16, "dropout": 0.0}),
        table(),
        context_of(tmp_path / "masked"),
    )
    assert masked.rounds is not None
    assert (masked.rounds.query("round < 3")["score_max"] < 1e-6).all(), "one function does not disagree with itself"


def test_all_training_rows_can_be_labelled_for_an_upper_bound(tmp_path: Path) -> None:
    spec = spec_of(agent="random", labels={"initial": "all", "budget": 0})
    result = run_on_table(spec, table(), context_of(tmp_path))
    rows = block_rows(table(), spec.labels, spec.seeds)
    assert result.rounds is not None
    assert result.rounds["labelled"].tolist() == [128, 128, 128]
    assert [sorted(own.tolist()) for own in rows.initial] == [sorted(own.tolist()) for own in rows.training]
    assert not result.metrics["metric"].str.startswith("area_").any(), "one fit has no curve"


def test_diagnostics_are_published_when_asked_for(tmp_path: Path) -> None:
    strong = {"posterior": {"draws": 4, "grid_nodes": 16, "dropout": 0.3}}
    result = run_on_table(
        spec_of(**strong, evaluation={"diagnostics": True}), table(), context_of(tmp_path / "corrected")
    )
    assert result.rounds is not None
    asked = result.rounds.query("round < 3")
    assert (asked["score_noise_floor"].abs() < 1e-6).all(), "identical draws have no divergence"
    assert asked["score_epistemic_correlation"].median() > 0.5
    assert (asked["distinct_masks"] >= 2).all()
    assert (asked["score_candidates"] == 50).all()
    plain = run_on_table(spec_of(**strong), table(), context_of(tmp_path / "plain"))
    assert plain.rounds is not None
    assert set(result.rounds) - set(plain.rounds) == set(DIAGNOSTIC_COLUMNS)
    pd.testing.assert_frame_equal(plain.rounds, result.rounds[plain.rounds.columns], check_exact=True)
    faithful = run_on_table(
        spec_of(**FAITHFUL, agent="balsa_emd", evaluation={"diagnostics": True}), table(), context_of(tmp_path / "emd")
    )
    assert faithful.rounds is not None
    asked = faithful.rounds.query("round < 3")
    assert (asked["score_noise_floor"] > 0.2).all(), "distances between samples do not vanish for equal draws"
    assert asked["grid_coverage"].between(0.1, 0.99).all()
