"""Preference pairs gathered row after row: equal prompts and responses become one, faulty rows are set aside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.data.preference_texts import Message, Prompt, Response, prompt_id
from bayesgrid.errors import DataError
from bayesgrid.grid.preference_sets import PreferenceFault

__all__ = ["FIRST", "SECOND", "Label", "LoadedPairs", "PairCollector", "Place", "RowFault"]

_SHOWN = 80
"""Characters of a value that a message shows."""

_WORDS: dict[PreferenceFault, str] = {
    "equal_responses": "both responses are the same text",
    "empty_response": "the response is empty",
    "not_text": "not text",
    "different_context": "the two transcripts disagree before the response",
    "no_prompt": "nothing that a user says stands before the response",
    "no_label": "nothing says which response is preferred",
    "label_outside_scale": "the label is outside its scale",
    "duplicate_id": "an earlier row has the same id",
}


@dataclass(frozen=True)
class Place:
    """Where a pair stands: its file, its row from 1, and the columns that hold prompt, responses and label."""

    path: Path
    row: int
    prompt: str = "prompt"
    first: str = "chosen"
    second: str = "rejected"
    label: str = "label"

    def fault(self, kind: PreferenceFault, column: str, given: object, allowed: str) -> "RowFault":
        """Return what is wrong with the value ``given`` in ``column``."""
        return RowFault(kind, self.path, self.row, column, given, allowed)


@dataclass(frozen=True)
class RowFault:
    """Why a row is left out."""

    kind: PreferenceFault
    path: Path
    row: int
    column: str
    given: object
    allowed: str

    def error(self, remedy: str | None = None) -> DataError:
        """Return the error for a set in which such rows are not known."""
        given = repr(self.given)
        return DataError(
            f"row {self.row}, column {self.column!r}: {_WORDS[self.kind]} ({self.kind})",
            where=str(self.path),
            given=given if len(given) <= _SHOWN else f"{given[:_SHOWN]}…",
            allowed=self.allowed,
            remedy=remedy,
        )


@dataclass(frozen=True)
class Label:
    """Which response is preferred: a probability for the first, and the votes it comes from, if any."""

    probability: float
    votes: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of_votes(cls, first: float, second: float, tie: float = 0.0) -> "Label":
        """Return the label of votes for the first, for the second and for a tie, at least one in all."""
        return cls((first + tie / 2) / (first + second + tie), (first, second, tie))


FIRST = Label(1.0)
"""The first is better by construction, and nobody voted."""
SECOND = Label(0.0)


@dataclass(frozen=True)
class LoadedPairs:
    """What a loader returns: pairs, without name and version, and the rows it left out."""

    pairs: PreferencePairs
    faults: tuple[RowFault, ...] = ()


@dataclass
class PairCollector:
    """Pairs as they come; :meth:`loaded` returns them all."""

    _prompts: dict[str, int] = field(default_factory=dict)
    _messages: list[Prompt] = field(default_factory=list)
    _places: dict[tuple[int, str, str | None], int] = field(default_factory=dict)
    _responses: list[Response] = field(default_factory=list)
    _answers: list[int] = field(default_factory=list)
    _columns: dict[str, list[Any]] = field(
        default_factory=lambda: {
            name: [] for name in ("first", "second", "prompt", "votes", "probability", "subsets", "margins")
        }
    )
    _ids: dict[str, None] = field(default_factory=dict)
    _faults: list[RowFault] = field(default_factory=list)

    def leave_out(self, fault: RowFault) -> None:
        """Count a row that cannot be used."""
        self._faults.append(fault)

    def add(
        self,
        place: Place,
        pair_id: str,
        messages: Sequence[Message],
        responses: tuple[object, object],
        label: Label,
        *,
        systems: tuple[str | None, str | None] = (None, None),
        subset: str | None = None,
        margin: float | None = None,
    ) -> None:
        """Add one pair, or count its fault.

        Args:
            place: where it stands.
            pair_id: unique in the whole set.
            messages: the prompt.
            responses: the texts of the first and of the second.
            label: which is preferred.
            systems: who wrote the first, and the second.
            subset: the part of the set it belongs to.
            margin: by how much the first is better, if the source says it.
        """
        fault = self._fault(place, pair_id, messages, responses)
        if fault is not None:
            self._faults.append(fault)
            return
        prompt = self._prompt(messages)
        first, second = (
            self._response(prompt, str(text), system) for text, system in zip(responses, systems, strict=True)
        )
        values = (first, second, prompt, label.votes, label.probability, subset, np.nan if margin is None else margin)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)
        self._ids[pair_id] = None

    def loaded(self) -> LoadedPairs:
        """Return all pairs and faults."""
        columns = self._columns
        margins = np.array(columns["margins"], dtype=np.float32)
        pairs = PreferencePairs(
            "",
            "",
            tuple(self._messages),
            tuple(self._responses),
            first=np.array(columns["first"], dtype=np.int64),
            second=np.array(columns["second"], dtype=np.int64),
            prompt=np.array(columns["prompt"], dtype=np.int64),
            votes=np.array(columns["votes"], dtype=np.float32).reshape(-1, 3),
            probability=np.array(columns["probability"], dtype=np.float64),
            pair_ids=tuple(self._ids),
            subsets=tuple(columns["subsets"]),
            margins=None if np.isnan(margins).all() else margins,
        )
        return LoadedPairs(pairs, tuple(self._faults))

    def _fault(
        self, place: Place, pair_id: str, messages: Sequence[Message], responses: tuple[object, object]
    ) -> RowFault | None:
        for text, column in zip(responses, (place.first, place.second), strict=True):
            if not isinstance(text, str):
                return place.fault("not_text", column, text, "a string")
            if not text.strip():
                return place.fault("empty_response", column, text, "a response with text")
        first, second = map(str, responses)
        if first.strip() == second.strip():
            return place.fault("equal_responses", place.second, second, f"another text than {place.first!r} has")
        if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
            given = [(message.role, message.content) for message in messages[-1:]]
            return place.fault("no_prompt", place.prompt, given, "turns that end with one of the user")
        if pair_id in self._ids:
            return place.fault("duplicate_id", "id", pair_id, "an id that no other pair has")
        return None

    def _prompt(self, messages: Sequence[Message]) -> int:
        identity = prompt_id(messages)
        if identity not in self._prompts:
            self._prompts[identity] = len(self._messages)
            self._messages.append(Prompt(identity, tuple(messages)))
            self._answers.append(0)
        return self._prompts[identity]

    def _response(self, prompt: int, text: str, system: str | None) -> int:
        key = (prompt, text, system)
        if key not in self._places:
            self._places[key] = len(self._responses)
            identity = f"{self._messages[prompt].prompt_id}-{self._answers[prompt]}"
            self._responses.append(Response(identity, prompt, text, system))
            self._answers[prompt] += 1
        return self._places[key]
