import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesgrid.reporting.table_files import markdown
from bayesgrid.reporting.tables import build_table, render_partial

AGENTS = ("random", "coreset", "balsa_kl_pairs", "balsa_emd")


@pytest.fixture
def runs(synthetic, tmp_path):
    return [
        synthetic.make_run(tmp_path, agent=agent, mode=mode, better=0.2 if mode == "corrected" else 0.0, test_rows=2)
        for mode in ("faithful", "corrected")
        for agent in AGENTS
    ]


@pytest.mark.parametrize("metric", ["nll", "mae_mode64", "crps"])
def test_differences_are_faithful_minus_corrected_paired_by_seed(synthetic, runs, metric):
    table = build_table("mode_comparison", runs)
    for faithful, corrected in zip(runs[:4], runs[4:], strict=True):
        pairs = {
            "area_difference": (synthetic.areas(faithful, metric), synthetic.areas(corrected, metric)),
            "final_difference": (
                synthetic.wide(faithful, metric)[0][:, -1],
                synthetic.wide(corrected, metric)[0][:, -1],
            ),
        }
        for quantity, (own, other) in pairs.items():
            row = synthetic.entry(table, agent=faithful.spec["agent"], metric=metric, quantity=quantity)
            bounds = stats.ttest_rel(own, other).confidence_interval(0.95)
            assert row["estimate"] == pytest.approx((own - other).mean())
            assert (row["lower"], row["upper"]) == pytest.approx((bounds.low, bounds.high))


def test_seeds_of_one_mode_alone_are_left_out(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, agent=agent, mode=mode, seeds=seeds)
        for agent in AGENTS[:2]
        for mode, seeds in (("faithful", range(2, 7)), ("corrected", range(5)))
    ]
    table = build_table("mode_comparison", runs)
    row = synthetic.entry(table, agent="coreset", metric="nll", quantity="area_difference")
    assert row["seeds"] == 3
    assert row["estimate"] == pytest.approx((synthetic.areas(runs[2])[:3] - synthetic.areas(runs[3])[2:]).mean())
    assert synthetic.entry(table, metric="nll", quantity="area_kendall_tau")["seeds"] == 3


def test_tau_is_that_of_the_means_in_the_two_modes(synthetic, runs):
    table = build_table("mode_comparison", runs)
    means = [[synthetic.areas(run, "crps").mean() for run in half] for half in (runs[:4], runs[4:])]
    row = synthetic.entry(table, metric="crps", quantity="area_kendall_tau")
    assert row["estimate"] == pytest.approx(stats.kendalltau(*means).statistic)
    assert row["lower"] <= row["estimate"] <= row["upper"]
    assert (row["agents"], row["seeds"]) == (4, 5)


def test_what_a_mode_brings_along_is_no_variant(runs):
    table = build_table("mode_comparison", runs)
    assert set(table.data["variant"]) == {""}
    assert len(table.sections) == 1
    assert set(table.data["mode"].dropna()) == {"faithful", "corrected"}


def test_learning_curves_of_both_modes_are_told_apart_by_mode_alone(runs):
    for kind in ("learning_curves", "learning_curve_summary", "win_probability", "query_size", "labels_to_target"):
        variants = set(build_table(kind, runs).data["variant"])
        assert variants == {"mode=faithful", "mode=corrected"}, kind


def test_a_mode_without_runs_leaves_dashes(runs):
    table = build_table("mode_comparison", runs[4:])
    assert {cell.text for row in table.sections[0].rows for cell in row[3:]} == {"—"}
    assert "area_difference" not in set(table.data["quantity"])


def test_holes_of_either_mode_are_named(synthetic, runs):
    table = render_partial("mode_comparison", [dataclasses.replace(runs[0], state="running"), *runs[1:]])
    assert synthetic.entry(table, seeds=0)["mode"] == "faithful"
    assert "Random (running)" in markdown(table)
    assert "coreset" in set(table.data[table.data["quantity"] == "area_difference"]["agent"])


def test_a_curve_that_diverged_leaves_no_order(synthetic, runs):
    path = runs[0].folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame.loc[frame["labelled"] == 300, "nll"] = np.nan
    frame.to_parquet(path)
    table = build_table("mode_comparison", runs)
    assert np.isnan(synthetic.entry(table, metric="nll", quantity="area_kendall_tau")["estimate"])
    assert np.isfinite(synthetic.entry(table, metric="nll", quantity="final_difference", agent="coreset")["estimate"])
    assert np.isfinite(synthetic.entry(table, metric="crps", quantity="area_kendall_tau")["estimate"])


def test_a_recipe_with_one_key_corrected_stands_beside_the_same_corrected_runs(synthetic, tmp_path):
    recipes = [("corrected", "restore_best"), ("faithful", "inverted"), ("faithful", "last_weights")]
    runs = [
        synthetic.make_run(tmp_path, agent=agent, mode=mode, early_stopping=stopping, rise=rise)
        for rise, (mode, stopping) in enumerate(recipes)
        for agent in AGENTS[:2]
    ]
    table = build_table("mode_comparison", runs)
    headings = [section.heading.split(" · ")[3] for section in table.sections]
    assert headings == [f"reference with training.early_stopping={value}" for value in ("inverted", "last_weights")]
    for variant, faithful in zip(headings, (runs[2], runs[4]), strict=True):
        row = synthetic.entry(table, variant=variant, agent="random", metric="nll", quantity="area_difference")
        gaps = synthetic.areas(faithful) - synthetic.areas(runs[0])
        assert row["estimate"] == pytest.approx(gaps.mean())
    assert "names settings of that section's runs of the reference's recipe" in markdown(table)


def test_runs_on_another_split_are_not_compared_across_modes(synthetic, tmp_path):
    runs = [synthetic.make_run(tmp_path, agent=agent, mode="corrected", test_rows=2) for agent in AGENTS[:2]]
    for split in ("random", "grouped"):
        for agent in AGENTS[:2]:
            run = synthetic.make_run(tmp_path / split, agent=agent, mode="faithful", test_rows=2)
            runs.append(dataclasses.replace(run, run_id=f"{run.run_id}-{split}"))
    for run, split in zip(runs, ["random"] * 4 + ["grouped"] * 2, strict=True):
        run.spec["labels"]["split"] = split
    data = build_table("mode_comparison", runs).data
    differences = data[data["quantity"] == "area_difference"]
    assert not differences["variant"].str.contains("grouped").any()
    assert len(differences)


def test_sections_of_one_mode_alone_point_to_the_table_that_compares_them(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, agent=agent, mode="faithful", early_stopping=stopping)
        for stopping in ("inverted", "restore_best")
        for agent in AGENTS[:2]
    ]
    table = build_table("mode_comparison", runs)
    assert [section.heading.split(" · ")[3] for section in table.sections] == [
        "training.early_stopping=inverted",
        "training.early_stopping=restore_best",
    ]
    assert any("kind training_ablation" in note for note in table.notes)
    assert not any("kind training_ablation" in note for note in build_table("mode_comparison", runs[:2]).notes)


def test_the_mode_of_draws_is_defined(runs):
    assert any(note.startswith("MAE (mode of 64): mean absolute error of") for note in table_notes(runs))


def test_an_order_of_agents_from_few_seeds_comes_with_a_warning(synthetic, runs, tmp_path):
    few = [
        synthetic.make_run(tmp_path / "few", agent=agent, mode=mode, seeds=range(2))
        for mode in ("faithful", "corrected")
        for agent in AGENTS
    ]
    assert any("With 2 seeds the intervals of Kendall's τ are too narrow" in note for note in table_notes(few))
    assert not any("too narrow and cover" in note for note in table_notes(runs))


def table_notes(runs):
    return build_table("mode_comparison", runs).notes
