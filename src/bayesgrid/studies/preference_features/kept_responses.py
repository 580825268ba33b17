"""Which responses of a data set have features, and a digest of the texts that these were computed from."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.errors import DataError, did_you_mean

__all__ = ["kept_responses", "texts_digest"]


def kept_responses(pairs: PreferencePairs, systems: Sequence[str] | None) -> NDArray[np.int64]:
    """Return the positions of the responses that one of ``systems`` wrote, or of all where that is None, ascending.

    Raises:
        DataError: if one of them wrote none.
    """
    if systems is None:
        return np.arange(len(pairs.responses), dtype=np.int64)
    writers = sorted({response.system for response in pairs.responses if response.system is not None})
    unknown = next((system for system in systems if system not in writers), None)
    if unknown is not None:
        raise DataError(
            "key 'systems': nothing in the data set was written by this system",
            where=f"data set {pairs.name!r}",
            given=unknown,
            allowed=", ".join(writers) or "(its source does not say who wrote what)",
            remedy=did_you_mean(unknown, writers),
        )
    wanted = set(systems)
    kept = [position for position, response in enumerate(pairs.responses) if response.system in wanted]
    return np.array(kept, dtype=np.int64)


def texts_digest(pairs: PreferencePairs, systems: Sequence[str] | None = None) -> str:
    """Return a SHA-256 over all prompts and the responses of ``systems``, in their order; 64 hexadecimal digits.

    Pairs, labels, ids and the names of the systems have no part in it.

    Raises:
        DataError: if one of the systems wrote no response.
    """
    digest = hashlib.sha256()
    for prompt in pairs.prompts:
        _add(digest, ["prompt", *([turn.role, turn.content] for turn in prompt.messages)])
    for position in kept_responses(pairs, systems).tolist():
        response = pairs.responses[position]
        _add(digest, ["response", position, response.prompt, response.text])
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", content: list[object]) -> None:
    digest.update(json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode())
