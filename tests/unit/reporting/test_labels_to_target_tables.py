import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression

from bayesgrid.reporting.table_files import markdown
from bayesgrid.reporting.tables import build_table, render_partial


def curves(run, metric):
    rounds = pd.read_parquet(run.folder / "rounds.parquet")
    return rounds.pivot_table(index="seed", columns="labelled", values=metric)


def smoothed(wide):
    counts = wide.columns.to_numpy(dtype=float)
    fitted = IsotonicRegression(increasing=False).fit(counts, wide.mean().to_numpy())
    return counts, fitted.predict(counts)


def first_crossing(wide, target):
    counts, curve = smoothed(wide)
    fine = np.linspace(counts[0], counts[-1], 400_001)
    reached = np.interp(fine, counts, curve) <= target
    return fine[reached.argmax()] if reached.any() else None


def entry(table, **wanted):
    rows = table.data
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def overwrite(run, metric, curve):
    """Give every seed the curve, shifted by a little that depends on the seed."""
    path = run.folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame[metric] = np.asarray(curve)[frame["round"]] + 0.001 * (frame["seed"] - 2)
    frame.to_parquet(path)


@pytest.mark.parametrize("metric", ["nll", "mae_median"])
def test_labels_and_ratio_equal_those_computed_from_the_files(demo_runs, metric):
    table = build_table("labels_to_target", demo_runs)
    target = smoothed(curves(demo_runs[0], metric))[1][-1]
    reference = first_crossing(curves(demo_runs[0], metric), target)
    row = entry(table, dataset="diamonds", agent="balsa_kl_pairs", metric=metric)
    labels = first_crossing(curves(demo_runs[3], metric), target)
    assert row["target"] == pytest.approx(target)
    assert row["labels"] == pytest.approx(labels, abs=0.01)
    assert row["ratio"] == pytest.approx(labels / reference, abs=1e-4)
    assert row["lower"] < row["ratio"] < row["upper"] < 1
    assert (row["seeds"], row["censored"], row["censored_share"]) == (5, False, 0.0)


def test_a_target_that_is_never_reached_is_a_lower_bound(demo_runs):
    table = build_table("labels_to_target", demo_runs)
    row = entry(table, dataset="diamonds", agent="coreset", metric="nll")
    assert (row["labels"], row["censored"]) == (600, True)
    assert row["censored_share"] == 1.0
    assert math.isinf(row["upper"])
    (shown,) = [cells for cells in table.sections[0].rows if cells[0].text == "Coreset"]
    assert [cell.text for cell in shown[1:4]] == ["> 600", "> 1.00 (at least 1.00)", "100 %"]


def test_known_crossing_on_a_straight_line(synthetic, tmp_path):
    agents = ("random", "coreset")
    runs = [synthetic.make_run(tmp_path, agent=a, initial=100, budget=200, query_size=100) for a in agents]
    overwrite(runs[0], "nll", [3.0, 2.5, 2.0])
    overwrite(runs[1], "nll", [3.0, 1.0, 0.0])
    row = entry(build_table("labels_to_target", runs), agent="coreset", metric="nll")
    assert (row["target"], row["reference_labels"]) == pytest.approx((2.0, 300))
    # Half way from 3 to 1 between 100 and 200 labels, in every resample, because all seeds are shifted alike.
    assert (row["labels"], row["ratio"], row["lower"], row["upper"]) == pytest.approx((150, 0.5, 0.5, 0.5))


def test_the_reference_is_one_without_an_interval(demo_runs):
    table = build_table("labels_to_target", demo_runs, {"reference_agent": "coreset"})
    row = entry(table, dataset="diamonds", agent="coreset", metric="nll")
    assert (row["ratio"], row["reference"]) == (1.0, "coreset")
    assert math.isnan(row["lower"])
    assert "final value of Coreset" in table.caption


def test_values_that_are_not_finite_leave_a_blank_and_a_note(demo_runs):
    path = demo_runs[1].folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame.loc[3, "nll"] = np.inf
    frame.to_parquet(path)
    table = build_table("labels_to_target", demo_runs)
    row = entry(table, dataset="diamonds", agent="coreset", metric="nll")
    assert math.isnan(row["labels"])
    assert not row["finite"]
    assert math.isfinite(entry(table, dataset="diamonds", agent="coreset", metric="mae_median")["labels"])
    assert any("not finite" in note for note in table.notes)


def test_a_single_seed_has_no_interval(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, agent=agent, seeds=range(1)) for agent in ("random", "balsa_kl_pairs")]
    table = build_table("labels_to_target", runs)
    row = entry(table, agent="balsa_kl_pairs", metric="nll")
    assert row["ratio"] < 1
    assert math.isnan(row["lower"])
    assert "A single seed has no interval." in table.notes


def test_an_unfinished_agent_or_reference_is_a_hole(demo_runs):
    runs = [dataclasses.replace(run, state="running") if i in {1, 5} else run for i, run in enumerate(demo_runs)]
    table = render_partial("labels_to_target", runs)
    text = markdown(table)
    assert "Coreset (running)" in text
    assert "Random (running)" in text
    holes = table.data[table.data["dataset"] == "bimodal_sine"]
    assert holes["labels"].isna().all()
    assert any("No number where no seed" in note for note in table.notes)
    assert "Partial: 2 of 10 runs are not finished." in text
