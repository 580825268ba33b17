import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesgrid.reporting.score_diagnostics_tables import DIAGNOSTICS
from bayesgrid.reporting.table_files import markdown
from bayesgrid.reporting.tables import build_table


def entry(table, **wanted):
    rows = table.data
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture
def runs(synthetic, tmp_path):
    return [synthetic.make_run(tmp_path, agent=agent, scores=True) for agent in ("random", "balsa_kl_pairs")]


def rewrite(run, **columns):
    path = run.folder / "rounds.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)


def test_diagnostics_are_means_over_rounds_then_over_seeds(runs):
    table = build_table("score_diagnostics", runs)
    rounds = pd.read_parquet(runs[1].folder / "rounds.parquet")
    for quantity, column in (
        ("noise_floor", "score_noise_floor"),
        ("aleatoric_correlation", "score_aleatoric_correlation"),
    ):
        by_seed = rounds.groupby("seed")[column].mean()
        bounds = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
        row = entry(table, agent="balsa_kl_pairs", quantity=quantity)
        assert row["estimate"] == pytest.approx(by_seed.mean())
        assert (row["lower"], row["upper"]) == pytest.approx((bounds.low, bounds.high))
        # The last of the nine rounds buys nothing.
        assert (row["seeds"], row["rounds"]) == (5, 8)


def test_counts_become_shares_of_the_candidates(runs):
    table = build_table("score_diagnostics", runs)
    assert entry(table, agent="balsa_kl_pairs", quantity="nonfinite_share")["estimate"] == pytest.approx(5 / 500)
    # Runs that did not count their candidates have those of the specification.
    rounds = pd.read_parquet(runs[1].folder / "rounds.parquet").drop(columns="score_candidates")
    rounds.to_parquet(runs[1].folder / "rounds.parquet")
    runs[1].spec["labels"]["candidates"] = 50
    again = build_table("score_diagnostics", runs)
    assert entry(again, agent="balsa_kl_pairs", quantity="nonfinite_share")["estimate"] == pytest.approx(5 / 50)


def test_an_agent_without_scores_has_no_share_of_them(runs):
    runs[0].spec["labels"]["candidates"] = 50
    table = build_table("score_diagnostics", runs)
    own = table.data[table.data["agent"] == "random"]
    assert set(own["quantity"]) == {"batch_similarity"}
    assert [cell.text for cell in table.sections[0].rows[0][1:7]] == ["—"] * 6


def test_a_round_in_which_no_score_is_finite_counts_in_full(runs):
    rewrite(runs[1], score_nonfinite=500.0, score_median=np.nan, score_ties=np.nan)
    table = build_table("score_diagnostics", runs)
    assert entry(table, agent="balsa_kl_pairs", quantity="nonfinite_share")["estimate"] == 1.0


def test_runs_from_before_the_diagnostics_are_shown_without_them(demo_runs):
    table = build_table("score_diagnostics", demo_runs)
    assert table.data["seeds"].tolist() == [0] * len(demo_runs)
    assert table.columns == ("Agent", *DIAGNOSTICS.values())
    assert "BALSA KL pairs" in markdown(table)


def test_intervals_end_where_a_correlation_and_a_share_do_and_show_their_ends(synthetic, tmp_path):
    run = synthetic.make_run(tmp_path, agent="balsa_emd", scores=True, seeds=range(2))
    rounds = pd.read_parquet(run.folder / "rounds.parquet")
    sign = np.where(rounds["seed"] == 0, 0.8, 0.1)
    rewrite(run, score_epistemic_correlation=sign, score_nonfinite=500 * sign, score_noise_floor=sign)
    table = build_table("score_diagnostics", [run])
    width = stats.t.ppf(0.975, 1) * 0.35
    for quantity, ends in (
        ("epistemic_correlation", (-1, 1)),
        ("nonfinite_share", (0, 1)),
        ("noise_floor", (0.45 - width, 0.45 + width)),
    ):
        row = entry(table, quantity=quantity)
        assert (row["estimate"], row["lower"], row["upper"]) == pytest.approx((0.45, *ends))
    texts = dict(zip(table.columns, [cell.text for cell in table.sections[0].rows[0]], strict=True))
    assert texts["Epistemic ρ"] == "0.450 (\N{MINUS SIGN}1.000 to 1.000)"
    assert texts["Noise floor"] == f"0.450 ± {width:.3f}"


def test_a_single_seed_has_no_ends(synthetic, tmp_path):
    run = synthetic.make_run(tmp_path, agent="balsa_emd", scores=True, seeds=range(1))
    row = entry(build_table("score_diagnostics", [run]), quantity="epistemic_correlation")
    assert np.isnan([row["lower"], row["upper"]]).all()
