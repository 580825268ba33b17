"""Winogrande (Sakaguchi et al. 2020): sentences with a blank and two candidates, written as twins.

All sizes of the training set share the validation and test questions. Validation questions are the sentences of the
largest training set (xl) that are not in the second largest (l), as in the reference; here also those are left out that
have a twin in it. The published validation set serves as test set.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from bayesgrid.data.choice_questions import ChoiceQuestion, Splits
from bayesgrid.data.question_files import Row, read_rows, value_of

__all__ = ["load_winogrande", "twin_groups"]

_COLUMNS = ("sentence", "option1", "option2", "answer")
_SHARED_WORDS = 0.6
"""Smallest share of the words of the shorter sentence that twins have in common at the beginning and the end. Twins
differ in one stretch of words, which decides the answer; the files keep no record of which sentences are twins."""


def load_winogrande(files: Mapping[str, Path]) -> Splits:
    """Read one size of the training set, with validation and test questions.

    Roles: ``train`` (the size wanted), ``l_train`` and ``xl_train`` (sizes l and xl) and ``test`` (the published
    validation file).
    """
    rows = {role: read_rows(files[role], _COLUMNS) for role in ("train", "l_train", "xl_train", "test")}
    every = [*rows["train"], *rows["l_train"], *rows["xl_train"], *rows["test"]]
    groups = dict(zip(map(_identity, every), twin_groups(every), strict=True))
    in_training = {groups[_identity(row)] for row in (*rows["l_train"], *rows["train"])}

    def questions(split: str, path: Path, kept: Sequence[tuple[int, Row]]) -> tuple[ChoiceQuestion, ...]:
        return tuple(
            ChoiceQuestion(
                f"{split}-{number}",
                row["sentence"],
                (row["option1"], row["option2"]),
                value_of(row, "answer", ("1", "2"), path),
                group=groups[_identity(row)],
            )
            for number, row in kept
        )

    held_out = [pair for pair in enumerate(rows["xl_train"]) if groups[_identity(pair[1])] not in in_training]
    return {
        "train": questions("train", files["train"], list(enumerate(rows["train"]))),
        "validation": questions("validation", files["xl_train"], held_out),
        "test": questions("test", files["test"], list(enumerate(rows["test"]))),
    }


def twin_groups(rows: Sequence[Row]) -> list[str]:
    """Return a group for each sentence: twins, and twins of twins, have the same one.

    Two sentences are twins if they have the same two candidates, in whatever order, and at least 60 % of the words of
    the shorter one agree, counted from the beginning and from the end.
    """
    leader = list(range(len(rows)))

    def root(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    by_candidates: dict[frozenset[str], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_candidates[frozenset((row["option1"].casefold(), row["option2"].casefold()))].append(index)
    words = [row["sentence"].casefold().split() for row in rows]
    for members in by_candidates.values():
        for place, second in enumerate(members):
            for first in members[:place]:
                if _agreement(words[first], words[second]) >= _SHARED_WORDS:
                    leader[root(second)] = root(first)
    return [f"twins-{root(index)}" for index in range(len(rows))]


def _identity(row: Row) -> tuple[str, ...]:
    return (row["sentence"], row["option1"], row["option2"])


def _agreement(first: list[str], second: list[str]) -> float:
    shorter = min(len(first), len(second))
    if not shorter:
        return float(first == second)
    start = 0
    while start < shorter and first[start] == second[start]:
        start += 1
    end = 0
    while end < shorter - start and first[-1 - end] == second[-1 - end]:
        end += 1
    return (start + end) / shorter
