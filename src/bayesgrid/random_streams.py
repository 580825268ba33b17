"""Named random streams: every draw is a function of (seed, stream name, index) alone.

A study asks for the stream it needs (``random_stream(seed, "batches", round, epoch)``) instead of advancing a shared
generator, so a draw does not depend on batch size, on the order of work, or on which other seeds train beside it.
"""

import hashlib

import numpy as np

__all__ = ["random_stream"]


def random_stream(seed: int, name: str, *index: int) -> np.random.Generator:
    """Return the counter-based generator of stream ``name`` at ``index`` for ``seed``.

    The Philox key is a ``SeedSequence`` over (seed, SHA-256 of the name, index), so that streams with different names,
    seeds or indices are statistically independent.

    Raises:
        ValueError: if the seed or an index is negative.
    """
    if seed < 0 or any(i < 0 for i in index):
        raise ValueError(f"random stream {name!r}: seed and index must be non-negative, got seed={seed}, index={index}")
    digest = hashlib.sha256(name.encode()).digest()
    words = [int.from_bytes(digest[offset : offset + 4], "little") for offset in range(0, 16, 4)]
    sequence = np.random.SeedSequence(entropy=[seed, *words], spawn_key=index)
    return np.random.Generator(np.random.Philox(sequence))
