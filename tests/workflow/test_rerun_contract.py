"""What makes a run start again, and what must not."""

import os
import shutil
import time

import pytest

from tests.workflow.project import Project

pytestmark = pytest.mark.workflow


@pytest.fixture
def copy(built, tmp_path):
    """Return a copy of the built project that a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(built.folder, folder, symlinks=True)
    return Project(folder)


PRODUCTS = {"table": 1, "claims": 1}


def test_nothing_changed_means_nothing_to_do(copy):
    assert len(copy.published()) == 4
    assert copy.jobs() == {}


def test_a_new_grid_value_adds_its_runs_only(copy):
    copy.experiment(methods="[a, b, c]")
    assert copy.jobs() == {"toy_run": 2, **PRODUCTS}


def test_further_seeds_add_blocks_and_leave_old_ones(copy):
    copy.experiment(seeds="0-3")
    assert copy.jobs() == {"toy_run": 4, **PRODUCTS}


def test_order_and_spelling_of_the_configuration_do_not_matter(copy):
    copy.experiment(methods="[b, a]", scales="[2.0, 1e0]")
    assert "toy_run" not in copy.jobs()


def test_writing_a_default_out_reruns_nothing(copy):
    copy.experiment(values="{walk.steps: 3}")
    assert copy.jobs() == {}


def test_a_changed_hyperparameter_is_another_run_and_the_old_result_stays(copy):
    before = copy.published()
    copy.experiment(values="{walk.steps: 4}")
    assert copy.jobs() == {"toy_run": 4, **PRODUCTS}
    copy.snakemake()
    after = copy.published()
    assert len(after) == 8
    assert {name: after[name] for name in before} == before


def test_editing_code_or_a_rule_reruns_nothing(copy):
    rules = copy.folder / "workflow" / "rules" / "runs.smk"
    rules.write_text(rules.read_text().replace('"bayesgrid run --job', '"bayesgrid  run  --job'))
    for path in (copy.folder / "workflow").rglob("*"):
        os.utime(path)
    assert "toy_run" not in copy.jobs()


def test_a_new_parameter_with_a_default_reruns_nothing(copy):
    assert copy.jobs(TOY_NEW_KEY="1") == {}


def test_a_raised_revision_reruns_the_study(copy):
    assert copy.jobs(TOY_REVISION="2") == {"toy_run": 4, **PRODUCTS}


def test_a_fresh_clone_with_copied_results_reruns_nothing(copy):
    shutil.rmtree(copy.folder / ".snakemake")
    time.sleep(1.1)
    for name in ("workflow", "config"):
        for path in (copy.folder / name).rglob("*"):
            os.utime(path)
    os.utime(copy.folder / "Snakefile")
    assert copy.jobs() == {}


def test_deleted_results_are_published_again_without_computing(copy):
    before = copy.published()
    attempts = len(list((copy.folder / "results" / "state").glob("*/tracking/walk.jsonl")))
    lines = {p: p.read_text() for p in (copy.folder / "results" / "state").glob("*/tracking/walk.jsonl")}
    shutil.rmtree(copy.folder / "results" / "runs")
    shutil.rmtree(copy.folder / "results" / "tables")
    assert copy.jobs()["toy_run"] == 4
    copy.snakemake()
    assert copy.published() == before
    assert attempts == 4
    assert {p: p.read_text() for p in lines} == lines


def test_a_shared_state_root_serves_another_checkout(copy, tmp_path):
    other = Project(tmp_path / "other").copy_workflow()
    other.write("config/config.yaml", f"experiments: [toy]\nstate_root: {copy.folder / 'results' / 'state'}\n")
    other.snakemake()
    assert other.published() == copy.published()
    assert not (other.folder / "results" / "state").exists()


def test_where_state_lives_is_no_reason_to_run_again(copy, tmp_path):
    copy.write("config/config.yaml", f"experiments: [toy]\nstate_root: {tmp_path / 'elsewhere'}\n")
    assert copy.jobs() == {}


def test_a_failing_run_costs_the_others_nothing(copy):
    copy.experiment(methods="[a, b]", scales="[1.0, 2.0]", seeds="0-5", values="{failing_seed: 5}")
    printed = copy.snakemake(check=False)
    assert "seed 5 was meant to fail" in printed
    status = copy.run("bayesgrid", "status")
    assert "failed: error" in status
    assert "meant to fail" in status
    assert copy.jobs(TOY_MENDED="1")["toy_run"] == 4
    copy.snakemake(TOY_MENDED="1")
    assert copy.jobs(TOY_MENDED="1") == {}
