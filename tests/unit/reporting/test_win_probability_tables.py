import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesgrid.reporting.table_files import markdown
from bayesgrid.reporting.tables import build_table, render_partial


@pytest.mark.parametrize("metric", ["nll", "crps", "mae_median"])
def test_shares_and_intervals_equal_those_counted_in_the_files(synthetic, demo_runs, metric):
    table = build_table("win_probability", demo_runs)
    own, other = synthetic.wide(demo_runs[1], metric)[0], synthetic.wide(demo_runs[0], metric)[0]
    for position, labelled in enumerate(range(200, 601, 50)):
        row = synthetic.entry(
            table, dataset="diamonds", agent="coreset", metric=metric, quantity="value", labelled=labelled
        )
        wins, ties = (own < other)[:, position].sum(), (own == other)[:, position].sum()
        assert (row["wins"], row["ties"], row["seeds"]) == (wins, ties, 5)
        if ties == 0:
            wanted = stats.binomtest(int(wins), 5).proportion_ci(0.95, method="wilson")
            assert (row["lower"], row["upper"]) == pytest.approx((wanted.low, wanted.high))
    row = synthetic.entry(table, dataset="diamonds", agent="coreset", metric=metric, quantity="area")
    assert row["estimate"] == (synthetic.areas(demo_runs[1], metric) < synthetic.areas(demo_runs[0], metric)).mean()


def test_the_shared_first_round_is_a_tie_of_every_seed(synthetic, demo_runs):
    row = synthetic.entry(
        build_table("win_probability", demo_runs),
        dataset="bimodal_sine",
        agent="balsa_kl_pairs",
        metric="nll",
        quantity="value",
        labelled=50,
    )
    assert (row["wins"], row["ties"], row["estimate"]) == (0, 5, 0.5)


def test_the_reference_is_not_compared_with_itself(demo_runs):
    assert "random" not in set(build_table("win_probability", demo_runs).data["agent"])
    other = build_table("win_probability", demo_runs, {"reference_agent": "coreset"})
    assert set(other.data["agent"]) == {"random", "bald_dist_entropy", "balsa_kl_pairs", "balsa_kl_grid"}


def test_a_curve_that_diverged_loses(synthetic, demo_runs):
    path = demo_runs[3].folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame.loc[(frame["seed"] == 2) & (frame["labelled"] == 600), "nll"] = np.inf
    frame.to_parquet(path)
    table = build_table("win_probability", demo_runs)
    last = synthetic.entry(
        table, dataset="diamonds", agent="balsa_kl_pairs", metric="nll", quantity="value", labelled=600
    )
    area = synthetic.entry(table, dataset="diamonds", agent="balsa_kl_pairs", metric="nll", quantity="area")
    assert (last["wins"], area["wins"]) == (4, 4)


def test_holes_keep_their_state(synthetic, demo_runs):
    runs = [demo_runs[0], dataclasses.replace(demo_runs[1], state="failed:out_of_memory"), demo_runs[2]]
    table = render_partial("win_probability", runs)
    assert synthetic.entry(table, agent="coreset")["state"] == "failed:out_of_memory"
    assert "Coreset (failed: out of memory)" in markdown(table)
    without = render_partial("win_probability", [dataclasses.replace(demo_runs[0], state="running"), demo_runs[1]])
    assert without.data["seeds"].tolist() == [0]
