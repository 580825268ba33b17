"""What answering costs: seconds of every batch, and memory above the level before."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from bayesgrid.store.process_memory import MemoryGrowth, resident_growth
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.prediction import Progress

__all__ = ["BatchClock", "memory_above_level", "prediction_costs"]


class BatchClock:
    """Times the batches of one pass over questions, between the reports of its progress.

    Args:
        report: called with questions done and questions in all, outside the time that is measured.
    """

    def __init__(self, report: Progress) -> None:
        self.questions: list[int] = []
        self.seconds: list[float] = []
        self._report = report
        self._since = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        """Take the time of the batch that has just ended."""
        self.seconds.append(time.perf_counter() - self._since)
        self.questions.append(done - sum(self.questions))
        self._report(done, total)
        self._since = time.perf_counter()


def prediction_costs(clock: BatchClock, task: AnswerTask, *, warm_up: int) -> dict[str, float]:
    """Return what one pass over ``task`` has cost, for all draws together.

    ``seconds_per_example`` is the mean. ``seconds_per_example_p50`` and ``_p95`` are quantiles over questions, each
    with its share of its batch's time; the first batch, whose time holds the loading of the draws and the common
    beginning of the prompts, is left out where there are others. ``tokens_per_second`` counts the tokens of a prompt
    once.

    Args:
        clock: of the pass.
        task: its questions.
        warm_up: batches that were answered before it, in the same way.
    """
    seconds = float(sum(clock.seconds))
    left_out = 1 if len(clock.seconds) > 1 else 0
    counts, times = np.array(clock.questions[left_out:]), np.array(clock.seconds[left_out:])
    latencies = np.repeat(times / counts, counts)
    return {
        "seconds_per_example": seconds / len(task),
        "seconds_per_example_p50": float(np.quantile(latencies, 0.5)),
        "seconds_per_example_p95": float(np.quantile(latencies, 0.95)),
        "tokens_per_second": _tokens(task.prompts) / seconds,
        "warm_up_batches": float(warm_up + left_out),
    }


def _tokens(prompts: Sequence[np.ndarray]) -> int:
    return sum(len(prompt) for prompt in prompts)


@contextmanager
def memory_above_level(device: torch.device) -> Iterator[MemoryGrowth]:
    """Measure by how much the block's memory exceeds the level before it: that of the GPU, or of the process."""
    if device.type != "cuda":
        with resident_growth() as growth:
            yield growth
        return
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    growth = MemoryGrowth()
    yield growth
    torch.cuda.synchronize(device)
    growth.megabytes = (torch.cuda.max_memory_allocated(device) - before) / 1024**2
