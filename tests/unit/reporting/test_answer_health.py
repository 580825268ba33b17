"""What tables, figures and ``bayesgrid status`` say of fits that are not healthy."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bayesgrid.cli import app
from bayesgrid.errors import StateError
from bayesgrid.grid.plan import make_plan
from bayesgrid.metrics.temperature import fit_inverse_temperature
from bayesgrid.reporting.answer_dot_figure import draw_answer_metrics
from bayesgrid.reporting.answer_health import findings_of_runs, findings_text
from bayesgrid.reporting.answer_health_summary import findings_by_run, fit_folders, unhealthy_lines
from bayesgrid.reporting.html_tables import html
from bayesgrid.reporting.style import figure_style
from bayesgrid.reporting.table_files import latex, markdown
from bayesgrid.reporting.tables import build_table, table_kinds

REPOSITORY = Path(__file__).parents[3]
FAST = {"replicates": 100}
KINDS = [kind for kind in table_kinds() if kind.startswith("answer_") and kind != "answer_learning_curves"]
WITHOUT_REPLICATES = {"answer_draws", "answer_reliability"}


def options_of(kind):
    return {} if kind in WITHOUT_REPLICATES else FAST


def run_with(answers, root, *fits, inverse=None, **more):
    """Return an evaluation of two seeds that builds on ``fits``."""
    run = answers.make_answers(root, **{"seeds": range(2), "questions": 20, **more})
    path = run.folder / "metrics.parquet"
    metrics = pd.read_parquet(path)
    for seed, value in (inverse or {}).items():
        own = (metrics["metric"] == "inverse_temperature") & (metrics["seed"] == seed)
        metrics.loc[own, "value"] = value
    metrics.to_parquet(path)
    return replace(run, fits=fits)


def first_cells(table, column=0):
    return [row[column].text for section in table.sections for row in section.rows]


def test_findings_are_those_of_the_fit_by_seed(answers, tmp_path):
    fit = answers.make_fit(
        tmp_path,
        "fit",
        collapsed={0: 0.0, 1: 1.0},
        width_is_data_free={0: 1.0, 1: 1.0},
        mean_deviation={0: 9.0, 1: 9.0},
    )
    found = findings_of_runs([run_with(answers, tmp_path, fit)])
    assert found == {"collapsed": (1,), "width_is_data_free": (0, 1)}
    assert findings_text(found, 2) == "collapsed to chance in 1 of 2 seeds, width set without data in 2 of 2 seeds"


def test_a_fit_inherits_that_its_parent_collapsed_but_not_its_parents_width(answers, tmp_path):
    own = answers.make_fit(tmp_path, "tfb", sigma={0: 0.1, 1: 0.1})
    parent = answers.make_fit(tmp_path, "blob", collapsed={0: 1.0, 1: 0.0}, width_is_data_free={0: 1.0, 1: 1.0})
    assert findings_of_runs([run_with(answers, tmp_path, own, parent)]) == {"parent_collapsed": (0,)}


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("gap", [0.02, 0.2])
def test_a_temperature_is_at_its_bound_where_the_search_ended(answers, tmp_path, right, gap):
    # Answers that are all right want an infinite scale, answers that are all wrong want 0.
    logits = np.tile([gap, 0.0] if right else [0.0, gap], (1, 30, 1))
    inverse = fit_inverse_temperature(logits, np.zeros(30, dtype=int), np.full(30, 2))
    run = run_with(answers, tmp_path, inverse={0: inverse, 1: 0.97 * inverse if right else 1.03 * inverse})
    assert findings_of_runs([run]) == {"temperature_at_bound": (0,)}


def test_health_is_not_known_without_the_metrics_of_the_fit_and_damage_is_named(answers, tmp_path):
    run = run_with(answers, tmp_path, tmp_path / "nowhere")
    assert findings_of_runs([run]) == {"unknown": (0, 1)}
    fit = answers.make_fit(tmp_path, "fit", collapsed={0: 0.0})
    (fit / "metrics.parquet").write_bytes(b"no parquet")
    with pytest.raises(StateError, match=r"damaged.*fit"):
        findings_of_runs([replace(run, fits=(fit,))])


@pytest.fixture
def sick_and_sound(answers, tmp_path):
    """Every seed of BLoB but one collapsed; all is well with MLE."""
    sick = answers.make_fit(tmp_path, "sick", collapsed={0: 0.0, 1: 1.0})
    sound = answers.make_fit(tmp_path, "sound", collapsed={0: 0.0, 1: 0.0})
    evaluated = {"dataset": "slake"}
    return [
        run_with(answers, tmp_path, fit, method=method, evaluation=evaluation, **evaluated)
        for method, fit in (("mle", sound), ("blob", sick))
        for evaluation in ("", "noisy_slake_8")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_collapsed_fit_and_no_others_refer_to_the_line_below_every_kind_of_table(sick_and_sound, kind):
    table = build_table(kind, sick_and_sound, options_of(kind))
    sentence = "Collapsed: the training loss ended at that of a uniform guess, in 1 of 2 seeds (1)."
    assert table.footnotes == (sentence,)
    names = [text for column in range(2) for text in first_cells(table, column) if text.startswith(("MLE", "BLoB"))]
    if kind == "answer_ablation":
        # Rows are settings; the method is in the heading.
        names = [f"{section.heading} {row[0].text}" for section in table.sections for row in section.rows]
    assert {("BLoB" in name) for name in names} == {True, False} or kind == "answer_differences"
    assert all(name.endswith(" [1]") == ("BLoB" in name) for name in names), names
    for text in (markdown(table), html(table), latex(table, label="t")):
        assert text.count(sentence) == 1
        assert text.index(sentence) > text.rindex("BLoB")


def test_a_temperature_at_its_bound_marks_scaled_rows_and_the_value_itself(answers, tmp_path):
    run = run_with(answers, tmp_path, inverse={0: 100.0})
    table = build_table("answer_metrics", [run], FAST)
    assert first_cells(table) == ["MLE", "MLE + temperature [1]"]
    assert table.footnotes[0].startswith(
        "The fitted inverse temperature is at an end of its search, 0.01 or 100, in 1 of 2"
    )
    shown = build_table("answer_metrics", [run], {**FAST, "metrics": ["nll", "inverse_temperature"]})
    assert first_cells(shown) == ["MLE [1]", "MLE + temperature [1]"]
    assert build_table("answer_metrics", [run], {**FAST, "temperature": False}).footnotes == ()


@pytest.mark.parametrize(
    ("held_out", "said"), [((29, 29), "29"), ((1, 1), "1"), ((12, 40), "12 to 40"), ((30, 30), "")]
)
def test_temperatures_that_rest_on_few_labels_say_on_how_many(answers, tmp_path, held_out, said):
    run = run_with(answers, tmp_path)
    path = run.folder / "predictions.parquet"
    test = pd.read_parquet(path)
    slices = [
        test[(test["seed"] == seed) & (test["draw"] == 0)]
        .iloc[[0] * count]
        .assign(split="validation", example=range(count))
        for seed, count in enumerate(held_out)
    ]
    held = pd.concat(slices).astype({"example": "str"})
    pd.concat([test, held, held.assign(draw=1)]).to_parquet(path)
    table = build_table("answer_metrics", [run], FAST)
    label = "label" if said == "1" else "labels"
    assert table.footnotes == ((f"The temperature rests on {said} held-out {label} alone.",) if said else ())
    assert first_cells(table) == ["MLE", "MLE + temperature [1]" if said else "MLE + temperature"]


def test_a_reference_that_collapsed_is_marked_where_differences_are_to_it(answers, tmp_path):
    fit = answers.make_fit(tmp_path, "fit", collapsed={0: 1.0, 1: 1.0})
    runs = [run_with(answers, tmp_path, fit), run_with(answers, tmp_path, method="blob")]
    table = build_table("answer_differences", runs, {**FAST, "temperature": False})
    assert table.sections[0].heading.endswith(" · reference MLE [1]")
    assert set(first_cells(table, 1)) == {"BLoB"}
    healthy = build_table("answer_differences", [replace(runs[0], fits=()), runs[1]], FAST)
    assert "reference" not in healthy.sections[0].heading


def test_training_sizes_say_on_which_set_a_fit_collapsed(answers, tmp_path):
    sick = answers.make_fit(tmp_path, "sick", collapsed={0: 1.0})
    runs = [
        run_with(answers, tmp_path, *fits, dataset=f"winogrande_{size}", labels=labels)
        for size, labels, fits in (("xs", 160, (sick,)), ("s", 640, ()))
    ]
    table = build_table("answer_by_training_size", runs, FAST)
    assert table.footnotes[0].endswith("in 1 of 2 seeds (0), on winogrande xs.")
    assert set(table.data["unhealthy"]) == {"collapsed to chance in 1 of 2 seeds on winogrande xs"}


def test_a_figure_stars_the_methods_and_says_what_is_wrong(sick_and_sound):
    mpl.use("Agg")
    table = build_table("answer_metrics", sick_and_sound, FAST)
    with figure_style():
        figure = draw_answer_metrics(table.data)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["MLE", "BLoB *"]
    note = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "*: collapsed to chance in 1 of 2 seeds: BLoB." in note
    with figure_style():
        earlier = draw_answer_metrics(table.data.drop(columns=["unhealthy", "model_label", "dataset_label"]))
    assert [label.get_text() for label in earlier.axes[0].get_yticklabels()] == ["MLE", "BLoB"]
    plt.close("all")


@pytest.fixture(scope="module")
def plan():
    return make_plan(REPOSITORY / "config", ["demo_bayesian_lora"])


def publish(folder, run, **flags):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"seed": seed, "split": "train", "metric": metric, "value": value}
        for metric, value in flags.items()
        for seed in run.spec.seeds
    ]
    pd.DataFrame(rows, columns=["seed", "split", "metric", "value"]).to_parquet(folder / "metrics.parquet")


def test_a_summary_counts_the_finished_evaluations_on_an_unhealthy_fit(plan, tmp_path):
    evaluations = plan.experiments["demo_bayesian_lora"]
    bad = next(name for name in evaluations if plan.runs[name].spec.method == "mle")
    for run in plan.runs.values():
        is_bad = run.run_id == plan.runs[bad].needs["fit"]
        publish(tmp_path / "runs" / run.study / run.run_id, run, collapsed=float(is_bad))
    found = findings_by_run(plan, list(plan.runs), tmp_path)
    on_it = {name for name, run in plan.runs.items() if plan.runs[bad].needs["fit"] in {name, *run.needs.values()}}
    # What starts from a collapsed fit is told apart from it.
    assert {name for name, kinds in found.items() if "collapsed" in kinds} == {
        name for name in on_it if plan.runs[name].needs.get("fit") or name == plan.runs[bad].needs["fit"]
    }
    assert set(found[bad]["collapsed"]) == set(plan.runs[bad].spec.seeds)
    (line,) = unhealthy_lines(plan, list(plan.runs), found)
    unhealthy = sum(name in found for name in evaluations)
    assert line.startswith(f"demo_bayesian_lora: {unhealthy} of {len(evaluations)} finished runs")
    assert "with findings" in line
    assert "bayesgrid status" not in line, "the command that prints the line names the runs itself"
    assert any(f"`bayesgrid table {name}`" in line for name in plan.tables)
    assert unhealthy_lines(plan, list(plan.runs), {}) == []


def test_the_folders_of_a_run_are_those_of_its_fit_then_of_the_fits_parent(plan, tmp_path):
    for name, run in plan.runs.items():
        chain, needed = [], run
        while needed.needs:
            (below,) = needed.needs.values()
            needed = plan.runs[below]
            chain.append(tmp_path / "runs" / needed.study / below)
        assert fit_folders(plan, name, tmp_path) == tuple(chain)
    assert max(len(fit_folders(plan, name, tmp_path)) for name in plan.runs) == 2


def test_status_names_unhealthy_fits_behind_the_run_and_at_the_end(plan, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(REPOSITORY / "config", project / "config")
    shutil.copytree(REPOSITORY / "workflow", project / "workflow")
    shutil.copy(REPOSITORY / "Snakefile", project)
    monkeypatch.setenv("BAYESGRID_PROJECT", str(project))
    monkeypatch.setenv("BAYESGRID_STATE_ROOT", str(tmp_path / "state"))
    evaluation = next(name for name in plan.experiments["demo_bayesian_lora"] if plan.runs[name].spec.method == "mle")
    for name in (evaluation, plan.runs[evaluation].needs["fit"]):
        run = plan.runs[name]
        folder = project / "results" / "runs" / run.study / name
        publish(folder, run, collapsed=1.0)
        (folder / "manifest.json").write_text("{}")
    done = CliRunner().invoke(app, ["status", "-e", "demo_bayesian_lora"], catch_exceptions=False)
    lines = done.output.splitlines()
    seeds = len(plan.runs[evaluation].spec.seeds)
    (own,) = [line for line in lines if evaluation in line]
    assert own.startswith("done")
    assert f"collapsed to chance in {seeds} of {seeds} seed" in own
    assert lines[-1].startswith("demo_bayesian_lora: 1 of 1 finished run with findings")
    rows = json.loads(CliRunner().invoke(app, ["status", "-e", "demo_bayesian_lora", "--json"]).output)
    unhealthy = {row["run"]: row["unhealthy"] for row in rows if row["unhealthy"]}
    assert unhealthy[evaluation] == {"collapsed": list(plan.runs[evaluation].spec.seeds)}
    assert len(unhealthy) == 2
