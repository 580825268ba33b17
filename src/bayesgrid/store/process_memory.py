"""How much resident memory a part of this process's work takes on top of what was there."""

import ctypes
import gc
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MemoryGrowth", "highest_resident_mb", "resident_growth"]

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"
"""What Linux takes as the order to set the high-water mark to the present level (man 5 proc)."""
_SECONDS_BETWEEN_SAMPLES = 0.01


@dataclass
class _Highest:
    """The high-water mark of the process before it was last set back."""

    megabytes: float = 0.0


_highest = _Highest()


@dataclass
class MemoryGrowth:
    """Peak of resident memory above the level at the start, in MB; known when the block has ended."""

    megabytes: float = float("nan")


def highest_resident_mb() -> float:
    """Return the largest resident memory of this process so far, in MB, whether or not the mark was set back."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(_highest.megabytes, peak / (1024 * 1024 if sys.platform == "darwin" else 1024))


@contextmanager
def resident_growth() -> Iterator[MemoryGrowth]:
    """Measure the peak of the block above the level before it.

    Memory that is free but still held by the C library is given back first, so that the block cannot hide in it. Linux
    keeps a high-water mark, which is set back; elsewhere a thread looks a hundred times a second.
    """
    growth = MemoryGrowth()
    gc.collect()
    _give_back_free_memory()
    _highest.megabytes = highest_resident_mb()
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        with _sampled(growth):
            yield growth
        return
    before = _status_mb("VmRSS")
    yield growth
    growth.megabytes = max(0.0, _status_mb("VmHWM") - before)


def _give_back_free_memory() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_mb(field: str) -> float:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


@contextmanager
def _sampled(growth: MemoryGrowth) -> Iterator[None]:
    import psutil

    process = psutil.Process()
    before = process.memory_info().rss
    highest = [before]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_SECONDS_BETWEEN_SAMPLES):
            highest[0] = max(highest[0], process.memory_info().rss)

    sampler = threading.Thread(target=look, daemon=True)
    sampler.start()
    try:
        yield
    finally:
        ended.set()
        sampler.join()
    growth.megabytes = (highest[0] - before) / 1024**2
