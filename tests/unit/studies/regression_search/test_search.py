import dataclasses
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesgrid.data.regression_tables import RegressionTable, prepared_folder, write_table
from bayesgrid.store.checkpoint import CheckpointStore
from bayesgrid.store.execution import Preempted, RunContext, RunInputs
from bayesgrid.store.tracking import Tracker
from bayesgrid.studies.regression.labelled_rows import block_rows
from bayesgrid.studies.regression.models.layout import initial_parameters, network_layout
from bayesgrid.studies.regression.one_thread import one_thread
from bayesgrid.studies.regression.training import FitSettings, fit
from bayesgrid.studies.regression_search.configurations import evaluated_configurations
from bayesgrid.studies.regression_search.run import run, run_on_table
from bayesgrid.studies.regression_search.search import run_search
from bayesgrid.studies.regression_search.spec import RegressionSearchSpec

ROWS = 200
NETWORK = {"hidden": [8, 8, 16], "head_hidden": [16]}
INCLUDED = {"name": "own", "learning_rate": 0.004, "weight_decay": 0.001, "dropout": 0.02}


def table() -> RegressionTable:
    rng = np.random.default_rng(0)
    x = rng.random((ROWS, 3)) * [1.0, 10.0, 5.0]
    y = 40 * np.sin(4 * x[:, 0]) + 3 * x[:, 1] + rng.normal(0, 2, ROWS)
    return RegressionTable("synthetic", x, y, ("a", "b", "c"), None, {})


def spec_of(**changes: object) -> RegressionSearchSpec:
    values: dict[str, object] = {
        "dataset": "synthetic",
        "seeds": "0-2",
        "labels": {"initial": 20, "budget": 34},
        "network": NETWORK,
        "space": {"learning_rate": [1e-3, 0.2]},
        "configurations": 8,
        "include": [INCLUDED],
        "training": {"batch_size": 8, "max_epochs": 24, "patience": 3},
    }
    return RegressionSearchSpec.from_parameters(values | changes, where="test")


def context_of(folder: Path) -> RunContext:
    return RunContext("test", folder, Tracker(folder / "tracking"), CheckpointStore(folder / "checkpoints", "test"))


def evaluated(spec: RegressionSearchSpec, folder: Path, data: RegressionTable | None = None) -> pd.DataFrame:
    return run_on_table(spec, data or table(), context_of(folder)).predictions


def fits_one_at_a_time(spec: RegressionSearchSpec) -> pd.DataFrame:
    """Brute force: one call of ``fit`` with plain numbers for every configuration and seed."""
    records = []
    for seed in spec.seeds:
        labels = spec.labels.model_copy(update={"initial": spec.labels.initial + spec.labels.budget})
        rows = block_rows(table(), labels, (seed,))
        layout = network_layout(
            3,
            architecture=spec.architecture,
            hidden=tuple(NETWORK["hidden"]),
            head_hidden=tuple(NETWORK["head_hidden"]),
            bins=8,
            transforms=2,
            rectified=True,
        )
        for number, own in enumerate(evaluated_configurations(spec)):
            settings = FitSettings(
                own.learning_rate,
                own.weight_decay,
                own.dropout,
                spec.training.batch_size,
                spec.training.max_epochs,
                spec.training.patience,
                spec.training.minimum_improvement,
            )
            block = rows.labelled_block(rows.initial)
            with one_thread():
                fitted = fit(initial_parameters(layout, (seed,)), layout, block, (seed,), (0,), settings)
            unit = math.log(rows.spread[0]) if spec.labels.target_scale == "unit" else 0.0
            records.append((seed, number, fitted.validation_nll[0] - unit, fitted.epochs[0], fitted.taken_epoch[0]))
    return pd.DataFrame(records, columns=["seed", "configuration", "validation_nll", "epochs", "stopped_at"])


@pytest.mark.parametrize("target_scale", ["standardised", "unit"])
@pytest.mark.parametrize("architecture", ["spline_flow", "gaussian"])
def test_search_equals_fitting_one_configuration_at_a_time(
    tmp_path: Path, architecture: str, target_scale: str
) -> None:
    spec = spec_of(architecture=architecture, labels={"initial": 20, "budget": 34, "target_scale": target_scale})
    found, expected = evaluated(spec, tmp_path), fits_one_at_a_time(spec)
    assert found["epochs"].nunique() > 3, "fits must stop at different epochs for this test to mean anything"
    pd.testing.assert_frame_equal(found[list(expected)], expected, check_exact=True)
    best = [frame.groupby("configuration")["validation_nll"].mean().idxmin() for frame in (found, expected)]
    assert best[0] == best[1]


@pytest.mark.parametrize("size", [1, 5, 64])
def test_chunks_of_any_size_give_the_same_bits(tmp_path: Path, size: int) -> None:
    spec = spec_of()
    _, whole = run_search(spec, table(), context_of(tmp_path / "default"))
    _, chunked = run_search(spec, table(), context_of(tmp_path / "chunked"), networks_per_chunk=size)
    for name in ("validation_nll", "epochs", "stopped_at", "allowed"):
        assert np.array_equal(getattr(whole, name), getattr(chunked, name))
    assert chunked.counts[0] == -(-30 // size)


@pytest.mark.parametrize("halving", [{}, {"first_epochs": 4, "factor": 2}])
@pytest.mark.parametrize("stopped_after", [1, 3, 5])
def test_interrupted_and_resumed_search_gives_the_same_bits_and_repeats_no_chunk(
    tmp_path: Path, stopped_after: int, halving: dict[str, int]
) -> None:
    spec = spec_of(halving=halving)
    _, whole = run_search(spec, table(), context_of(tmp_path / "whole"), networks_per_chunk=6)
    calls = []

    def resume(last: int | None) -> None:
        context = context_of(tmp_path / "parts")

        def count(*_progress: object) -> None:
            calls.append(1)
            if len(calls) == last:
                context.request_stop()

        context.report_progress = count
        calls.clear()
        if last is None:
            run_search(spec, table(), context, networks_per_chunk=6)
            return
        with pytest.raises(Preempted):
            run_search(spec, table(), context, networks_per_chunk=6)

    resume(stopped_after)
    resume(None)
    assert len(calls) == whole.counts[0] - stopped_after
    _, again = run_search(spec, table(), context_of(tmp_path / "parts"), networks_per_chunk=6)
    for field in dataclasses.fields(whole):
        assert np.array_equal(getattr(again, field.name), getattr(whole, field.name))


def test_seed_alone_equals_seed_in_block(tmp_path: Path) -> None:
    together = evaluated(spec_of(), tmp_path / "together")
    alone = evaluated(spec_of(seeds="1"), tmp_path / "alone")
    part = together[together["seed"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, alone, check_exact=True)


def test_more_configurations_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    keys = ["seed", "name"]
    few, many = (evaluated(spec_of(configurations=n), tmp_path / str(n)).set_index(keys) for n in (3, 5))
    pd.testing.assert_frame_equal(
        few.drop(columns="configuration"), many.loc[few.index].drop(columns="configuration"), check_exact=True
    )


def test_test_rows_are_never_read(tmp_path: Path) -> None:
    spec = spec_of()
    clean = evaluated(spec, tmp_path / "clean")
    poisoned = table()
    test = block_rows(poisoned, spec.labels, spec.seeds).test
    assert len(test) == ROWS // 5
    poisoned.target[test] = np.nan
    poisoned.features[test] = np.nan
    pd.testing.assert_frame_equal(evaluated(spec, tmp_path / "poisoned", poisoned), clean, check_exact=True)


def test_halving_keeps_the_best_and_gives_them_the_bits_they_have_without(tmp_path: Path) -> None:
    spec = spec_of(halving={"first_epochs": 6, "factor": 2})
    halved = evaluated(spec, tmp_path / "halved")
    whole = evaluated(spec_of(), tmp_path / "whole")
    assert halved["allowed"].value_counts().to_dict() == {6: 4 * 3, 12: 2 * 3, 24: (2 + 2) * 3}
    drawn = range(8)
    kept = set(drawn)
    for epochs in (6, 12):
        recipe = {"batch_size": 8, "max_epochs": epochs, "patience": 3}
        short = evaluated(spec_of(training=recipe), tmp_path / str(epochs))
        own = halved["allowed"] == epochs
        pd.testing.assert_frame_equal(halved[own], short[own], check_exact=True)
        mean = short.groupby("configuration")["validation_nll"].mean()
        kept = set(mean[sorted(kept)].nsmallest(len(kept) // 2).index)
    assert set(halved.loc[halved["allowed"] == 24, "configuration"]) == {*kept, 8, 9}
    own = halved["allowed"] == 24
    pd.testing.assert_frame_equal(halved[own], whole[own], check_exact=True)


@pytest.mark.parametrize(
    ("first", "last", "expected"), [(6, 31, {6: 6, 31: 4}), (7, 8, {7: 6, 8: 4}), (2, 8, {2: 6, 8: 4})]
)
def test_no_cut_comes_shortly_before_the_last_epoch(
    tmp_path: Path, first: int, last: int, expected: dict[int, int]
) -> None:
    recipe = {"batch_size": 8, "max_epochs": last, "patience": 3}
    found = evaluated(spec_of(training=recipe, halving={"first_epochs": first, "factor": 4}, seeds="0"), tmp_path)
    assert found["allowed"].value_counts().to_dict() == expected


def test_configuration_that_diverges_has_no_loss_and_changes_no_other(tmp_path: Path) -> None:
    wild = {"name": "wild", "learning_rate": 1e30, "weight_decay": 0.0, "dropout": 0.0}
    clean = evaluated(spec_of(architecture="gaussian"), tmp_path / "clean")
    spec = spec_of(architecture="gaussian", include=[INCLUDED, wild])
    result = run_on_table(spec, table(), context_of(tmp_path / "wild"))
    diverged = result.predictions["name"] == "wild"
    assert result.predictions.loc[diverged, "validation_nll"].isna().all()
    others = result.predictions[~diverged].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, clean, check_exact=True)
    counts = result.metrics[result.metrics["metric"] == "diverged_fits"]
    assert counts["value"].tolist() == [1.0, 1.0, 1.0]


def test_metrics_are_those_of_the_table_of_configurations(tmp_path: Path) -> None:
    result = run_on_table(spec_of(), table(), context_of(tmp_path))
    metrics = result.metrics.pivot_table(index="seed", columns="metric", values="value")
    by_origin = result.predictions.pivot_table(index="seed", columns="origin", values="validation_nll", aggfunc="min")
    assert (result.metrics["split"] == "validation").all()
    assert metrics["lowest_nll_standardised"].tolist() == by_origin["drawn"].tolist()
    assert metrics["defaults_nll_standardised"].tolist() == by_origin["defaults"].tolist()
    assert (metrics["diverged_fits"] == 0).all()


def test_run_reads_the_prepared_data_set(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path / "data", "synthetic", "v1")
    folder.mkdir(parents=True)
    write_table(table(), folder / "table.parquet")
    digest = hashlib.sha256((folder / "table.parquet").read_bytes()).hexdigest()
    (folder / "provenance.json").write_text(json.dumps({"parquet_sha256": digest}))
    inputs = RunInputs(tmp_path / "data", {"synthetic": "v1"})
    result = run(spec_of(configurations=1), context_of(tmp_path / "run"), inputs)
    direct = evaluated(spec_of(configurations=1), tmp_path / "direct")
    pd.testing.assert_frame_equal(result.predictions, direct, check_exact=True)
