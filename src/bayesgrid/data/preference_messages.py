"""Pairs in the common formats of reward-model training and evaluation: lists of messages, and plain instructions.

``message_pairs`` has ``chosen`` and ``rejected``, each a list of ``{role, content}`` whose last is the response, and
perhaps ``margin``, ``id``, and ``source`` or ``subset``; the cleaned Skywork preferences are in it.
``instruction_pairs`` has ``instruction``, ``chosen`` and ``reject``, texts or objects with ``response``.
``reward_bench`` and ``reward_bench_2`` have the columns of RewardBench (Lambert et al. 2025; Malik et al. 2025) on the
hub.
"""

from collections.abc import Mapping
from pathlib import Path

from bayesgrid.data.preference_files import Row, read_rows
from bayesgrid.data.preference_rows import FIRST, LoadedPairs, PairCollector, Place, RowFault
from bayesgrid.data.preference_texts import Message
from bayesgrid.errors import DataError

__all__ = ["load_instruction_pairs", "load_message_pairs", "load_reward_bench", "load_reward_bench_2"]

_ROLES = ("system", "user", "assistant")


def load_message_pairs(files: Mapping[str, Path]) -> LoadedPairs:
    """Pairs of conversations that differ in the last turn, which is the assistant's; the rest is the prompt.

    Raises:
        DataError: if a margin is no number.
    """
    collector = PairCollector()
    for role, path in files.items():
        for number, row in read_rows(path, ("chosen", "rejected")):
            place = Place(path, number, prompt="chosen")
            fault = _message_fault(row, place)
            if fault is not None:
                collector.leave_out(fault)
                continue
            chosen, rejected = (row[column] for column in (place.first, place.second))
            collector.add(
                place,
                _id(row, role, number),
                tuple(Message(one["role"], one["content"]) for one in chosen[:-1]),
                (chosen[-1]["content"], rejected[-1]["content"]),
                FIRST,
                subset=_text(row.get("subset", row.get("source"))),
                margin=_margin(row, number, path),
            )
    return collector.loaded()


def load_instruction_pairs(files: Mapping[str, Path]) -> LoadedPairs:
    """Pairs of answers to an instruction; ``chosen`` and ``reject`` are texts, or have theirs under ``response``.

    Raises:
        DataError: if a column is missing, or a margin is no number.
    """
    collector = PairCollector()
    for role, path in files.items():
        for number, row in read_rows(path, ("instruction",)):
            place = Place(path, number, "instruction", "chosen", "reject")
            asked = row[place.prompt]
            collector.add(
                place,
                _id(row, role, number),
                (Message("user", asked),) if isinstance(asked, str) else (),
                (_response(row, place.first, number, path), _response(row, place.second, number, path)),
                FIRST,
                subset=_text(row.get("subset", row.get("source"))),
                margin=_margin(row, number, path),
            )
    return collector.loaded()


def load_reward_bench(files: Mapping[str, Path]) -> LoadedPairs:
    """RewardBench: one chosen and one rejected answer to a prompt, and who wrote each."""
    columns = ("prompt", "chosen", "chosen_model", "rejected", "rejected_model", "subset", "id")
    collector = PairCollector()
    for path in files.values():
        for number, row in read_rows(path, columns):
            collector.add(
                Place(path, number),
                f"{row['subset']}-{row['id']}",
                (Message("user", row["prompt"]),),
                (row["chosen"], row["rejected"]),
                FIRST,
                systems=(_text(row["chosen_model"]), _text(row["rejected_model"])),
                subset=row["subset"],
            )
    return collector.loaded()


def load_reward_bench_2(files: Mapping[str, Path]) -> LoadedPairs:
    """RewardBench 2: every chosen answer to a prompt with every rejected one.

    Its own scores are of whole prompts; the responses of a pair's prompt give them back.

    Raises:
        DataError: if ``chosen`` or ``rejected`` is no list.
    """
    collector = PairCollector()
    for path in files.values():
        for number, row in read_rows(path, ("id", "prompt", "chosen", "rejected", "subset")):
            chosen, rejected = row["chosen"], row["rejected"]
            for column in ("chosen", "rejected"):
                if not isinstance(row[column], list):
                    raise DataError(
                        f"row {number}, column {column!r}: no list", where=str(path), given=type(row[column]).__name__
                    )
            for one, good in enumerate(chosen):
                for other, bad in enumerate(rejected):
                    identity = f"{row['subset']}-{row['id']}-{one}-{other}"
                    asked = (Message("user", row["prompt"]),)
                    collector.add(Place(path, number), identity, asked, (good, bad), FIRST, subset=row["subset"])
    return collector.loaded()


def _message_fault(row: Row, place: Place) -> RowFault | None:
    for column in (place.first, place.second):
        turns = row[column]
        if not isinstance(turns, list) or not turns:
            return place.fault("not_text", column, turns, "a list of {role, content}")
        for turn in turns:
            known = isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("content"), str)
            if not known:
                return place.fault("not_text", column, turn, f"{{role: {' | '.join(_ROLES)}, content: text}}")
        if turns[-1]["role"] != "assistant":
            return place.fault("no_label", column, turns[-1]["role"], "a last turn of the assistant")
    chosen, rejected = (
        [(turn["role"], turn["content"]) for turn in row[column][:-1]] for column in (place.first, place.second)
    )
    if chosen != rejected:
        return place.fault("different_context", place.second, rejected[-1:], f"the turns of {place.first!r}")
    return None


def _response(row: Row, column: str, number: int, path: Path) -> object:
    value = row.get(column, row.get(f"{column}.response"))
    if value is None:
        raise DataError(
            f"row {number} has no column {column!r}",
            where=str(path),
            given=", ".join(row),
            allowed=f"{column}, or {column}.response",
        )
    return value.get("response") if isinstance(value, dict) else value


def _margin(row: Row, number: int, path: Path) -> float | None:
    margin = row.get("margin")
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, (int, float)):
        raise DataError(
            f"row {number}, column 'margin': not a number", where=str(path), given=repr(margin), allowed="a number"
        )
    return float(margin)


def _id(row: Row, role: str, number: int) -> str:
    return f"{role}-{number}" if row.get("id") is None else str(row["id"])


def _text(value: object) -> str | None:
    return None if value is None else str(value)
