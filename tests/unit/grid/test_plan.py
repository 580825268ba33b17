"""The plan: shared runs, needed runs, tables and figures, differences, and what planning must not import."""

import subprocess
import sys
from pathlib import Path

import pytest

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.plan import make_plan, plan_run
from bayesgrid.grid.plan_difference import compare_plans
from bayesgrid.grid.sources import load_dataset_catalog
from bayesgrid.grid.specification import RunSpec

REPOSITORY = Path(__file__).parents[3]
CATALOG = load_dataset_catalog(REPOSITORY / "config" / "datasets.yaml")

EXPERIMENT = """
study: regression
title: {title}
seeds: 0-1
grid: {{dataset: [bimodal_sine], agent: {agents}}}
set: {{labels.initial: 30, labels.budget: 60}}
used_in:
  tables: {{shared: {{kind: {kind}}}}}
  figures: {figures}
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "datasets.yaml").write_text((REPOSITORY / "config" / "datasets.yaml").read_text())
    return tmp_path


def write(config, name, agents, kind="learning_curves", figures="{}"):
    text = EXPERIMENT.format(title=name, agents=agents, kind=kind, figures=figures)
    (config / "experiments" / f"{name}.yaml").write_text(text)


class _Base(RunSpec):
    study = "toy"
    revision = 1
    entry_point = "nowhere:run"
    method: str = "mle"

    def slug(self):
        return self.method

    def needs(self):
        return {"mle": _Base(seeds=self.seeds)} if self.method == "laplace" else {}


def test_two_experiments_share_equal_runs_and_feed_one_table(config):
    write(config, "one", "[random, coreset]")
    write(config, "two", "[coreset, balsa_emd]")
    plan = make_plan(config, ["one", "two"])
    assert len(plan.runs) == 3
    shared = next(run for run in plan.runs.values() if run.spec.agent == "coreset")
    assert shared.experiments == ("one", "two")
    assert set(plan.tables["shared"].runs) == set(plan.runs)


def test_the_same_run_has_the_same_id_in_every_experiment(config):
    write(config, "one", "[random]")
    write(config, "two", "[random]")
    assert list(make_plan(config, ["one"]).runs) == list(make_plan(config, ["two"]).runs)


def test_one_table_cannot_be_defined_in_two_ways(config):
    write(config, "one", "[random]")
    write(config, "two", "[coreset]", kind="run_overview")
    with pytest.raises(ConfigurationError, match="defined in another way"):
        make_plan(config, ["one", "two"])


def test_a_figure_needs_a_table_that_is_fed(config):
    write(config, "one", "[random]", figures="{f: {notebook: learning_curves, table: sharde}}")
    with pytest.raises(ConfigurationError, match="did you mean 'shared'"):
        make_plan(config, ["one"])


def test_a_figure_needs_a_notebook_if_the_folder_is_known(config, tmp_path):
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    (notebooks / "learning_curves.py").touch()
    write(config, "one", "[random]", figures="{f: {notebook: learning_curve, table: shared}}")
    write(config, "two", "[random]", figures="{f: {notebook: learning_curves, table: shared}}")
    assert make_plan(config, ["one"]).figures
    assert make_plan(config, ["two"], notebooks=notebooks).figures
    with pytest.raises(ConfigurationError, match=r"figure 'f': unknown notebook.*did you mean 'learning_curves'"):
        make_plan(config, ["one"], notebooks=notebooks)


def test_needed_runs_are_planned_first_and_enter_the_id():
    planned = plan_run(_Base(method="laplace", seeds=(0,)), CATALOG)
    first, second = planned.values()
    assert (first.spec.method, second.spec.method) == ("mle", "laplace")
    assert second.needs == {"mle": first.run_id}
    assert list(plan_run(_Base(seeds=(0,)), CATALOG)) == [first.run_id]


def test_a_difference_names_the_parameter_that_changed(config):
    write(config, "one", "[random]")
    before = make_plan(config, ["one"])
    path = config / "experiments" / "one.yaml"
    path.write_text(path.read_text().replace("labels.budget: 60", "labels.budget: 100"))
    lines = compare_plans(before, make_plan(config, ["one"]))
    assert lines[0] == "+1 runs, -1 runs, 0 unchanged"
    assert "labels.budget: 60 -> 100" in lines[1]


def test_planning_imports_no_numerical_library():
    code = (
        "import sys, pathlib; from bayesgrid.grid.plan import make_plan;"
        f"make_plan(pathlib.Path({str(REPOSITORY / 'config')!r}), ['balsa_paper']);"
        "print([m for m in ('torch', 'numpy', 'pandas', 'numba', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
