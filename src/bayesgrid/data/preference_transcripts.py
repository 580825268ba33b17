"""Conversations as messages: transcripts with ``Human:`` and ``Assistant:``, lists of turns, and pairs made of them.

``hh_rlhf`` is Bai et al., Training a helpful and harmless assistant with RLHF, 2022; ``hhh`` is Askell et al., A
general language assistant as a laboratory for alignment, 2021, in the prompts of Kim et al., Prometheus 2, 2024.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from bayesgrid.data.preference_files import read_rows
from bayesgrid.data.preference_rows import Label, LoadedPairs, PairCollector, Place
from bayesgrid.data.preference_texts import Message
from bayesgrid.errors import DataError

__all__ = ["load_hh_rlhf", "load_hhh", "parse_transcript"]

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_WRAPPER = re.compile(
    r"###The instruction to evaluate:\n(?P<prompt>.*)\n\n"
    r"###Response to evaluate:\n(?P<response>.*)\n\n###Score Rubrics:\n",
    re.DOTALL,
)
_ONE_VOTE = Label.of_votes(1, 0)


def parse_transcript(transcript: str) -> tuple[Message, ...]:
    r"""Return the turns of a transcript, each of which starts with ``\n\nHuman:`` or ``\n\nAssistant:``.

    White space around a turn is taken off. Turns of one speaker in a row, which chat templates refuse, are joined by a
    blank line, but for the last turn, which is the response.

    Raises:
        ValueError: if the transcript does not start with a turn.
    """
    before, *parts = _TURN.split(transcript)
    if before.strip() or not parts:
        raise ValueError("a transcript starts with a turn of 'Human:' or 'Assistant:'")
    turns = [Message(_ROLES[role], text.strip()) for role, text in zip(parts[::2], parts[1::2], strict=True)]
    joined: list[Message] = []
    for turn in turns[:-1]:
        if joined and joined[-1].role == turn.role:
            joined[-1] = Message(turn.role, f"{joined[-1].content}\n\n{turn.content}")
        else:
            joined.append(turn)
    return (*joined, turns[-1])


def load_hh_rlhf(files: Mapping[str, Path]) -> LoadedPairs:
    """Pairs of transcripts that differ in the last turn; a file's role is the subset."""
    collector = PairCollector()
    for role, path in files.items():
        for number, row in read_rows(path, ("chosen", "rejected")):
            place = Place(path, number, prompt="chosen")
            try:
                chosen, rejected = parse_transcript(row["chosen"]), parse_transcript(row["rejected"])
            except (TypeError, ValueError) as error:
                collector.leave_out(place.fault("not_text", "chosen", row["chosen"], str(error)))
                continue
            if chosen[:-1] != rejected[:-1] or {chosen[-1].role, rejected[-1].role} != {"assistant"}:
                collector.leave_out(
                    place.fault(
                        "different_context",
                        "rejected",
                        f"{len(rejected)} turns",
                        f"the {len(chosen)} turns of 'chosen', all but the last the same, and that the assistant's",
                    )
                )
                continue
            responses = chosen[-1].content, rejected[-1].content
            collector.add(place, f"{role}-{number}", chosen[:-1], responses, _ONE_VOTE, subset=role)
    return collector.loaded()


def load_hhh(files: Mapping[str, Path]) -> LoadedPairs:
    """Pairs that are helpful, honest and harmless or less so, each in a prompt for a judge, which is taken off.

    Raises:
        DataError: if a row is not in such a prompt.
    """
    collector = PairCollector()
    for path in files.values():
        for number, row in read_rows(path, ("source", "chosen_instruction", "rejected_instruction")):
            place = Place(path, number, "chosen_instruction", "chosen_instruction", "rejected_instruction")
            chosen, rejected = (_unwrapped(row[column], column, place) for column in (place.first, place.second))
            if chosen[0] != rejected[0]:
                allowed = "the instruction of 'chosen_instruction'"
                collector.leave_out(place.fault("different_context", place.second, rejected[0], allowed))
                continue
            # The conversation starts with what the user says, without a name before it.
            messages = parse_transcript(f"\n\nHuman: {chosen[0]}\n\nAssistant:")[:-1]
            responses = chosen[1], rejected[1]
            collector.add(place, f"hhh-{number}", messages, responses, _ONE_VOTE, subset=row["source"])
    return collector.loaded()


def _unwrapped(text: object, column: str, place: Place) -> tuple[str, str]:
    found = _WRAPPER.search(text) if isinstance(text, str) else None
    if found is None:
        raise DataError(
            f"row {place.row}, column {column!r}: no instruction and response to evaluate",
            where=str(place.path),
            allowed="text with '###The instruction to evaluate:', '###Response to evaluate:' and '###Score Rubrics:'",
        )
    return found["prompt"], found["response"].strip()
