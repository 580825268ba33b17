import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesgrid.data.choice_questions import QUESTIONS_FILE, ChoiceQuestion, ChoiceQuestions, write_choice_questions
from bayesgrid.data.prepared_folders import PROVENANCE_FILE
from bayesgrid.grid.experiments import expand, load_experiment
from bayesgrid.grid.sources import load_dataset_catalog
from bayesgrid.store.execution import RunInputs, execute_run
from bayesgrid.store.layout import run_folders
from bayesgrid.studies.bayesian_lora_active.run import run
from bayesgrid.studies.bayesian_lora_active.spec import DISAGREEMENT_RULES

CONFIG = Path(__file__).parents[4] / "config"


def split(prefix, count):
    return tuple(
        ChoiceQuestion(f"{prefix}{row}", f"{row * row % 7} or {row % 5}?", ("yes", "no"), row % 3 % 2)
        for row in range(count)
    )


@pytest.fixture
def inputs(tmp_path, tiny_folder):
    folder = tmp_path / "data" / "questions-v1"
    made = ChoiceQuestions(
        "questions", "v1", ("A", "B"), "lettered_choices", {"train": split("t", 30), "test": split("u", 9)}, None
    )
    write_choice_questions(made, folder)
    digest = hashlib.sha256((folder / QUESTIONS_FILE).read_bytes()).hexdigest()
    record = {"parquet_sha256": digest, "labels": ["A", "B"], "template": "lettered_choices"}
    (folder / PROVENANCE_FILE).write_text(json.dumps(record))
    return RunInputs(
        data=tmp_path / "data",
        data_versions={"questions": "v1"},
        model=tiny_folder,
        model_revision="0",
        cache=tmp_path / "cache",
    )


@pytest.mark.parametrize("top_blocks", [None, 1])
def test_a_run_reads_prepared_questions_and_publishes_three_tables(active_spec, inputs, tmp_path, top_blocks):
    spec = active_spec(
        "scalabl",
        seeds=[0, 1],
        prompt={"form": "base"},
        lora={"rank": 2, "alpha": 4.0, "top_blocks": top_blocks},
        acquisition={"evaluation_examples": 5},
    )
    folders = run_folders(tmp_path / "results", tmp_path / "state", spec.study, "run")
    assert execute_run(lambda context: run(spec, context, inputs), folders, run_id="run", job={}, rounds=True)
    tables = {
        name: pd.read_parquet(folders.published / f"{name}.parquet") for name in ("metrics", "predictions", "rounds")
    }
    assert len(tables["rounds"]) == 6
    assert tables["predictions"].groupby(["seed", "round"])["example"].nunique().tolist() == [5, 5, 5, 5]
    chosen = np.concatenate(tables["rounds"]["chosen"].to_list())
    assert set(chosen.tolist()) <= {f"t{row}" for row in range(30)}
    assert np.isfinite(tables["metrics"]["value"]).all()


@pytest.mark.parametrize("name", ["active_learning", "active_learning_laptop"])
def test_the_experiment_files_compare_every_method_with_random_acquisition(name):
    experiment, path = load_experiment(CONFIG, name)
    catalog = load_dataset_catalog(CONFIG / "datasets.yaml")
    specs = expand(experiment, path=path, config=CONFIG, catalog=catalog)
    rules: dict[tuple[str, str, str], set[str]] = {}
    for spec in specs:
        rules.setdefault((spec.model, spec.dataset, spec.method), set()).add(spec.rule)
    for (_, _, method), own in rules.items():
        assert {"random", "entropy"} <= own
        assert method == "mle" or set(DISAGREEMENT_RULES) & own
