"""What must hold of every set of preference pairs, whatever it was read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayesgrid.errors import DataError

if TYPE_CHECKING:
    from bayesgrid.data.preference_pairs import PreferencePairs

__all__ = ["require_sound_pairs"]

_ROUNDING = 1e-6
"""Votes are kept in single precision."""


def require_sound_pairs(pairs: PreferencePairs) -> None:
    """Check that the parts of ``pairs`` fit together.

    Raises:
        DataError: if lengths or positions do not fit, ids repeat, a response is empty, the two responses of a pair are
            equal or answer different prompts, or a label is outside its scale or not that of the votes.
    """
    _require_shapes(pairs)
    for what, ids in (
        ("prompts", [prompt.prompt_id for prompt in pairs.prompts]),
        ("responses", [response.response_id for response in pairs.responses]),
        ("pairs", pairs.pair_ids),
    ):
        _require_unique(pairs, what, ids)
    _require_text(pairs)
    _require_labels(pairs)


def _require_shapes(pairs: PreferencePairs) -> None:
    count, responses = len(pairs.pair_ids), len(pairs.responses)
    wanted = {
        "first": (count,),
        "second": (count,),
        "prompt": (count,),
        "votes": (count, 3),
        "probability": (count,),
        "subsets": (count,),
        "margins": (count,),
        "groups": (count,),
    }
    for name, shape in wanted.items():
        value = getattr(pairs, name)
        given = (len(value),) if isinstance(value, tuple) else np.shape(value)
        if value is not None and given != shape:
            raise DataError(f"{name!r} has another shape than the pairs", where=pairs.name, given=given, allowed=shape)
    features = pairs.item_features
    if features is not None and (features.ndim != 2 or len(features) != responses):
        raise DataError(
            "'item_features' has another shape than the responses",
            where=pairs.name,
            given=features.shape,
            allowed=f"({responses}, features)",
        )
    for name, places, limit in (
        ("first", pairs.first, responses),
        ("second", pairs.second, responses),
        ("prompt", pairs.prompt, len(pairs.prompts)),
    ):
        _refuse(pairs, (places < 0) | (places >= limit), f"{name!r} is no position", places, f"0 to {limit - 1}")


def _require_unique(pairs: PreferencePairs, what: str, ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise DataError(f"two {what} have the same id", where=pairs.name, given=one)
        seen.add(one)


def _require_text(pairs: PreferencePairs) -> None:
    for response in pairs.responses:
        if not response.text.strip():
            raise DataError("a response is empty", where=f"{pairs.name}, response {response.response_id!r}")
    of_response = np.array([response.prompt for response in pairs.responses], dtype=np.int64)
    other = (of_response[pairs.first] != pairs.prompt) | (of_response[pairs.second] != pairs.prompt)
    _refuse(pairs, other, "a response of the pair answers another prompt", pairs.prompt, "one prompt for both")
    numbers: dict[str, int] = {}
    text = np.array([numbers.setdefault(response.text.strip(), len(numbers)) for response in pairs.responses])
    if pairs.count:
        equal = text[pairs.first] == text[pairs.second]
        _refuse(pairs, equal, "the two responses of a pair are equal", pairs.first, "two different responses")


def _require_labels(pairs: PreferencePairs) -> None:
    votes, probability = pairs.votes, pairs.probability
    _refuse(pairs, np.any(~(votes >= 0), axis=1), "a number of votes is negative or none", votes, "0 or more")
    outside = (probability < 0) | (probability > 1)
    _refuse(pairs, outside, "the probability is outside its scale", probability, "0 to 1, or NaN without a label")
    total = votes.sum(axis=1, dtype=np.float64)
    voted = total > 0
    expected = np.divide(votes[:, 0] + votes[:, 2] / 2, total, out=np.zeros_like(total), where=voted)
    wrong = voted & ~(np.abs(probability - expected) <= _ROUNDING)
    _refuse(pairs, wrong, "the probability is not that of the votes", probability, "(first + tie / 2) / all votes")


def _refuse(
    pairs: PreferencePairs, faulty: NDArray[np.bool_], what: str, values: NDArray[np.generic], allowed: str
) -> None:
    if faulty.any():
        worst = int(np.argmax(faulty))
        raise DataError(
            what,
            where=f"{pairs.name}, pair {pairs.pair_ids[worst]!r}",
            given=values[worst],
            allowed=f"{allowed} ({int(faulty.sum())} such pairs)",
        )
