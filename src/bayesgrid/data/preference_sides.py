"""Which response of a pair is shown first: drawn from the pair's id, because sources often put the better one first."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["swapped_sides"]


def swapped_sides(pair_ids: Sequence[str], seed: int) -> NDArray[np.bool_]:
    """Return for each of N pairs whether its responses change sides, a fair coin by a hash of the seed and the id.

    The coin of a pair depends on nothing else, so that it is the same in the pool, in training and after a subset is
    taken. Pass the result to :meth:`bayesgrid.data.preference_pairs.PreferencePairs.with_sides`.
    """
    # The seed's end is marked, so that no two (seed, id) have equal bytes.
    start = hashlib.blake2b(f"{seed}|".encode(), digest_size=1, person=b"sides")
    coins = bytearray()
    for pair_id in pair_ids:
        digest = start.copy()
        digest.update(pair_id.encode())
        coins += digest.digest()
    return np.frombuffer(bytes(coins), dtype=np.uint8) >= 128
