"""A conversation as token ids of a causal model: by its chat template, or as plain text with the names of the roles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.preference_pairs import Message
from bayesgrid.errors import DataError

__all__ = ["PLAIN_TEMPLATE", "chat_tokens", "plain_tokens"]

PLAIN_TEMPLATE = "User: <prompt>\n\nAssistant: <response>"
"""What ``template: plain`` writes, for error messages; a turn of the system begins with ``System:``."""


def chat_tokens(
    tokenizer: Any, turns: Sequence[Sequence[Message]], texts: Sequence[str] | None
) -> list[tuple[NDArray[np.int64], int]]:
    """Return each conversation by the model's chat template, ended by its text if there are texts.

    Without a text it ends where the model's turn begins. The template writes all special tokens; BOS is put before them
    where it does not write the one that the tokenizer would.

    Returns:
        Ids, and how many of them are the conversation's without the text.

    Raises:
        DataError: if there is no template, or it cannot write the conversation.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            "the model has no chat template",
            where=f"model folder {getattr(tokenizer, 'name_or_path', '')}",
            remedy=f"set 'template: plain', which writes {PLAIN_TEMPLATE!r}, or take an instruction-tuned model",
        )
    conversations = [[{"role": turn.role, "content": turn.content} for turn in prompt] for prompt in turns]
    opened = _rendered(tokenizer, conversations, opened=True)
    if texts is None:
        return [(ids, len(ids)) for ids in opened]
    answered = [
        [*conversation, {"role": "assistant", "content": text}]
        for conversation, text in zip(conversations, texts, strict=True)
    ]
    whole = _rendered(tokenizer, answered, opened=False)
    return [
        # Where the last token of the prompt and the first of the response are one, it counts as response.
        (ids, min(_shared(ids, prompt), len(ids) - 1))
        for ids, prompt in zip(whole, opened, strict=True)
    ]


def plain_tokens(
    tokenizer: Any, turns: Sequence[Sequence[Message]], texts: Sequence[str] | None
) -> list[tuple[NDArray[np.int64], int]]:
    """Return each conversation as plain text with the names of the roles, ended by its text and EOS if there are texts.

    Returns:
        Ids, and how many of them are the conversation's without the text.
    """
    start = _start(tokenizer)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    named = ["\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in prompt) for prompt in turns]
    prompts = tokenizer([f"{prompt}\n\nAssistant:" for prompt in named], add_special_tokens=False)["input_ids"]
    opened = [np.concatenate([start, row]).astype(np.int64) for row in prompts]
    if texts is None:
        return [(ids, len(ids)) for ids in opened]
    # In two parts, so that no token spans prompt and response.
    responses = tokenizer([f" {text}" for text in texts], add_special_tokens=False)["input_ids"]
    return [
        (np.concatenate([prompt, response, end]).astype(np.int64), len(prompt))
        for prompt, response in zip(opened, responses, strict=True)
    ]


def _rendered(
    tokenizer: Any, conversations: Sequence[Sequence[Mapping[str, str]]], *, opened: bool
) -> list[NDArray[np.int64]]:
    from jinja2 import TemplateError

    options = {"enable_thinking": False} if "enable_thinking" in str(tokenizer.chat_template) else {}
    try:
        encoding = tokenizer.apply_chat_template(
            list(conversations), tokenize=True, return_dict=True, add_generation_prompt=opened, **options
        )
    except TemplateError as error:
        raise DataError(
            f"the chat template of the model cannot write a conversation of the data set: {error}",
            where=f"model folder {getattr(tokenizer, 'name_or_path', '')}",
            remedy=f"set 'template: plain', which writes {PLAIN_TEMPLATE!r}",
        ) from error
    start = _start(tokenizer)
    rows = [np.asarray(row, dtype=np.int64) for row in encoding["input_ids"]]
    return [np.concatenate([start, row]) if len(start) and row[0] != start[0] else row for row in rows]


def _start(tokenizer: Any) -> NDArray[np.int64]:
    """Return the BOS token if the tokenizer puts it before a text, or nothing."""
    bos = tokenizer.bos_token_id
    added = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
    return np.array([bos] if added else [], dtype=np.int64)


def _shared(ids: NDArray[np.int64], prompt: NDArray[np.int64]) -> int:
    """Return how many leading tokens two inputs have in common."""
    longest = min(len(ids), len(prompt))
    differs = np.flatnonzero(ids[:longest] != prompt[:longest])
    return int(differs[0]) if len(differs) else longest
