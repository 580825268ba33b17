"""Runs that wait for a person: no failure, said by the status, and told by an exit status of their own."""

import json

import pandas as pd
import pytest

from bayesgrid import cli
from bayesgrid.errors import StateError
from bayesgrid.store.execution import EXIT_WAITING, RunResult, Waiting, execute_run
from bayesgrid.store.layout import run_folders
from bayesgrid.store.status import run_status

RUN = "toy-0123456789abcdef"


@pytest.fixture
def folders(tmp_path):
    return run_folders(tmp_path / "results", tmp_path / "state", "toy", RUN)


def execute(folders, work):
    return execute_run(work, folders, run_id=RUN, job={}, rounds=False)


def status(folders):
    return run_status(folders.published.parents[2], folders.state.parent, "toy", RUN)


def wait(_context):
    raise Waiting("waiting for labels: 3 pairs of round 1", where=RUN, commands=["first step", "second step"])


def fail(_context):
    raise RuntimeError("power cut")


def finish(_context):
    metrics = pd.DataFrame({"seed": [0], "split": ["test"], "metric": ["nll"], "value": [1.0]})
    return RunResult(metrics, metrics)


def test_waiting_is_no_failure_and_takes_an_earlier_one_away(folders):
    with pytest.raises(RuntimeError):
        execute(folders, fail)
    with pytest.raises(Waiting):
        execute(folders, wait)
    assert not folders.failure.exists()
    assert not folders.published.exists()
    shown = status(folders)
    assert (shown.state, shown.failure) == ("waiting", None)
    assert shown.message == "waiting for labels: 3 pairs of round 1\nfirst step\nsecond step"


def test_a_failure_after_it_is_what_the_status_shows(folders):
    with pytest.raises(Waiting):
        execute(folders, wait)
    with pytest.raises(RuntimeError):
        execute(folders, fail)
    assert status(folders).state == "failed"


def test_what_a_finished_run_waited_for_is_forgotten(folders):
    with pytest.raises(Waiting):
        execute(folders, wait)
    execute(folders, finish)
    assert status(folders).state == "done"
    assert not folders.waiting.exists()


def test_a_damaged_record_says_what_to_do(folders):
    folders.state.mkdir(parents=True)
    folders.waiting.write_text('{"what": 3')
    with pytest.raises(StateError, match=r"waiting.json.*damaged.*start the run again"):
        status(folders)


def test_the_command_ends_with_its_own_exit_status_and_one_line(monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", lambda: wait(None))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == EXIT_WAITING == 87
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{RUN}: waiting for labels: 3 pairs of round 1; run `first step`, then `second step`"


def test_the_record_is_plain_json(folders):
    with pytest.raises(Waiting):
        execute(folders, wait)
    record = json.loads(folders.waiting.read_text())
    assert record == {"what": "waiting for labels: 3 pairs of round 1", "commands": ["first step", "second step"]}
