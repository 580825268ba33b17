"""Cycles of preferences that people's grades contain once each comparison is made by another criterion.

The recipe is that of the cyclic sets of Zhang et al., Beyond Bradley-Terry Models for Preference Optimization, 2024,
appendix E: three replies A, B, C to one prompt make a cycle if A is graded higher than B by a first criterion, B higher
than C by a second, and C higher than A by a third. One criterion alone orders its replies, so that a cycle always takes
two or more. What makes the cycle, the criterion, is not told in :func:`load_usr_cycles`; it is in
:func:`load_usr_cycles_with_criterion`, where scores explain every pair.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.preference_graded import UsrScores, read_usr_scores
from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.data.preference_rows import LoadedPairs
from bayesgrid.data.preference_texts import Prompt, Response, prompt_id
from bayesgrid.errors import DataError

__all__ = ["GradedCycle", "find_cycle", "load_usr_cycles", "load_usr_cycles_with_criterion"]

_Item: TypeAlias = tuple[int, int, int]
"""Context, system, and the criterion that it is compared by; 0 where that is not told."""


@dataclass(frozen=True)
class GradedCycle:
    """Three systems in a circle: each of ``order`` is preferred to the next, by its place in ``criteria``.

    Args:
        order: positions of the systems.
        criteria: positions of the criteria.
        margins: by how much the better grade is higher.
    """

    order: tuple[int, int, int]
    criteria: tuple[int, int, int]
    margins: tuple[float, float, float]

    def edges(self) -> Iterator[tuple[int, int, int, float]]:
        """Yield (preferred system, other system, criterion, margin) of the three comparisons."""
        for place in range(3):
            yield self.order[place], self.order[(place + 1) % 3], self.criteria[place], self.margins[place]


def find_cycle(scores: NDArray[np.floating], systems: tuple[int, int, int]) -> GradedCycle | None:
    """Return the clearest cycle of three ``systems``, or None if no choice of criteria makes one.

    Every comparison is made by the criterion of the widest margin, the first of several; of the two orientations that
    one is taken whose narrowest margin is wider, the ascending one if they are alike.

    Args:
        scores: grades ``[S, K]`` of the systems by criteria.
        systems: three positions, ascending.
    """
    found = [_oriented(scores, order) for order in (systems, (systems[0], systems[2], systems[1]))]
    cycles = [cycle for cycle in found if cycle is not None]
    return max(cycles, key=lambda cycle: min(cycle.margins), default=None)


def load_usr_cycles(files: Mapping[str, Path]) -> LoadedPairs:
    """Return the comparisons of all cycles in the grades of USR, the preferred reply first.

    The subset is the criterion and the group is the triple of systems. A pair of replies that is in several triples is
    there several times, and by two criteria it may have both labels.
    """
    return LoadedPairs(_pairs(_scores(files), told=False))


def load_usr_cycles_with_criterion(files: Mapping[str, Path]) -> LoadedPairs:
    """Return the pairs of :func:`load_usr_cycles` with their criteria as numbers of the responses, 1 for it and else 0.

    A reply that is compared by two criteria is two responses, so that a score per response can follow each criterion.
    """
    return LoadedPairs(_pairs(_scores(files), told=True))


def _scores(files: Mapping[str, Path]) -> UsrScores:
    if len(files) != 1:
        raise DataError("cycles are found in one file of grades", given=", ".join(files), allowed="one file")
    return read_usr_scores(next(iter(files.values())))


def _oriented(scores: NDArray[np.floating], order: tuple[int, int, int]) -> GradedCycle | None:
    ahead = [scores[order[place]] - scores[order[(place + 1) % 3]] for place in range(3)]
    one, two, three = (int(margin.argmax()) for margin in ahead)
    margins = (float(ahead[0][one]), float(ahead[1][two]), float(ahead[2][three]))
    return GradedCycle(order, (one, two, three), margins) if min(margins) > 0 else None


@dataclass(frozen=True)
class _Edge:
    better: _Item
    worse: _Item
    criterion: int
    margin: float
    group: str
    identity: str


def _pairs(graded: UsrScores, *, told: bool) -> PreferencePairs:
    edges = list(_edges(graded, told=told))
    items = sorted({item for edge in edges for item in (edge.better, edge.worse)})
    place = {item: number for number, item in enumerate(items)}
    contexts = sorted({context for context, _, _ in items})
    prompt = {context: number for number, context in enumerate(contexts)}
    prompts = tuple(Prompt(prompt_id(graded.contexts[one]), graded.contexts[one]) for one in contexts)
    return PreferencePairs(
        "",
        "",
        prompts,
        tuple(
            Response(
                f"{prompts[prompt[context]].prompt_id}-{system}" + (f"-{graded.criteria[criterion]}" if told else ""),
                prompt[context],
                graded.outputs[context][system],
                graded.systems[system],
            )
            for context, system, criterion in items
        ),
        first=np.array([place[edge.better] for edge in edges], dtype=np.int64),
        second=np.array([place[edge.worse] for edge in edges], dtype=np.int64),
        prompt=np.array([prompt[edge.better[0]] for edge in edges], dtype=np.int64),
        votes=np.zeros((len(edges), 3), dtype=np.float32),
        probability=np.ones(len(edges)),
        pair_ids=tuple(edge.identity for edge in edges),
        subsets=tuple(graded.criteria[edge.criterion] for edge in edges),
        item_features=np.eye(len(graded.criteria), dtype=np.float32)[[item[2] for item in items]] if told else None,
        margins=np.array([edge.margin for edge in edges], dtype=np.float32),
        groups=tuple(edge.group for edge in edges),
    )


def _edges(graded: UsrScores, *, told: bool) -> Iterator[_Edge]:
    for context, scores in enumerate(graded.scores):
        for one, two, three in combinations(range(len(graded.systems)), 3):
            cycle = find_cycle(scores, (one, two, three))
            if cycle is None:
                continue
            group = f"{context}-{one}.{two}.{three}"
            for better, worse, criterion, margin in cycle.edges():
                asked = criterion if told else 0
                identity = f"{group}-{better}.{worse}"
                yield _Edge((context, better, asked), (context, worse, asked), criterion, margin, group, identity)
