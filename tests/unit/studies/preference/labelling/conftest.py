"""A run that people label: its prepared data, its state, and the command that starts it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bayesgrid.data.checksums import sha256_of_file
from bayesgrid.data.preference_pairs import write_preference_pairs
from bayesgrid.store.execution import RunInputs, Waiting, execute_run
from bayesgrid.store.layout import run_folders
from bayesgrid.studies.preference.label_batches import open_batch
from bayesgrid.studies.preference.run import run

RUN = "pairs-bradley_terry-bald-s0-0123456789abcdef"


def prepare(data, root):
    """Write ``data`` as a prepared data set."""
    folder = root / f"{data.name}-{data.data_version}"
    write_preference_pairs(data, folder)
    further = [path.name for path in folder.glob("*.parquet") if path.name != "pairs.parquet"]
    record = {
        "dataset": data.name,
        "data_version": data.data_version,
        "parquet_sha256": sha256_of_file(folder / "pairs.parquet"),
        "further_files": {name: sha256_of_file(folder / name) for name in further},
    }
    (folder / "provenance.json").write_text(json.dumps(record))


@pytest.fixture
def start_run(tmp_path):
    """A function that prepares data and returns a run on them, with what a person does to it."""

    def make(spec, data, name="run"):
        results, state_root = tmp_path / name / "results", tmp_path / name / "state"
        folders = run_folders(results, state_root, "preference", RUN)
        prepare(data, state_root / "data")
        inputs = RunInputs(state_root / "data", {data.name: data.data_version})

        def play(before=lambda _context: None):
            """Start the command; return what it published, or None if it waits for labels."""

            def work(context):
                before(context)
                return run(spec, context, inputs)

            try:
                execute_run(work, folders, run_id=RUN, job={}, rounds=True)
            except Waiting:
                return None
            names = ("metrics", "predictions", "rounds")
            return {frame: pd.read_parquet(folders.published / f"{frame}.parquet") for frame in names}

        def asked():
            return open_batch(folders.state)

        return SimpleNamespace(
            name=RUN, play=play, asked=asked, folders=folders, results=results, state_root=state_root, data=data
        )

    return make


@pytest.fixture
def hand_in(tmp_path):
    """A function that writes answers to a file: (pair id, choice, annotator, ...) as CSV with a header."""

    def write(rows, name="answers.csv", header="pair_id,choice,annotator"):
        path = tmp_path / name
        path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
        return path

    return write


@pytest.fixture(scope="session")
def unlabelled(pairs):
    """The pairs, none of which has a label."""
    return replace(pairs, probability=np.full(pairs.count, np.nan))
