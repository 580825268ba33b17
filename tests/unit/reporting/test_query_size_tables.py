import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesgrid.reporting.table_files import markdown
from bayesgrid.reporting.tables import build_table, render_partial


@pytest.fixture
def runs(synthetic, tmp_path):
    return [
        synthetic.make_run(tmp_path, agent=agent, query_size=size)
        for size in (200, 10, 50)
        for agent in ("random", "coreset")
    ]


@pytest.mark.parametrize("metric", ["nll", "crps", "mae_median"])
def test_differences_are_paired_by_seed_at_the_same_query_size(synthetic, runs, metric):
    table = build_table("query_size", runs)
    for random, coreset in zip(runs[::2], runs[1::2], strict=True):
        size = coreset.spec["labels"]["query_size"]
        pairs = {
            "area_difference": (synthetic.areas(coreset, metric), synthetic.areas(random, metric)),
            "final_difference": (synthetic.wide(coreset, metric)[0][:, -1], synthetic.wide(random, metric)[0][:, -1]),
        }
        for quantity, (own, other) in pairs.items():
            row = synthetic.entry(table, agent="coreset", query_size=size, metric=metric, quantity=quantity)
            bounds = stats.ttest_rel(own, other).confidence_interval(0.95)
            assert row["estimate"] == pytest.approx((own - other).mean())
            assert (row["lower"], row["upper"], row["seeds"]) == pytest.approx((bounds.low, bounds.high, 5))


def test_rows_are_in_the_order_of_query_sizes_in_one_section(runs):
    table = build_table("query_size", runs)
    assert [row[1].text for row in table.sections[0].rows] == ["10", "50", "200"]
    assert [section.heading for section in table.sections] == ["diamonds · spline flow · 5 seeds"]


def test_a_query_size_without_a_finished_reference_is_a_hole(synthetic, runs):
    partial = [dataclasses.replace(runs[0], state="running"), *runs[1:]]
    table = render_partial("query_size", partial)
    assert synthetic.entry(table, query_size=200)["seeds"] == 0
    assert table.sections[0].rows[-1][2].text == "—"
    assert "Partial: 1 of 6" in markdown(table)


def test_a_curve_that_diverged_has_no_difference(synthetic, runs):
    path = runs[3].folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame.loc[frame["labelled"] == 300, "nll"] = np.nan
    frame.to_parquet(path)
    table = build_table("query_size", runs)
    assert np.isnan(synthetic.entry(table, query_size=10, metric="nll", quantity="area_difference")["estimate"])
    assert np.isfinite(synthetic.entry(table, query_size=10, metric="crps", quantity="area_difference")["estimate"])
