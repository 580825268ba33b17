import dataclasses

import numpy as np
import pandas as pd
import pytest

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.reporting.collect import (
    RunRecord,
    buys_no_labels,
    collect_manifests,
    collect_metrics,
    collect_rounds,
    count_test_rows,
    final_scores,
    variants,
)


def test_rounds_of_all_runs_are_one_frame_in_the_order_given(demo_runs):
    frame = collect_rounds(demo_runs)
    assert list(dict.fromkeys(frame["run_id"])) == [run.run_id for run in demo_runs]
    assert len(frame) == 5 * 5 * 9 + 5 * 5 * 6
    row = frame[(frame["dataset"] == "diamonds") & (frame["agent"] == "coreset")].iloc[10]
    published = pd.read_parquet(demo_runs[1].folder / "rounds.parquet").iloc[10]
    assert (row["architecture"], row["query_size"], row["variant"]) == ("spline_flow", 50, "")
    assert (row["seed"], row["labelled"], row["nll"]) == (published["seed"], published["labelled"], published["nll"])


def test_metrics_keep_the_tidy_schema(demo_runs):
    frame = collect_metrics(demo_runs[:2])
    assert len(frame) == 10
    assert {"agent", "seed", "split", "metric", "value"} <= set(frame.columns)


@pytest.mark.parametrize("name", ["rounds.parquet", "metrics.parquet"])
@pytest.mark.parametrize("damage", ["truncated", "overwritten", "empty", "missing"])
def test_a_damaged_file_is_named_with_its_remedy(demo_runs, name, damage):
    path = demo_runs[1].folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        # A hole in the middle leaves the footer readable: the fault shows only when the column is read.
        wrong = {
            "truncated": content[:middle],
            "overwritten": content[:4] + b"\xff" * (middle - 4) + content[middle:],
            "empty": b"",
        }
        path.write_bytes(wrong[damage])
    collect = collect_rounds if name == "rounds.parquet" else collect_metrics
    with pytest.raises(StateError, match=r"(?s)delete the file") as error:
        collect(demo_runs)
    assert str(path) in str(error.value)


def test_missing_columns_are_named(demo_runs):
    path = demo_runs[0].folder / "rounds.parquet"
    pd.read_parquet(path).drop(columns="labelled").to_parquet(path)
    with pytest.raises(StateError, match="labelled"):
        collect_rounds(demo_runs)


def test_a_damaged_manifest_is_named(demo_runs):
    path = demo_runs[2].folder / "manifest.json"
    path.write_text('{"code": ')
    with pytest.raises(StateError, match=r"manifest\.json"):
        collect_manifests(demo_runs)


def test_a_seed_that_two_runs_of_a_cell_hold_is_refused(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, seeds=range(5)), synthetic.make_run(tmp_path, seeds=range(4, 8))]
    with pytest.raises(ConfigurationError, match="seed 4 of agent 'random'"):
        collect_rounds(runs)


def test_hyperparameters_that_vary_within_a_cell_become_its_variant(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, agent=agent, warm_start=start)
        for agent in ("random", "coreset")
        for start in ("scratch", "continue")
    ]
    label = variants(runs)
    assert label[runs[1].run_id] == "training.warm_start=continue"
    assert set(collect_rounds(runs)["variant"]) == {"training.warm_start=continue", "training.warm_start=scratch"}
    assert set(variants(runs[::2]).values()) == {""}


def test_a_mode_is_named_wherever_it_differs_and_stands_for_what_it_brings_along(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, agent="random", mode="faithful", query_size=10),
        synthetic.make_run(tmp_path, agent="random", mode="corrected"),
        synthetic.make_run(tmp_path, agent="coreset", mode="corrected"),
    ]
    # No cell holds both modes, and the masks of a mode differ too.
    assert list(variants(runs).values()) == ["mode=faithful", "mode=corrected", "mode=corrected"]
    assert set(variants(runs[1:]).values()) == {""}
    again = synthetic.make_run(tmp_path, agent="coreset", mode="corrected", warm_start="continue")
    assert variants([*runs, again])[again.run_id] == "mode=corrected, training.warm_start=continue"


def test_axes_of_a_table_are_not_named_again(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, mode=mode, warm_start=start)
        for mode in ("corrected", "faithful")
        for start in ("scratch", "continue")
    ]
    assert set(variants(runs, apart_from=["training.warm_start"]).values()) == {"mode=corrected", "mode=faithful"}
    starts = {"training.warm_start=scratch", "training.warm_start=continue"}
    assert set(variants(runs, apart_from=["mode"]).values()) == starts


def test_a_fit_to_all_labels_is_no_variant_of_the_runs_that_buy(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path), synthetic.make_run(tmp_path, initial=600, budget=0)]
    assert set(variants(runs).values()) == {""}
    assert [buys_no_labels(run) for run in runs] == [False, True]
    # It ends where the curve ends, and is no second run of that seed.
    assert len(collect_rounds(runs)) == 5 * 9 + 5


def test_hyperparameters_that_differ_between_data_sets_are_no_variant(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, dataset="diamonds", warm_start="scratch"),
        synthetic.make_run(tmp_path, dataset="sarcos", warm_start="continue"),
    ]
    assert set(variants(runs).values()) == {""}


def test_final_scores_are_those_of_the_last_round_in_the_order_of_the_seeds(demo_runs):
    run = demo_runs[0]
    scores = final_scores([run], [3, 1])
    assert scores["nll"].shape == (2, 30)
    rounds = pd.read_parquet(run.folder / "rounds.parquet")
    last = rounds[rounds["round"] == 8].set_index("seed")
    for metric in ("nll", "crps", "mae_median"):
        np.testing.assert_allclose(scores[metric].mean(axis=1), last.loc[[3, 1], metric], rtol=1e-9)
    assert count_test_rows(run) == 30


def test_seeds_tested_on_different_rows_are_refused(demo_runs):
    path = demo_runs[0].folder / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame.iloc[:-1].to_parquet(path)
    with pytest.raises(StateError, match="every seed and test row"):
        final_scores([demo_runs[0]], range(5))


def test_no_run_at_all_is_a_state_error():
    with pytest.raises(StateError):
        collect_rounds([])


def test_an_unknown_state_is_refused(demo_runs):
    with pytest.raises(ConfigurationError, match="lost"):
        dataclasses.replace(demo_runs[0], state="lost")
    assert not RunRecord("a", "regression", {}, demo_runs[0].folder, state="failed:out_of_memory").finished


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"labels": {"split": "grouped"}}, "labels.split=grouped"),
        ({"labels": {"split": "published", "published_split": 3}}, "labels.published_split=3, labels.split=published"),
        ({"labels": {"split": "random", "published_split": 3}}, ""),
        ({"posterior": {"sampler": "ensemble"}}, "posterior.sampler=ensemble"),
        ({"posterior": {"sampler": "dropout"}, "mode": "corrected"}, ""),
        ({"mode": "faithful"}, "mode=faithful"),
    ],
)
def test_a_split_draws_or_mode_that_is_not_the_usual_one_is_named_even_if_all_runs_share_it(
    synthetic, tmp_path, values, named
):
    runs = [synthetic.make_run(tmp_path, agent=agent, state="pending") for agent in ("random", "coreset")]
    for run in runs:
        for key, value in values.items():
            run.spec[key] = {**run.spec.get(key, {}), **value} if isinstance(value, dict) else value
    assert set(variants(runs).values()) == {named}
    keys = [part.partition("=")[0] for part in named.split(", ")]
    assert set(variants(runs, apart_from=keys).values()) == {""}
