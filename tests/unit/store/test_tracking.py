"""JSON-lines metrics and what is fed from them."""

import json

import pytest

from bayesgrid.errors import StateError
from bayesgrid.store.tracking import Tracker, feed_wandb, read_stream


def test_lines_come_back_in_order_of_steps(tmp_path):
    tracker = Tracker(tmp_path)
    for step in (0, 1, 2):
        tracker.log("rounds", step, seed=0, nll=-step)
        tracker.log("rounds", step, seed=1, nll=float(step))
    entries = read_stream(tmp_path / "rounds.jsonl")
    assert [(e["step"], e["seed"], e["nll"]) for e in entries] == [
        (0, 0, 0), (0, 1, 0.0), (1, 0, -1), (1, 1, 1.0), (2, 0, -2), (2, 1, 2.0),
    ]  # fmt: skip


def test_a_step_logged_again_after_a_resume_counts_once(tmp_path):
    tracker = Tracker(tmp_path)
    tracker.log("fit", 1, loss=3.0)
    tracker.log("fit", 1, loss=2.0)
    assert [entry["loss"] for entry in read_stream(tmp_path / "fit.jsonl")] == [2.0]


def test_a_torn_last_line_is_left_out_and_a_torn_middle_is_an_error(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert [entry["step"] for entry in read_stream(path)] == [1]
    path.write_text('{"step": 1}\n{"step": 2, "lo\n{"step": 3}\n')
    with pytest.raises(StateError, match="line 2"):
        read_stream(path)


def test_wandb_is_fed_offline_from_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracker = Tracker(tmp_path / "tracking")
    tracker.log("rounds", 0, seed=3, nll=1.5)
    tracker.log("rounds", 1, seed=3, nll=1.0)
    sent = feed_wandb(
        tmp_path / "tracking", run_id="toy-1", config={"a": 1}, project="p", mode="offline", directory=tmp_path / "w"
    )
    assert sent == 2
    assert len(list((tmp_path / "w").rglob("*.wandb"))) == 1
    assert json.loads((tmp_path / "tracking" / "rounds.jsonl").read_text().splitlines()[0])["nll"] == 1.5
