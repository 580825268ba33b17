"""Executing a run: reuse, resume, failure records, locks, signals."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from bayesgrid.errors import DataError, NumericalError, RunInUseError
from bayesgrid.store.execution import Preempted, RunResult, execute_run, failures_recorded
from bayesgrid.store.layout import run_folders
from bayesgrid.store.status import run_status

RUN = "toy-0123456789abcdef"


def result(value=1.0, rounds=None):
    metrics = pd.DataFrame({"seed": [0], "split": ["test"], "metric": ["nll"], "value": [value]})
    return RunResult(metrics, pd.DataFrame({"seed": [0], "row": [3], "median": [0.5]}), rounds)


@pytest.fixture
def folders(tmp_path):
    return run_folders(tmp_path / "results", tmp_path / "state", "toy", RUN)


def execute(folders, work, **options):
    return execute_run(work, folders, run_id=RUN, job={"run": RUN}, **{"rounds": False, **options})


def status(folders):
    return run_status(folders.published.parents[2], folders.state.parent, "toy", RUN)


def test_results_and_manifest_are_published(folders):
    assert execute(folders, lambda _context: result())
    assert pd.read_parquet(folders.published / "metrics.parquet")["value"].tolist() == [1.0]
    manifest = json.loads((folders.published / "manifest.json").read_text())
    assert manifest["run"] == RUN
    assert manifest["files"] == ["metrics", "predictions"]
    assert manifest["wall_seconds"] >= 0
    assert manifest["peak_memory_mb"] > 10
    assert {"argv", "code", "packages", "machine"} <= set(manifest)
    assert status(folders).state == "done"


def test_finished_results_are_reused_when_the_published_folder_is_gone(folders):
    execute(folders, lambda _context: result())
    before = (folders.published / "metrics.parquet").read_bytes()
    for path in folders.published.iterdir():
        path.unlink()
    assert not execute(folders, lambda _context: pytest.fail("computed again"))
    assert (folders.published / "metrics.parquet").read_bytes() == before


def test_equal_results_are_equal_bytes(tmp_path):
    written = []
    for name in ("a", "b"):
        folders = run_folders(tmp_path / name, tmp_path / name / "state", "toy", RUN)
        execute(folders, lambda _context: result())
        written.append((folders.published / "metrics.parquet").read_bytes())
    assert written[0] == written[1]


def test_a_run_continues_from_its_checkpoint(folders):
    def first(context):
        context.checkpoints.save(3, {"x": np.arange(3)}, {"note": "kept"})
        raise RuntimeError("power cut")

    def second(context):
        checkpoint = context.checkpoints.latest()
        assert checkpoint.step == 3
        assert checkpoint.metadata == {"note": "kept"}
        return result()

    with pytest.raises(RuntimeError):
        execute(folders, first)
    assert status(folders).failure == "error"
    execute(folders, second)
    assert not folders.failure.exists()
    assert not list(folders.checkpoints.iterdir())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("x"), "error"),
        (MemoryError(), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (DataError("x"), "data"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_failure_is_recorded_with_its_kind(folders, error, kind):
    def work(_context):
        raise error

    with pytest.raises(type(error)):
        execute(folders, work, attempt=2)
    record = json.loads(folders.failure.read_text())
    assert record["kind"] == kind
    assert record["attempt"] == 2
    assert record["traceback"]
    assert not folders.published.exists()
    shown = status(folders)
    assert (shown.state, shown.failure) == ("failed", kind)
    assert any(kind in line for line in shown.log_lines(50))


def test_a_fault_found_before_the_run_starts_is_recorded_until_the_run_is_done(folders):
    with pytest.raises(DataError), failures_recorded(folders, RUN, 3):
        raise DataError("the id does not fit")
    record = json.loads(folders.failure.read_text())
    assert (record["kind"], record["message"], record["attempt"]) == ("data", "the id does not fit", 3)
    shown = status(folders)
    assert (shown.state, shown.failure) == ("failed", "data")
    assert any("the id does not fit" in line for line in shown.log_lines(50))
    with failures_recorded(folders, RUN, 4):
        execute(folders, lambda _context: result())
    assert status(folders).state == "done"
    assert not folders.failure.exists()


def test_nothing_is_written_where_nothing_fails(folders):
    with failures_recorded(folders, RUN, 1):
        pass
    assert not folders.state.exists()


def test_a_full_disk_while_finishing_publishes_nothing_and_keeps_the_checkpoint(folders, monkeypatch):
    def work(context):
        context.checkpoints.save(1, {"x": np.zeros(2)}, {})
        return result()

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_parquet", full)
        with pytest.raises(OSError, match="No space left"):
            execute(folders, work)
    assert json.loads(folders.failure.read_text())["kind"] == "disk_full"
    assert not folders.published.exists()
    assert len(list(folders.checkpoints.iterdir())) == 1
    assert execute(folders, work)


def test_metrics_that_are_not_finite_are_not_published(folders):
    with pytest.raises(NumericalError, match="not finite"):
        execute(folders, lambda _context: result(float("nan")))
    assert not folders.published.exists()


def test_missing_rounds_are_a_fault(folders):
    with pytest.raises(DataError, match="rounds"):
        execute(folders, lambda _context: result(), rounds=True)


def test_a_second_process_is_refused_and_the_first_loses_nothing(folders):
    def work(_context):
        with pytest.raises(RunInUseError, match="another process"):
            execute(folders, lambda _inner: pytest.fail("computed twice"))
        assert status(folders).state == "running"
        return result()

    assert execute(folders, work)
    assert status(folders).state == "done"


SLOW = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import numpy as np, pandas as pd
    from bayesgrid.store.execution import Preempted, RunResult, execute_run
    from bayesgrid.store.layout import run_folders
    root = Path(sys.argv[1])
    folders = run_folders(root / "results", root / "state", "toy", "toy-0123456789abcdef")
    def work(context):
        done = context.checkpoints.latest()
        first = done.step + 1 if done else 0
        total = float(done.arrays["total"]) if done else 0.0
        for step in range(first, 40):
            total += np.sin(step)
            context.checkpoints.save(step, {"total": np.float64(total)}, {})
            (root / "progress").write_text(str(step))
            context.raise_if_stopping()
            time.sleep(0.05)
        (root / f"computed-{first}").touch()
        metrics = pd.DataFrame({"seed": [0], "split": ["test"], "metric": ["total"], "value": [total]})
        return RunResult(metrics, metrics)
    wait = float(sys.argv[2])
    try:
        execute_run(work, folders, run_id="toy-0123456789abcdef", job={}, rounds=False, wait_seconds=wait)
    except Preempted:
        sys.exit(85)
    """
)


def start(tmp_path, wait=0.0):
    return subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path), str(wait)])


def wait_for_progress(tmp_path, step=2):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (tmp_path / "progress").exists() and int((tmp_path / "progress").read_text() or 0) >= step:
            return
        time.sleep(0.02)
    pytest.fail("the run did not get going")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_continues_to_the_same_numbers(tmp_path, number):
    process = start(tmp_path)
    wait_for_progress(tmp_path)
    process.send_signal(number)
    status_code = process.wait(timeout=60)
    assert status_code == (85 if number == signal.SIGTERM else -signal.SIGKILL)
    folders = run_folders(tmp_path / "results", tmp_path / "state", "toy", RUN)
    shown = run_status(tmp_path / "results", tmp_path / "state", "toy", RUN)
    assert shown.failure == ("preempted" if number == signal.SIGTERM else None)
    assert shown.state == ("failed" if number == signal.SIGTERM else "interrupted")
    if number == signal.SIGKILL:
        assert f"process {process.pid} " in shown.message
        assert "the next run goes on from its checkpoint" in shown.message
    assert start(tmp_path).wait(timeout=60) == 0
    assert not folders.attempt.exists()
    assert not (tmp_path / "computed-0").exists()
    expected = float(np.cumsum(np.sin(np.arange(40.0)))[-1])
    value = pd.read_parquet(folders.published / "metrics.parquet")["value"].item()
    assert value == pytest.approx(expected, abs=1e-12)


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    return process.pid


@pytest.mark.parametrize(
    ("pid", "host", "state"),
    [("ended", platform.node(), "interrupted"), ("own", platform.node(), "running"), ("ended", "another", "running")],
)
def test_a_held_lock_is_believed_unless_its_process_on_this_machine_is_gone(folders, pid, host, state):
    folders.state.mkdir(parents=True)
    folders.attempt.write_text(json.dumps({"pid": os.getpid() if pid == "own" else ended_process(), "host": host}))
    # As when a process that the killed one started lives on with the lock that it inherited.
    with FileLock(folders.lock):
        shown = status(folders)
    assert shown.state == state
    if state == "interrupted":
        assert str(folders.lock) in shown.message
        assert "from the start" in shown.message


def test_a_kill_after_an_earlier_failure_is_shown_and_a_failure_after_a_kill_too(folders):
    with pytest.raises(DataError):
        execute(folders, lambda _context: (_ for _ in ()).throw(DataError("a fault")))
    assert status(folders).state == "failed"
    folders.attempt.write_text(json.dumps({"pid": ended_process(), "host": platform.node()}))
    later = folders.failure.stat().st_mtime_ns + 1_000_000_000
    os.utime(folders.attempt, ns=(later, later))
    assert status(folders).state == "interrupted"
    os.utime(folders.failure, ns=(later + 1_000_000_000,) * 2)
    assert status(folders).state == "failed"


def test_a_damaged_record_of_an_attempt_says_nothing(folders):
    folders.state.mkdir(parents=True)
    folders.attempt.write_text("{")
    assert status(folders).state == "pending"


def test_a_process_that_waits_reuses_what_the_first_computed(tmp_path):
    first = start(tmp_path)
    wait_for_progress(tmp_path)
    assert start(tmp_path, wait=60).wait(timeout=90) == 0
    assert first.wait(timeout=60) == 0
    assert [path.name for path in tmp_path.glob("computed-*")] == ["computed-0"]


def test_preempted_asks_to_be_started_again(folders):
    def work(context):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        context.raise_if_stopping()

    with pytest.raises(Preempted, match="start it again"):
        execute(folders, work)
    assert status(folders).failure == "preempted"
