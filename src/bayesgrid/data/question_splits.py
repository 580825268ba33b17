"""Splits of question sets that are published as one: whole groups, in fixed shares of every stratum."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from bayesgrid.random_streams import random_stream

__all__ = ["split_groups"]


def split_groups(
    groups: Sequence[str], strata: Sequence[str], shares: Mapping[str, float], *, seed: int, name: str
) -> list[str]:
    """Return the split of each of n questions, so that no group stands in two splits.

    The groups of a stratum are shuffled, and go one after the other to the split that is furthest below its share of
    the questions dealt so far. A group belongs to the stratum of its first question.

    Args:
        groups: n groups.
        strata: n strata.
        shares: split -> its share; they sum to 1.
        seed: of the shuffle.
        name: of the shuffle's random stream.
    """
    members: dict[str, list[int]] = defaultdict(list)
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for index, (group, stratum) in enumerate(zip(groups, strata, strict=True)):
        if group not in members:
            by_stratum[stratum].append(group)
        members[group].append(index)
    assigned = [""] * len(groups)
    for number, stratum in enumerate(sorted(by_stratum)):
        dealt = dict.fromkeys(shares, 0)
        ordered = sorted(by_stratum[stratum])
        for place in random_stream(seed, name, number).permutation(len(ordered)):
            group = ordered[place]
            total = sum(dealt.values()) + len(members[group])
            split = max(shares, key=lambda one: shares[one] * total - dealt[one])
            dealt[split] += len(members[group])
            for index in members[group]:
                assigned[index] = split
    return assigned
