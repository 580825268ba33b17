"""Splits of preference pairs that keep prompts or items apart, and the subsets that evaluations are made on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.errors import ConfigurationError
from bayesgrid.random_streams import random_stream

__all__ = [
    "PairSplit",
    "label_gaps",
    "length_matched",
    "normalised_text",
    "of_systems",
    "split_by_group",
    "split_by_item",
    "split_by_pair",
    "split_by_prompt",
]

_STREAM = "preference split"
_SIDES = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class PairSplit:
    """Positions of pairs, ascending; a pair may be in none of the three.

    Args:
        train: pairs to learn from, or to acquire.
        validation: pairs to tune on.
        test: pairs to report on.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def split_by_prompt(pairs: PreferencePairs, *, validation: float, test: float, seed: int) -> PairSplit:
    """Split the prompts; all pairs of a prompt, and of prompts with equal text, go to the same side.

    Args:
        pairs: N pairs.
        validation: share of the prompts, 0 or more.
        test: share of the prompts, above 0; the rest of them is for training.
        seed: of the shuffle.

    Raises:
        ConfigurationError: if the shares leave a side that is wanted without a prompt.
    """
    used = np.unique(pairs.prompt)
    texts = [normalised_text(" ".join(m.content for m in pairs.prompts[prompt].messages)) for prompt in used.tolist()]
    of_prompt = np.zeros(len(pairs.prompts), dtype=np.int64)
    of_prompt[used] = np.unique(texts, return_inverse=True)[1]
    sides = _shuffled_sides(len(set(texts)), validation, test, seed, f"{_STREAM}: prompts", "prompts")
    return _by_side(sides[of_prompt[pairs.prompt]])


def split_by_item(pairs: PreferencePairs, *, validation: float, test: float, seed: int) -> PairSplit:
    """Split the responses, as the items of a game; pairs of two items of different sides are left out.

    A side with a share s of the items has about s² of the pairs, and a model has seen neither item of a test pair.

    Raises:
        ConfigurationError: if the shares leave a side that is wanted with fewer than two items.
    """
    used, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
    sides = _shuffled_sides(used.size, validation, test, seed, f"{_STREAM}: items", "items", least=2)[places]
    first, second = sides[: pairs.count], sides[pairs.count :]
    return _by_side(np.where(first == second, first, -1))


def split_by_pair(pairs: PreferencePairs, *, validation: float, test: float, seed: int) -> PairSplit:
    """Split the unordered pairs of responses; a model has seen both items of a test pair, but not together.

    Pairs of the same two texts in one prompt are one pair here, whatever they are compared by.

    Raises:
        ConfigurationError: if the shares leave a side that is wanted without a pair.
    """
    places = _unordered_pairs(pairs)
    sides = _shuffled_sides(int(places.max()) + 1, validation, test, seed, f"{_STREAM}: pairs", "pairs")
    return _by_side(sides[places])


def split_by_group(pairs: PreferencePairs, *, validation: float, test: float, seed: int) -> PairSplit:
    """Split the groups of pairs, as the triples of cycles; all pairs of a group go to the same side.

    A pair for training whose two texts are also compared in a group of another side is left out, so that groups to
    tune and report on are whole and new.

    Raises:
        ConfigurationError: if the set has no groups, or the shares leave a side that is wanted without one.
    """
    if pairs.groups is None:
        raise ConfigurationError(
            "the pairs are in no groups", where=pairs.name, given="group", allowed="prompt, item, pair"
        )
    names, of_pair = np.unique(pairs.groups, return_inverse=True)
    side = _shuffled_sides(names.size, validation, test, seed, f"{_STREAM}: groups", "groups")[of_pair]
    places = _unordered_pairs(pairs)
    return _by_side(np.where((side == 0) & np.isin(places, places[side > 0]), -1, side))


def length_matched(pairs: PreferencePairs, tolerance: float = 0.1) -> NDArray[np.bool_]:
    """Return which pairs have responses of about equal length ``[N]``: ``|log(characters ratio)| <= tolerance``."""
    length = np.log([len(response.text) for response in pairs.responses])
    matched: NDArray[np.bool_] = np.abs(length[pairs.first] - length[pairs.second]) <= tolerance
    return matched


def label_gaps(pairs: PreferencePairs) -> NDArray[np.float64]:
    """Return how far each label is from a tie ``[N]``, ``|logit(probability)|``; NaN without a label."""
    gaps: NDArray[np.float64] = np.abs(logit(pairs.probability))
    return gaps


def of_systems(pairs: PreferencePairs, systems: Collection[str]) -> NDArray[np.bool_]:
    """Return which pairs have both responses from ``systems`` ``[N]``.

    Raises:
        ConfigurationError: if one of ``systems`` wrote no response.
    """
    known = {response.system for response in pairs.responses}
    for system in systems:
        if system not in known:
            raise ConfigurationError(
                "no response is from this system",
                where=pairs.name,
                given=system,
                allowed=", ".join(sorted(name for name in known if name is not None)) or "(no systems are named)",
            )
    kept = np.array([response.system in systems for response in pairs.responses], dtype=np.bool_)
    both: NDArray[np.bool_] = kept[pairs.first] & kept[pairs.second]
    return both


def normalised_text(text: str) -> str:
    """Return ``text`` without differences of case and white space."""
    return " ".join(text.casefold().split())


def _unordered_pairs(pairs: PreferencePairs) -> NDArray[np.int64]:
    """Return the number, from 0, of the two texts that each pair compares ``[N]``."""
    known: dict[tuple[int, str], int] = {}
    text = np.array([known.setdefault((one.prompt, one.text), row) for row, one in enumerate(pairs.responses)])
    ends = np.sort(np.stack([text[pairs.first], text[pairs.second]], axis=1), axis=1)
    return np.unique(ends, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def _shuffled_sides(
    count: int, validation: float, test: float, seed: int, stream: str, what: str, least: int = 1
) -> NDArray[np.int64]:
    """Return the side of each of ``count`` things, an index into train, validation and test."""
    sizes = [0, round(validation * count), round(test * count)]
    sizes[0] = count - sizes[1] - sizes[2]
    wanted: Sequence[bool] = (True, validation > 0, True)
    for side, size, needed in zip(_SIDES, sizes, wanted, strict=True):
        if needed and size < least:
            raise ConfigurationError(
                f"the split leaves {side} with too few {what}",
                given=f"{size} of {count}, with shares validation {validation:g} and test {test:g}",
                allowed=f"{least} or more",
            )
    sides = np.repeat(np.arange(3), sizes)
    return sides[random_stream(seed, stream).permutation(count)]


def _by_side(side: NDArray[np.int64]) -> PairSplit:
    return PairSplit(*(np.flatnonzero(side == number) for number in range(3)))
