import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesgrid.errors import ConfigurationError
from bayesgrid.reporting.learning_curve_figure import draw_differences, draw_learning_curves
from bayesgrid.reporting.style import figure_style
from bayesgrid.reporting.tables import build_table, render_partial

AGENTS = ("random", "coreset")


@pytest.fixture
def runs(synthetic, tmp_path):
    cells = [
        synthetic.make_run(tmp_path, dataset=dataset, agent=agent, test_rows=2)
        for dataset in ("diamonds", "parkinsons")
        for agent in AGENTS
    ]
    bound = synthetic.make_run(tmp_path, dataset="parkinsons", seeds=range(3), initial=3760, budget=0, test_rows=2)
    return [*cells, bound]


def bounds(table):
    return table.data[table.data["quantity"] == "upper_bound"]


def test_the_bound_is_the_mean_over_its_own_seeds(runs):
    rows = bounds(build_table("learning_curves", runs)).set_index("metric")
    values = pd.read_parquet(runs[-1].folder / "rounds.parquet")["nll"]
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert rows.loc["nll", "estimate"] == pytest.approx(values.mean())
    assert (rows.loc["nll", "lower"], rows.loc["nll", "upper"]) == pytest.approx((interval.low, interval.high))
    assert (rows.loc["nll", "labelled"], rows.loc["nll", "seeds"]) == (3760, 3)
    assert set(rows["dataset"]) == {"parkinsons"}


@pytest.mark.parametrize("kind", ["learning_curves", "learning_curve_summary", "agent_ranks", "labels_to_target"])
def test_the_bound_is_no_agent_and_changes_no_other_number(runs, kind):
    with_bound, without = build_table(kind, runs).data, build_table(kind, runs[:-1]).data
    if "quantity" in with_bound:
        with_bound = with_bound[with_bound["quantity"] != "upper_bound"].reset_index(drop=True)
    pd.testing.assert_frame_equal(with_bound, without)


def test_the_summary_names_the_labels_of_the_bound(runs):
    sections = build_table("learning_curve_summary", runs).sections
    assert [row[0].text for row in sections[1].rows] == ["Random", "Coreset", "All labels (3,760)"]
    assert [row[0].text for row in sections[0].rows] == ["Random", "Coreset"]


def test_the_bound_is_a_dashed_line_in_the_panels_of_its_data_set(runs):
    mpl.use("Agg")
    table = build_table("learning_curves", runs).data
    with figure_style():
        figure = draw_learning_curves(table)
    level = bounds(build_table("learning_curves", runs)).set_index("metric").loc["nll", "estimate"]
    flat = [[line for line in axes.lines if len(set(line.get_ydata())) == 1] for axes in figure.axes]
    assert [len(lines) for lines in flat] == [0, 0, 0, 1, 1, 1]
    assert flat[3][0].get_ydata()[0] == pytest.approx(level)
    assert flat[3][0].get_linestyle() != "-"
    low, high = figure.axes[3].get_ylim()
    assert low < level < high
    assert figure.legends[0].get_texts()[-1].get_text() == "All labels"
    assert any("all labels: 3,760, n = 3" in text.get_text() for text in figure.texts)
    with figure_style():
        assert len(draw_differences(table).legends[0].get_texts()) == 1
    plt.close("all")


def test_seeds_with_other_numbers_of_training_rows_are_one_bound(runs):
    path = runs[-1].folder / "rounds.parquet"
    frame = pd.read_parquet(path)
    frame.assign(labelled=[3700, 3760, 3720]).to_parquet(path)
    rows = bounds(build_table("learning_curves", runs)).set_index("metric")
    assert rows.loc["nll", "estimate"] == pytest.approx(frame["nll"].mean())
    assert rows.loc["nll", "labelled"] == 3760


def test_each_mode_has_its_own_bound(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, mode=mode, budget=budget, better=better)
        for mode, better in (("faithful", 0.0), ("corrected", 0.5))
        for budget in (400, 0)
    ]
    rows = bounds(build_table("learning_curves", runs))
    rows = rows[rows["metric"] == "nll"].set_index("variant")["estimate"]
    assert rows["mode=corrected"] == pytest.approx(pd.read_parquet(runs[3].folder / "rounds.parquet")["nll"].mean())
    assert rows["mode=faithful"] == pytest.approx(pd.read_parquet(runs[1].folder / "rounds.parquet")["nll"].mean())


def test_of_several_bounds_each_group_takes_that_of_its_recipe(synthetic, tmp_path):
    starts = ("scratch", "continue")
    runs = [
        synthetic.make_run(tmp_path, warm_start=start, budget=budget, better=better)
        for start, better in zip(starts, (0.0, 0.5), strict=True)
        for budget in (400, 0)
    ]
    rows = bounds(build_table("learning_curves", runs))
    assert rows.groupby("variant")["estimate"].first().nunique() == 2
    assert np.isfinite(rows["estimate"]).all()


def test_bounds_that_cannot_be_told_apart_are_refused(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path),
        *(synthetic.make_run(tmp_path, budget=0, seeds=seeds) for seeds in (range(2), range(3))),
    ]
    for number, run in enumerate(runs[1:]):
        run.spec["labels"]["validation_rows"] = 100 + number
    with pytest.raises(ConfigurationError, match="all labels are of several kinds"):
        build_table("learning_curves", runs)


def test_bounds_without_curves_are_sections_of_their_own(synthetic, tmp_path):
    runs = [
        synthetic.make_run(tmp_path, dataset=dataset, seeds=range(3), initial=3760, budget=0, test_rows=2)
        for dataset in ("diamonds", "parkinsons")
    ]
    table = build_table("learning_curve_summary", runs)
    assert table.sections[1].heading == "parkinsons · spline flow · 3,760 labels · 3 seeds · 2 test rows"
    rows = bounds(table)
    for run in runs:
        values = pd.read_parquet(run.folder / "rounds.parquet")
        own = rows[rows["dataset"] == run.spec["dataset"]].set_index("metric")["estimate"]
        assert own.to_dict() == pytest.approx({name: values[name].mean() for name in ("nll", "crps", "mae_median")})
    (shown,) = table.sections[0].rows
    assert shown[0].text == "All labels (3,760)"
    assert [cell.text for cell in shown[1:7]] == [""] * 6
    assert all("±" in cell.text for cell in shown[7:])
    assert any("alone has no area" in note for note in table.notes)
    assert any("Student-t interval" in note for note in table.notes)


def test_a_bound_without_curves_that_is_not_finished_is_a_hole(synthetic, tmp_path):
    run = synthetic.make_run(tmp_path, budget=0, state="running")
    table = render_partial("learning_curve_summary", [run])
    assert [cell.text for cell in table.sections[0].rows[0][:2]] == ["All labels", "(running)"]
    assert table.data[["agent", "seeds", "state"]].to_numpy().tolist() == [["all_labels", 0, "running"]]


def test_a_bound_on_other_test_rows_is_not_that_of_a_group(runs):
    for run in runs[:-1]:
        run.spec["labels"]["split"] = "grouped"
    runs[-1].spec["labels"]["split"] = "random"
    table = build_table("learning_curve_summary", runs)
    assert [[row[0].text for row in section.rows] for section in table.sections] == [
        ["Random", "Coreset"],
        ["Random", "Coreset"],
        ["All labels (3,760)"],
    ]
    curves = build_table("learning_curves", runs).data
    with figure_style():
        assert len(draw_learning_curves(curves).legends[0].get_texts()) == 2
    plt.close("all")
