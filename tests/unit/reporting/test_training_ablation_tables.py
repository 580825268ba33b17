import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from bayesgrid.errors import ConfigurationError
from bayesgrid.reporting.table_files import markdown
from bayesgrid.reporting.tables import build_table, render_partial

RISES = {"restore_best": 0.0, "last_weights": 0.4, "inverted": 1.5}


@pytest.fixture
def runs(synthetic, tmp_path):
    return [
        synthetic.make_run(tmp_path, agent=agent, warm_start=start, early_stopping=stopping, rise=rise, test_rows=2)
        for start in ("scratch", "continue")
        for stopping, rise in RISES.items()
        for agent in ("random", "coreset")
    ]


def test_every_cell_has_area_final_value_and_rise(synthetic, runs):
    table = build_table("training_ablation", runs)
    for run in runs:
        settings = run.spec["training"]
        where = {
            "warm_start": settings["warm_start"],
            "early_stopping": settings["early_stopping"],
            "agent": run.spec["agent"],
            "metric": "nll",
        }
        values, labelled = synthetic.wide(run)
        bounds = stats.ttest_1samp(synthetic.areas(run), 0).confidence_interval(0.95)
        area = synthetic.entry(table, quantity="area", **where)
        assert (area["lower"], area["upper"]) == pytest.approx((bounds.low, bounds.high))
        assert synthetic.entry(table, quantity="final", **where)["estimate"] == pytest.approx(values[:, -1].mean())
        mean = values.mean(axis=0)
        fit = IsotonicRegression(increasing=False).fit(labelled, mean).predict(labelled)
        assert synthetic.entry(table, quantity="isotonic_violation", **where)["estimate"] == pytest.approx(
            (mean - fit).max()
        )
        assert synthetic.entry(table, quantity="value", labelled=300, **where)["estimate"] == pytest.approx(
            values[:, 2].mean()
        )


def test_curves_that_rise_are_told_from_those_that_do_not(runs):
    data = build_table("training_ablation", runs).data
    rises = data[(data["quantity"] == "isotonic_violation") & (data["metric"] == "nll") & (data["agent"] == "random")]
    by_stopping = rises.groupby("early_stopping")["estimate"].max()
    assert by_stopping["inverted"] > 0.1
    assert by_stopping["restore_best"] < 0.02
    sure = rises[rises["early_stopping"] == "inverted"]
    assert (sure["lower"] > 0).all()


def test_differences_to_the_first_cell_are_paired_by_seed_within_a_mode(synthetic, tmp_path):
    recipes = [("faithful", "inverted"), ("faithful", "restore_best"), ("corrected", "restore_best")]
    runs = [
        synthetic.make_run(tmp_path, agent=agent, mode=mode, early_stopping=stopping, rise=RISES[stopping], seeds=seeds)
        for (mode, stopping), seeds in zip(recipes, (range(5), range(1, 6), range(5)), strict=True)
        for agent in ("random", "coreset")
    ]
    table = build_table("training_ablation", runs)
    assert [section.heading.split(" · ")[3] for section in table.sections] == ["mode=faithful", "mode=corrected"]
    first, corrected = runs[1], runs[3]
    gaps = synthetic.areas(corrected)[:4] - synthetic.areas(first)[1:]
    row = synthetic.entry(table, agent="coreset", metric="nll", quantity="area_difference")
    assert (row["variant"], row["early_stopping"], row["seeds"]) == ("mode=faithful", "restore_best", 4)
    assert row["estimate"] == pytest.approx(gaps.mean())
    # The recipes differ by the same amount on every seed, which pairing shows.
    assert (row["lower"], row["upper"]) == pytest.approx((gaps.mean(), gaps.mean()))
    final = synthetic.entry(table, agent="random", metric="crps", quantity="final_difference")
    own, other = (synthetic.wide(run, "crps")[0][:, -1] for run in (runs[2], runs[0]))
    assert final["estimate"] == pytest.approx((own[:4] - other[1:]).mean())
    column = table.columns.index("Δ NLL")
    shown = [row[column].text for row in table.sections[0].rows]
    assert shown[:2] == ["0", "0"]
    assert all(text.startswith("\N{MINUS SIGN}") and text.endswith("†") for text in shown[2:])


def test_a_first_cell_that_is_not_finished_leaves_no_difference(runs):
    waiting = [dataclasses.replace(run, state="pending") for run in runs[:2]]
    data = render_partial("training_ablation", [*waiting, *runs[2:]]).data
    assert "area_difference" not in set(data["quantity"])


def test_the_axes_of_the_ablation_are_columns_and_not_variants(runs):
    table = build_table("training_ablation", runs)
    assert set(table.data["variant"]) == {""}
    assert len(table.sections) == 1
    assert table.sections[0].rows[2][1].text == "last weights kept"
    assert len(table.sections[0].rows) == 12


def test_a_run_that_is_missing_is_a_hole(synthetic, runs):
    table = render_partial("training_ablation", [*runs[:3], dataclasses.replace(runs[3], state="pending")])
    assert synthetic.entry(table, seeds=0)["early_stopping"] == "last_weights"
    assert "Coreset (pending)" in markdown(table)


def test_values_that_are_not_finite_have_no_rise_and_leave_the_others_alone(synthetic, runs):
    path = runs[0].folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame.loc[(frame["labelled"] == 600) & (frame["seed"] == 1), "nll"] = np.inf
    frame.to_parquet(path)
    where = {"warm_start": "scratch", "early_stopping": "restore_best", "agent": "random"}
    table = build_table("training_ablation", runs)
    assert np.isnan(synthetic.entry(table, quantity="isotonic_violation", metric="nll", **where)["estimate"])
    assert np.isfinite(synthetic.entry(table, quantity="isotonic_violation", metric="crps", **where)["estimate"])


def test_there_are_no_options(runs):
    with pytest.raises(ConfigurationError, match="unknown option 'reference_agent'"):
        build_table("training_ablation", runs, {"reference_agent": "random"})
