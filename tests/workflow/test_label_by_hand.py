"""A run that people label, through the commands that they type: snakemake stops for labels, and goes on with them."""

import csv

import pandas as pd
import pytest

from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

EXPERIMENT = """study: preference
title: by hand
seeds: 0
set:
  dataset: game_rock_paper_scissors
  model: {kind: bradley_terry, hidden: 4}
  posterior.kind: none
  training: {steps: 5}
  labels: {oracle: human, split: pair, initial: 6, rounds: 0}
  acquisition.rule: margin
used_in: {}
"""


@pytest.fixture
def project(tmp_path):
    """Return a project whose one run asks people about pairs of a game."""
    project = Project(tmp_path / "project").copy_workflow()
    (project.folder / "config" / "experiments" / "preference").mkdir()
    project.write("config/experiments/preference/by_hand.yaml", EXPERIMENT)
    project.write("config/config.yaml", "experiments: [by_hand]\n")
    return project


def test_snakemake_stops_for_labels_and_goes_on_with_them(project):
    (target,) = project.run("bayesgrid", "plan", "targets").split()
    run = target.split("/")[3]
    printed = project.snakemake(target, "--retries", "1", check=False)
    awaited = "waiting for labels: 6 pairs of round 0"
    assert f"{run}: {awaited}; run `bayesgrid label export" in printed
    assert printed.count("Trying to restart job") == 1
    text = project.run("bayesgrid", "status")
    assert f"waiting                {run}\n    {awaited}\n    bayesgrid label export {run} FOLDER\n" in text
    project.run("bayesgrid", "label", "export", run, "questions")
    path = project.folder / "questions" / "batch.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([{**row, "choice": "left", "annotator": "ada"} for row in rows])
    assert "labels of round 0 are complete" in project.run("bayesgrid", "label", "import", run, str(path))
    assert not (project.folder / target).exists()
    project.snakemake(target)
    rounds = pd.read_parquet((project.folder / target).with_name("rounds.parquet"))
    assert rounds["labelled"].tolist() == [6]
    # What people said outlives the run.
    votes = pd.read_parquet(project.folder / "results" / "state" / run / "votes" / "round_0000.parquet")
    assert votes["annotator"].tolist() == ["ada"] * 6
