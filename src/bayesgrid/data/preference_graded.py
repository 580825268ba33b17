"""Outputs that people graded on several criteria, in the files of UniEval (Zhong et al. 2022).

USR (Mehri and Eskenazi 2020) grades replies to a conversation about given facts; SFRES (Wen et al. 2015) sentences made
from a dialogue act. Each criterion is a subset, because two criteria may order the same two outputs differently: the
higher grade is preferred, and equal grades make a probability of one half. Nobody compared two outputs, so there are no
votes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.preference_files import Row, read_rows
from bayesgrid.data.preference_rows import FIRST, SECOND, Label, LoadedPairs, PairCollector, Place
from bayesgrid.data.preference_texts import Message
from bayesgrid.errors import DataError

__all__ = ["UsrScores", "load_unieval_data2text", "load_unieval_topical_chat", "read_usr_scores"]

_USR_COLUMNS = ("source", "context", "system_id", "system_output", "scores")
_TIE = Label(0.5)
_Graded: TypeAlias = tuple[Place, Row, tuple[Message, ...]]


@dataclass(frozen=True, eq=False)
class UsrScores:
    """Grades of USR.

    Args:
        contexts: C conversations, each with its facts.
        systems: S systems, in the order of the file.
        criteria: K criteria.
        outputs: the reply of each system in each context, C × S.
        scores: mean grade of the annotators ``[C, S, K]``.
    """

    contexts: tuple[tuple[Message, ...], ...]
    systems: tuple[str, ...]
    criteria: tuple[str, ...]
    outputs: tuple[tuple[str, ...], ...]
    scores: NDArray[np.float64]


def read_usr_scores(path: Path) -> UsrScores:
    """Return the grades of every system on every criterion in every context.

    Raises:
        DataError: if a row is damaged, or a context lacks a system or a criterion that another has.
    """
    by_context: dict[tuple[Message, ...], dict[str, Row]] = defaultdict(dict)
    for number, row in read_rows(path, _USR_COLUMNS):
        _grades(row, number, path)
        by_context[_conversation(row)][row["system_id"]] = row
    rows = list(by_context.values())
    systems = tuple(rows[0]) if rows else ()
    criteria = tuple(next(iter(rows[0].values()))["scores"]) if rows else ()
    for row in rows:
        if set(row) != set(systems) or any(set(one["scores"]) != set(criteria) for one in row.values()):
            raise DataError(
                "a context lacks a system or a criterion that another has",
                where=str(path),
                given=", ".join(row),
                allowed=f"{', '.join(systems)}, each with {', '.join(criteria)}",
            )
    return UsrScores(
        tuple(by_context),
        systems,
        criteria,
        tuple(tuple(row[system]["system_output"] for system in systems) for row in rows),
        np.array([[[row[system]["scores"][one] for one in criteria] for system in systems] for row in rows]),
    )


def load_unieval_topical_chat(files: Mapping[str, Path]) -> LoadedPairs:
    """Two systems' replies in the same conversation, on each criterion of USR; the facts are the turn of ``system``."""
    graded: dict[tuple[Message, ...], list[_Graded]] = defaultdict(list)
    for path in files.values():
        for number, row in read_rows(path, _USR_COLUMNS):
            messages = _conversation(row)
            graded[messages].append((_place(path, number), row, messages))
    return _pairs(graded.values())


def load_unieval_data2text(files: Mapping[str, Path]) -> LoadedPairs:
    """Two sentences made from the same dialogue act, on each criterion; the act is the prompt."""
    graded: dict[tuple[Message, ...], list[_Graded]] = defaultdict(list)
    for path in files.values():
        for number, row in read_rows(path, ("source", "system_output", "scores")):
            messages = (Message("user", row["source"]),)
            graded[messages].append((_place(path, number), row, messages))
    return _pairs(graded.values())


def _pairs(graded: Iterable[Sequence[_Graded]]) -> LoadedPairs:
    collector = PairCollector()
    for of_prompt in graded:
        for (earlier, one, messages), (place, other, _) in combinations(of_prompt, 2):
            first = _grades(one, earlier.row, earlier.path)
            second = _grades(other, place.row, place.path)
            for criterion in first:
                ahead = first[criterion] - second.get(criterion, np.nan)
                if np.isnan(ahead):
                    collector.leave_out(place.fault("no_label", place.label, sorted(second), criterion))
                    continue
                collector.add(
                    place,
                    f"{earlier.row}-{place.row}-{criterion}",
                    messages,
                    (one["system_output"], other["system_output"]),
                    FIRST if ahead > 0 else SECOND if ahead < 0 else _TIE,
                    systems=(one.get("system_id"), other.get("system_id")),
                    subset=criterion,
                )
    return collector.loaded()


def _place(path: Path, number: int) -> Place:
    return Place(path, number, "source", "system_output", "system_output", "scores")


def _conversation(row: Row) -> tuple[Message, ...]:
    """Return the facts, and the turns of two speakers in alternation, the last of them the user's."""
    lines = [line.strip() for line in str(row["source"]).split("\n") if line.strip()]
    turns = [Message("user" if (len(lines) - place) % 2 else "assistant", line) for place, line in enumerate(lines)]
    return (Message("system", str(row["context"]).strip()), *turns)


def _grades(row: Row, number: int, path: Path) -> dict[str, float]:
    scores = row["scores"]
    if not isinstance(scores, dict) or not all(
        isinstance(grade, (int, float)) and np.isfinite(grade) for grade in scores.values()
    ):
        raise DataError(
            f"row {number}, column 'scores': no grades", where=str(path), given=scores, allowed="criterion: number"
        )
    return scores
