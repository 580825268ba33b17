"""Which labels a seed has, which of them it learns, and which questions it may buy next."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora_active.spec import AcquisitionSpec

__all__ = ["held_out", "initial_labels", "pool"]


def initial_labels(seed: int, available: int, count: int) -> NDArray[np.int64]:
    """Return the questions a seed begins with, ``[count]``; fewer are the first of more.

    Args:
        seed: of the run.
        available: questions of the training split.
        count: labels of the first round.
    """
    return random_stream(seed, "initial labels").permutation(available)[:count].astype(np.int64)


def held_out(seed: int, acquisition: AcquisitionSpec, fraction: float, groups: Sequence[str]) -> NDArray[np.int64]:
    """Return the places, in the order of purchase, of the labels that are held out of training, sorted.

    ``floor(fraction * labelled)`` of them as far as groups allow, and none below ``acquisition.hold_out_from``. Those
    that a purchase adds are drawn from its own labels, so what was held out once stays so, and nothing that was learnt
    is held out later. A group (twin sentences, one passage, one image) stands on one side as a whole: a question whose
    group has been bought before joins it there, and a group that is drawn may exceed the number wanted. A group that
    would leave nothing to learn is learnt.

    Args:
        seed: of the run.
        acquisition: how many labels were bought when.
        fraction: share that is held out.
        groups: what each question bought so far shares with others, in the order of purchase; "" where it is alone.
    """
    first = acquisition.hold_out_from
    names = [f"group {group}" if group else f"question {place}" for place, group in enumerate(groups)]
    outside: list[int] = []
    side: dict[str, bool] = {}  # whether a name is held out
    for round_number, (start, end) in enumerate(_purchases(acquisition, len(groups))):
        mates: dict[str, list[int]] = {}
        for place in range(start, end):
            mates.setdefault(names[place], []).append(place)
        for name, places in mates.items():
            outside += places if side.get(name, False) else []
        # The small addition keeps 0.1 * 30 at 3.
        wanted = 0 if first is None or end < first else int(fraction * end + 1e-9)
        for place in (start + random_stream(seed, "held-out labels", round_number).permutation(end - start)).tolist():
            name = names[place]
            if name not in side:
                side[name] = len(outside) < wanted and len(outside) + len(mates[name]) < end
                outside += mates[name] if side[name] else []
    return np.sort(np.array(outside, dtype=np.int64))


def _purchases(acquisition: AcquisitionSpec, labelled: int) -> Sequence[tuple[int, int]]:
    ends = [*range(acquisition.initial, labelled + 1, acquisition.per_round)]
    return list(zip([0, *ends], ends, strict=False))


def pool(
    seed: int, acquisition: AcquisitionSpec, labelled: NDArray[np.int64], available: int, round_number: int
) -> NDArray[np.int64]:
    """Return the unlabelled questions that may be bought after a round, sorted.

    With ``subsamples: reseeded`` every round draws from the same stream, so that subsets of successive rounds share
    more questions than chance has them share.

    Args:
        seed: of the run.
        acquisition: size of the subset, and how it is drawn.
        labelled: questions that have labels.
        available: questions of the training split.
        round_number: from 0.
    """
    unlabelled = np.setdiff1d(np.arange(available, dtype=np.int64), labelled)
    if acquisition.pool is None or len(unlabelled) <= acquisition.pool:
        return unlabelled
    index = (round_number,) if acquisition.subsamples == "independent" else ()
    return np.sort(random_stream(seed, "pool", *index).choice(unlabelled, acquisition.pool, replace=False))
