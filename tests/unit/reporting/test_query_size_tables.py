import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesgrid.reporting.table_files import markdown
from bayesgrid.reporting.tables import build_table, render_partial


def entry(table, **wanted):
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
    values, labelled = wide(run, metric)
    return ((values[:, 1:] + values[:, :-1]) / 2 * np.diff(labelled)).sum(axis=1) / (labelled[-1] - labelled[0])


@pytest.fixture
def runs(synthetic, tmp_path):
    return [
        synthetic.make_run(tmp_path, agent=agent, query_size=size)
        for size in (200, 10, 50)
        for agent in ("random", "coreset")
    ]


@pytest.mark.parametrize("metric", ["nll", "crps", "mae_median"])
def test_differences_are_paired_by_seed_at_the_same_query_size(runs, metric):
    table = build_table("query_size", runs)
    for random, coreset in zip(runs[::2], runs[1::2], strict=True):
        size = coreset.spec["labels"]["query_size"]
        pairs = {
            "area_difference": (areas(coreset, metric), areas(random, metric)),
            "final_difference": (wide(coreset, metric)[0][:, -1], wide(random, metric)[0][:, -1]),
        }
        for quantity, (own, other) in pairs.items():
            row = entry(table, agent="coreset", query_size=size, metric=metric, quantity=quantity)
            bounds = stats.ttest_rel(own, other).confidence_interval(0.95)
            assert row["estimate"] == pytest.approx((own - other).mean())
            assert (row["lower"], row["upper"], row["seeds"]) == pytest.approx((bounds.low, bounds.high, 5))


def test_rows_are_in_the_order_of_query_sizes_in_one_section(runs):
    table = build_table("query_size", runs)
    assert [row[1].text for row in table.sections[0].rows] == ["10", "50", "200"]
    assert [section.heading for section in table.sections] == ["diamonds · spline flow · 5 seeds"]


def test_a_query_size_without_a_finished_reference_is_a_hole(runs):
    partial = [dataclasses.replace(runs[0], state="running"), *runs[1:]]
    table = render_partial("query_size", partial)
    assert entry(table, query_size=200)["seeds"] == 0
    assert table.sections[0].rows[-1][2].text == "—"
    assert "Partial: 1 of 6" in markdown(table)


def test_a_curve_that_diverged_has_no_difference(runs):
    path = runs[3].folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame.loc[frame["labelled"] == 300, "nll"] = np.nan
    frame.to_parquet(path)
    table = build_table("query_size", runs)
    assert np.isnan(entry(table, query_size=10, metric="nll", quantity="area_difference")["estimate"])
    assert np.isfinite(entry(table, query_size=10, metric="crps", quantity="area_difference")["estimate"])
