"""One thread and no denormal numbers: what the bits of a fit depend on besides its inputs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, denormal numbers flushed to zero, while the context lasts."""
    # Matrix products split over threads add up in another order, and another machine has another number of threads.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # Weight decay drives the weights of dead units below 1e-38, where a processor computes far more slowly.
    torch.set_flush_denormal(True)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
