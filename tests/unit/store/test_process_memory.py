import sys

import numpy as np
import pytest

from bayesgrid.store import process_memory
from bayesgrid.store.manifest import peak_memory_mb
from bayesgrid.store.process_memory import resident_growth


def _touch(megabytes, seconds=0.0):
    import time

    held = np.ones(megabytes * 1024**2 // 8)
    time.sleep(seconds)
    return held.sum()


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of Linux")
def test_growth_is_that_of_the_block_and_not_of_what_came_before():
    _touch(400)
    with resident_growth() as first:
        _touch(100)
    with resident_growth() as second:
        _touch(200)
    assert first.megabytes == pytest.approx(100, abs=20)
    assert second.megabytes == pytest.approx(200, abs=20)


def test_peak_of_the_process_outlives_a_measurement():
    _touch(300)
    before = peak_memory_mb()
    with resident_growth():
        _touch(10)
    assert peak_memory_mb() >= before


def test_without_a_mark_to_set_back_memory_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.setattr(process_memory, "_CLEAR_REFS", tmp_path / "absent" / "clear_refs")
    with resident_growth() as growth:
        _touch(150, seconds=0.1)
    assert growth.megabytes == pytest.approx(150, abs=30)
