"""Atomic writes: the old content or the new, never a part."""

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from bayesgrid.store.atomic import atomic_write, write_json, write_text


def test_content_and_parents_are_written(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"z": 1, "a": "ü"})
    assert (tmp_path / "a" / "b.json").read_text(encoding="utf-8") == '{\n  "a": "ü",\n  "z": 1\n}\n'


def test_a_failing_writer_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_refused_before_anything_is_replaced(tmp_path):
    write_json(tmp_path / "x.json", {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"x": float("nan")})
    assert (tmp_path / "x.json").read_text() == '{\n  "x": 1\n}\n'


def test_a_file_that_outgrows_the_disk_leaves_the_old_one(tmp_path):
    # RLIMIT_FSIZE makes the kernel refuse the write inside the writer, as a full disk does.
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from bayesgrid.store.atomic import atomic_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with atomic_write(Path(sys.argv[1])) as t: t.write_bytes(b'x' * 5000)\n"
        "except OSError as e: sys.exit(e.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from bayesgrid.store.atomic import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as t:\n"
        "    t.write_text('new'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_files_are_readable_by_others_as_the_umask_says(tmp_path):
    previous = os.umask(0o022)
    try:
        write_text(tmp_path / "x", "x")
    finally:
        os.umask(previous)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644
