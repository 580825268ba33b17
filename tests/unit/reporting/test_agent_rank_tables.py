import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.reporting.table_files import markdown, write_table
from bayesgrid.reporting.tables import build_table, render_partial

AGENTS = ("random", "coreset", "bald_dist_std", "balsa_kl_pairs")


def areas(run, metric="nll"):
    rounds = pd.read_parquet(run.folder / "rounds.parquet")
    wide = rounds.pivot_table(index="seed", columns="labelled", values=metric)
    counts = wide.columns.to_numpy(dtype=float)
    return np.trapezoid(wide.to_numpy(), counts, axis=1) / (counts[-1] - counts[0])


def runs_on(synthetic, folder, data_sets, agents=AGENTS, **options):
    """Runs on data sets whose names have unlike lengths, which is what their noise depends on."""
    return [
        synthetic.make_run(folder, dataset="d" * (i + 1), agent=agent, budget=150, test_rows=2, **options)
        for i in range(data_sets)
        for agent in agents
    ]


def change(run, metric, function):
    path = run.folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame[metric] = function(frame)
    frame.to_parquet(path)


def entry(table, agent, metric="nll"):
    rows = table.data[(table.data["agent"] == agent) & (table.data["metric"] == metric)]
    assert len(rows) == 1
    return rows.iloc[0]


def by_data_set(runs, agents, metric="nll"):
    """Areas [D, M, S], computed from the files."""
    values = np.array([areas(run, metric) for run in runs])
    return values.reshape(-1, len(agents), values.shape[1])


def holm(p_values):
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted


def test_ranks_and_tests_equal_those_computed_from_the_files(synthetic, tmp_path):
    runs = runs_on(synthetic, tmp_path, 7)
    rng = np.random.default_rng(3)
    for run in runs:
        shift = rng.normal(scale=0.15)
        change(run, "crps", lambda frame, shift=shift: frame["crps"] + shift)
    table = build_table("agent_ranks", runs)
    values = by_data_set(runs, AGENTS, "crps")
    means = values.mean(axis=2)
    ranks = stats.rankdata(means, axis=1).mean(axis=0)
    chi_square = stats.friedmanchisquare(*means.T).statistic
    f = 6 * chi_square / (7 * 3 - chi_square)
    restarts = values.transpose(0, 2, 1).reshape(-1, 4)
    expected, claimed = (
        holm([stats.wilcoxon(rows[:, i] - rows[:, 0], method="exact").pvalue for i in (1, 2, 3)])
        for rows in (means, restarts)
    )
    for i, agent in enumerate(AGENTS):
        row = entry(table, agent, "crps")
        assert row["mean_rank"] == pytest.approx(ranks[i])
        assert row["friedman_p"] == pytest.approx(stats.f.sf(f, 3, 18))
        # Demsar (2006), table 5a: q = 2.569 for four methods.
        assert row["critical_difference"] == pytest.approx(2.569 * math.sqrt(20 / 42), abs=1e-3)
        assert (row["data_sets"], row["groups"], row["seeds"], row["restart_rows"]) == (7, 7, 5, 35)
        if i:
            assert row["p_holm"] == pytest.approx(expected[i - 1])
            assert row["restarts_p_holm"] == pytest.approx(claimed[i - 1])
    assert math.isnan(entry(table, "random", "crps")["p_holm"])


def test_the_pooled_difference_is_the_mean_of_hedges_corrected_effects(synthetic, tmp_path):
    runs = runs_on(synthetic, tmp_path, 6)
    row = entry(build_table("agent_ranks", runs), "coreset", "mae_median")
    values = by_data_set(runs, AGENTS, "mae_median")
    differences = values[:, 1] - values[:, 0]
    correction = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))
    effects = correction * differences.mean(axis=1) / differences.std(axis=1, ddof=1)
    assert row["effect"] == pytest.approx(effects.mean())
    assert row["effect_lower"] < row["effect"] < row["effect_upper"]
    assert row["effect_data_sets"] == 6
    # Coreset is worse on every data set by far more than the region of equivalence.
    assert row["probability_worse"] > 0.95
    total = row[["probability_better", "probability_equivalent", "probability_worse"]].sum()
    assert total == pytest.approx(1)


def test_a_wide_region_of_equivalence_makes_agents_the_same(synthetic, tmp_path):
    runs = runs_on(synthetic, tmp_path, 6, AGENTS[:2])
    row = entry(build_table("agent_ranks", runs, {"rope": 1000}), "coreset")
    assert row["probability_equivalent"] > 0.99


def test_agents_with_equal_curves_share_their_rank(synthetic, tmp_path):
    agents = ("random", "bald_dist_entropy", "balsa_kl_grid")
    table = build_table("agent_ranks", runs_on(synthetic, tmp_path, 3, agents), {"reference_agent": "balsa_kl_grid"})
    assert [entry(table, agent)["mean_rank"] for agent in agents] == [3.0, 1.5, 1.5]
    twin = entry(table, "bald_dist_entropy")
    assert (twin["effect"], twin["p_holm"]) == (0.0, 1.0)


def test_the_same_order_everywhere_is_no_more_certain_than_its_exact_probability(synthetic, tmp_path):
    table = build_table("agent_ranks", runs_on(synthetic, tmp_path, 2, ("random", "coreset", "balsa_kl_pairs")))
    row = entry(table, "random")
    assert row["mean_rank"] == 2.0
    assert row["friedman_p"] == pytest.approx(1 / 6)


def test_one_data_set_gives_ranks_and_honest_blanks(synthetic, tmp_path):
    table = build_table("agent_ranks", runs_on(synthetic, tmp_path, 1))
    row = entry(table, "balsa_kl_pairs")
    assert row["mean_rank"] == 1.0
    blank = ["friedman_p", "critical_difference", "p_holm", "effect_lower", "probability_better"]
    assert row[blank].isna().all()
    assert math.isfinite(row["effect"])
    text = markdown(table)
    assert "1 data set: the power is low. Below 6 data sets no pair" in text
    assert "Ranks need several data sets" in text


@pytest.mark.parametrize(("data_sets", "low"), [(2, True), (6, False)])
def test_readers_are_told_the_number_of_data_sets_and_the_power(synthetic, tmp_path, data_sets, low):
    table = build_table("agent_ranks", runs_on(synthetic, tmp_path, data_sets))
    (note,) = [note for note in table.notes if "no pair of agents can reach p < 0.05" in note]
    assert note.startswith(f"{data_sets} data sets")
    assert ("the power is low" in note) is low
    # Three comparisons: the smallest p-value is 3 / 2^(D - 1), below 0.05 from 7 data sets.
    assert note.endswith("some pair can from 7.")
    assert any("Not valid" in note for note in table.notes)
    assert all("restarts as data sets (not valid)" in section.heading for section in table.sections)


def test_below_six_data_sets_no_pair_is_marked(synthetic, tmp_path):
    table = build_table("agent_ranks", runs_on(synthetic, tmp_path, 5, AGENTS[:2]))
    assert entry(table, "coreset")["p_holm"] == pytest.approx(2 ** (1 - 5))
    assert not any("†" in cell.text for section in table.sections for row in section.rows for cell in row)


def test_an_agent_missing_in_one_group_leaves_that_group_out(synthetic, tmp_path):
    runs = runs_on(synthetic, tmp_path, 4)
    missing = dataclasses.replace(runs[-1], state="failed:out_of_memory")
    table = render_partial("agent_ranks", [*runs[:-1], missing])
    whole = build_table("agent_ranks", runs[:-4])
    row = entry(table, "balsa_kl_pairs")
    assert (row["data_sets"], row["state"]) == (3, "failed:out_of_memory")
    assert row["mean_rank"] == entry(whole, "balsa_kl_pairs")["mean_rank"]
    text = markdown(table)
    assert "Left out: dddd · spline flow · query size 50 (no finished curve of BALSA KL pairs)." in text
    assert "Partial: 1 of 16 runs are not finished." in text


def test_an_agent_in_fewer_than_half_of_the_groups_is_left_out_itself(synthetic, tmp_path):
    runs = [*runs_on(synthetic, tmp_path, 3), *runs_on(synthetic, tmp_path, 1, ("balsa_emd",))]
    table = build_table("agent_ranks", runs)
    assert entry(table, "random")["data_sets"] == 3
    assert math.isnan(entry(table, "balsa_emd")["mean_rank"])
    assert any("fewer than half of the groups: BALSA EMD." in note for note in table.notes)


def test_query_sizes_of_one_data_set_do_not_count_as_data_sets(synthetic, tmp_path):
    runs = [run for size in (25, 50) for run in runs_on(synthetic, tmp_path, 2, query_size=size)]
    table = build_table("agent_ranks", runs)
    row = entry(table, "coreset")
    assert (row["data_sets"], row["groups"], row["restart_rows"]) == (2, 4, 10)
    assert any(note.startswith("4 groups on 2 data sets") for note in table.notes)
    # Runs come by query size, then data set, then agent: the areas of a data set are averaged over query sizes first.
    values = np.array([areas(run) for run in runs]).reshape(2, 2, 4, 5).mean(axis=0)
    differences = values[:, 1] - values[:, 0]
    correction = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))
    effects = correction * differences.mean(axis=1) / differences.std(axis=1, ddof=1)
    assert row["effect"] == pytest.approx(effects.mean())


def test_only_seeds_that_all_agents_share_are_used(synthetic, tmp_path):
    runs = runs_on(synthetic, tmp_path, 3, AGENTS[:2], seeds=range(4))
    runs += runs_on(synthetic, tmp_path, 3, AGENTS[2:], seeds=range(1, 6))
    row = entry(build_table("agent_ranks", runs), "balsa_kl_pairs")
    assert (row["seeds"], row["restart_rows"]) == (3, 9)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_curve_that_diverged_is_ranked_last_and_kept_out_of_the_difference(synthetic, tmp_path, value):
    runs = runs_on(synthetic, tmp_path, 3)
    # The best agent diverges once, for one seed, on the first data set.
    change(runs[3], "nll", lambda f: f["nll"].mask((f["seed"] == 2) & (f["labelled"] == 300), value))
    table = build_table("agent_ranks", runs)
    row = entry(table, "balsa_kl_pairs")
    assert row["mean_rank"] == pytest.approx((4 + 1 + 1) / 3)
    assert (row["diverged_data_sets"], row["effect_data_sets"]) == (1, 2)
    assert math.isfinite(row["effect"])
    assert entry(table, "balsa_kl_pairs", "crps")["mean_rank"] == 1.0
    assert any(note.startswith("Values that are not finite (BALSA KL pairs)") for note in table.notes)


def test_all_agents_diverged_tie(synthetic, tmp_path):
    runs = runs_on(synthetic, tmp_path, 2)
    for run in runs:
        change(run, "nll", lambda frame: frame["nll"] * math.nan)
    row = entry(build_table("agent_ranks", runs), "coreset")
    assert (row["mean_rank"], row["friedman_p"], row["p_holm"]) == (2.5, 1.0, 1.0)
    assert math.isnan(row["effect"])


def test_few_seeds_and_differences_without_spread_have_no_effect_but_a_rank(synthetic, tmp_path):
    row = entry(build_table("agent_ranks", runs_on(synthetic, tmp_path / "a", 2, seeds=range(2))), "coreset")
    assert (row["mean_rank"], row["effect_data_sets"]) == (4.0, 0)
    assert math.isnan(row["effect"])
    runs = runs_on(synthetic, tmp_path / "b", 2, AGENTS[:2])
    for run in runs:
        change(run, "nll", lambda frame, run=run: 1.0 if run.spec["agent"] == "random" else 2.0)
    row = entry(build_table("agent_ranks", runs), "coreset")
    assert (row["mean_rank"], row["effect_data_sets"]) == (2.0, 0)


def test_without_the_reference_agent_there_are_ranks_and_a_note(synthetic, tmp_path):
    table = build_table("agent_ranks", runs_on(synthetic, tmp_path, 3, AGENTS[1:]))
    assert entry(table, "balsa_kl_pairs")["mean_rank"] == 1.0
    assert table.data["p_holm"].isna().all()
    assert "Random is not among the ranked agents, so there is no difference to it." in table.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rop": 0.1}, "did you mean 'rope'"), ({"rope": -1}, "half width"), ({"rope": "wide"}, "half width")],
)
def test_options_that_cannot_be_are_configuration_errors(demo_runs, options, message):
    with pytest.raises(ConfigurationError, match=message):
        build_table("agent_ranks", demo_runs, options)


def test_seeds_with_unlike_rounds_are_refused(synthetic, tmp_path):
    runs = runs_on(synthetic, tmp_path, 1)
    path = runs[0].folder / "rounds.parquet"
    pd.read_parquet(path).iloc[:-1].to_parquet(path)
    with pytest.raises(StateError, match="different numbers of labels"):
        build_table("agent_ranks", runs)


@pytest.mark.parametrize("kind", ["agent_ranks", "labels_to_target"])
def test_the_same_runs_give_the_same_bytes(demo_runs, tmp_path, kind):
    first, second = (write_table(build_table(kind, demo_runs), tmp_path / name / "t") for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
