"""Votes in the files that people hand in, checked against the questions that were asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from bayesgrid.errors import DataError, did_you_mean
from bayesgrid.studies.preference.label_batches import CHOICES, QuestionBatch, Vote
from bayesgrid.studies.preference.vote_rows import vote_rows

__all__ = ["FoundVote", "merged_votes", "read_vote_files"]


@dataclass(frozen=True)
class FoundVote:
    """A vote, and the file and line it was read from."""

    vote: Vote
    where: str


@dataclass(frozen=True)
class _Asked:
    """The open questions, the place of each pair among them, and the round of each pair that was asked about before."""

    batch: QuestionBatch
    places: Mapping[str, int]
    closed: Mapping[str, int]


def read_vote_files(paths: Sequence[Path], batch: QuestionBatch, closed: Mapping[str, int]) -> list[FoundVote]:
    """Return the votes of all files; rows without a choice are questions that nobody answered, and are passed over.

    Columns are ``pair_id``, ``choice``, ``annotator``; ``seconds``, ``run``, ``round``, ``left`` and ``right`` may be
    there, and are checked; others, such as texts, are not read.

    Args:
        paths: files that end in ``.csv`` or ``.jsonl``.
        batch: the open questions.
        closed: round of each pair that was asked about before.

    Raises:
        DataError: for the first fault, saying how many more there are.
    """
    asked = _Asked(batch, {pair_id: place for place, pair_id in enumerate(batch.pair_ids)}, closed)
    votes: list[FoundVote] = []
    faults: list[DataError] = []
    for path in paths:
        for where, row in vote_rows(path):
            try:
                vote = _vote(row, where, asked)
            except DataError as fault:
                faults.append(fault)
                continue
            if vote is not None:
                votes.append(FoundVote(vote, where))
    _raise_first(faults)
    return votes


def merged_votes(
    known: Sequence[Vote], found: Sequence[FoundVote], *, replace: bool = False
) -> tuple[list[Vote], list[FoundVote]]:
    """Return all votes, sorted by pair and annotator, and those of ``found`` that changed something.

    A vote that is there already changes nothing, so that a file can be imported twice.

    Args:
        known: votes of earlier imports.
        found: votes of the files.
        replace: whether a vote of the files takes the place of an earlier import's by the same annotator.

    Raises:
        DataError: if an annotator answers a pair in two ways, saying where.
    """
    merged = {(vote.pair_id, vote.annotator): vote for vote in known}
    seen: dict[tuple[str, str], FoundVote] = {}
    new: list[FoundVote] = []
    faults: list[DataError] = []
    for one in found:
        key = (one.vote.pair_id, one.vote.annotator)
        if key in seen:
            if seen[key].vote.choice != one.vote.choice:
                faults.append(_conflict(one, seen[key].vote, seen[key].where, "keep one of the two lines"))
            continue
        seen[key] = one
        before = merged.get(key)
        if before is not None and before.choice != one.vote.choice and not replace:
            faults.append(_conflict(one, before, "an earlier import", "--replace takes the file's answer instead"))
        elif before is None or before.choice != one.vote.choice:
            merged[key] = one.vote
            new.append(one)
    _raise_first(faults)
    return [merged[key] for key in sorted(merged)], new


def _raise_first(faults: Sequence[DataError]) -> None:
    """Raise the first of ``faults``, if there is one, saying how many there are besides."""
    if not faults:
        return
    first, further = faults[0], len(faults) - 1
    more = f" ({further} further {'fault' if further == 1 else 'faults'})" if further else ""
    raise DataError(
        f"{first.what}{more}", where=first.where, given=first.given, allowed=first.allowed, remedy=first.remedy
    )


def _conflict(one: FoundVote, other: Vote, where: str, remedy: str) -> DataError:
    return DataError(
        f"annotator {other.annotator!r} answers pair {other.pair_id!r} in two ways",
        where=one.where,
        given=f"{one.vote.choice}, and {other.choice} in {where}",
        allowed="one answer of each annotator",
        remedy=remedy,
    )


def _vote(row: Mapping[str, Any], where: str, asked: _Asked) -> Vote | None:
    batch = asked.batch
    choice = _text(row, "choice").lower()
    _require_same(row, "run", batch.run, where, "the answers are of another run")
    _require_same(row, "round", str(batch.round_number), where, "the answers are of another round's batch")
    pair_id = _text(row, "pair_id", strip=False)
    place = asked.places.get(pair_id)
    if place is None:
        raise _unknown_pair(pair_id, where, batch, asked.closed)
    _require_same(row, "left", batch.left[place], where, "another response stood left")
    _require_same(row, "right", batch.right[place], where, "another response stood right")
    if not choice:
        return None
    if choice not in CHOICES:
        raise DataError(
            "unknown choice",
            where=where,
            given=repr(choice),
            allowed=", ".join(CHOICES) + ", or nothing for no answer",
            remedy=did_you_mean(choice, CHOICES),
        )
    annotator = _text(row, "annotator")
    if not annotator:
        raise DataError(
            "the answer has no annotator",
            where=where,
            given=f"pair {pair_id!r}, {choice}",
            allowed="a name",
            remedy="write who answered in the column 'annotator' of every answered row",
        )
    return Vote(pair_id, choice, annotator, _seconds(row, where))


def _unknown_pair(pair_id: str, where: str, batch: QuestionBatch, closed: Mapping[str, int]) -> DataError:
    if pair_id in closed:
        return DataError(
            f"the pair is of round {closed[pair_id]}, with whose labels the loop has gone on",
            where=where,
            given=repr(pair_id),
            allowed=f"pairs of round {batch.round_number}",
            remedy=f"export round {batch.round_number} with `bayesgrid label export`",
        )
    return DataError(
        "unknown pair",
        where=where,
        given=repr(pair_id),
        allowed=f"the {batch.count} pairs of round {batch.round_number} of run {batch.run}",
        remedy=did_you_mean(pair_id, batch.pair_ids) or "spreadsheets may alter ids: let them read the column as text",
    )


def _require_same(row: Mapping[str, Any], column: str, expected: str, where: str, what: str) -> None:
    given = _text(row, column, strip=False)
    if given and given != expected:
        raise DataError(
            what,
            where=where,
            given=f"{column} {given!r}",
            allowed=repr(expected),
            remedy="export the open batch with `bayesgrid label export`, and answer that",
        )


def _seconds(row: Mapping[str, Any], where: str) -> float | None:
    given = _text(row, "seconds")
    if not given:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = float("nan")
    if not isfinite(seconds) or seconds < 0:
        raise DataError(
            "'seconds' is no duration", where=where, given=repr(given), allowed="a number from 0 on, or nothing"
        )
    return seconds


def _text(row: Mapping[str, Any], column: str, *, strip: bool = True) -> str:
    value = row.get(column)
    text = "" if value is None else str(value)
    return text.strip() if strip else text
