"""The texts of preference pairs: the turns of a conversation, prompts made of them, and responses."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Message", "Prompt", "Response", "prompt_id"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """The turns before a response, the last of them the user's."""

    prompt_id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Response:
    """One response.

    Args:
        response_id: unique within its data set.
        prompt: position of the prompt it answers.
        text: what it says.
        system: who or what wrote it, or None where the source does not say.
    """

    response_id: str
    prompt: int
    text: str
    system: str | None = None


def prompt_id(messages: Sequence[Message]) -> str:
    """Return an id made of what is said, so that equal prompts of two data sets have equal ids."""
    text = json.dumps([[message.role, message.content] for message in messages], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
