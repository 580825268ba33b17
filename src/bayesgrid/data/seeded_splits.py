"""Splits drawn from blocks of seeds: one question per seed, a repeated one passed over."""

from collections.abc import Callable

from bayesgrid.data.choice_questions import ChoiceQuestion, Splits
from bayesgrid.errors import DataError
from bayesgrid.grid.question_sets import SeedBlocks

__all__ = ["draw_splits"]

_SEEDS_PER_QUESTION = 20
"""Seeds tried for each question wanted before a generator counts as exhausted."""


def draw_splits(parameters: SeedBlocks, draw: Callable[[str, int], ChoiceQuestion], *, generator: str) -> Splits:
    """Return the questions of every split that ``parameters`` asks for.

    Args:
        parameters: sizes, first seeds, and whether a question is drawn once only, in all splits together.
        draw: a question from (split, seed); the group says which questions are the same.
        generator: name for the error.

    Raises:
        DataError: if a split has fewer different questions than it is to have.
    """
    seen: set[str | None] = set()
    splits: Splits = {}
    for split, size, first_seed in parameters.blocks():
        drawn: list[ChoiceQuestion] = []
        for seed in range(first_seed, first_seed + _SEEDS_PER_QUESTION * size):
            question = draw(split, seed)
            if not (parameters.deduplicate and question.group in seen):
                drawn.append(question)
            seen.add(question.group)
            if len(drawn) == size:
                break
        else:
            raise DataError(
                f"the generator {generator!r} has too few different questions",
                given=f"{len(drawn)} of {size} for the split {split!r}",
                remedy="ask for fewer questions",
            )
        splits[split] = tuple(drawn)
    return splits
