"""Prompts as a model reads them: with chat markup or as plain text, as token ids, and in batches of similar length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayesgrid.errors import ConfigurationError, DataError, did_you_mean

__all__ = ["PromptForm", "TokenisedPrompts", "full_prompts", "length_buckets", "token_buckets", "tokenise"]

PromptForm = Literal["instruct", "base"]
"""``instruct``: the user's turn of a chat; ``base``: plain text that a next word continues."""

_FORMS = ("instruct", "base")
_ANSWER_CUE = "\nAnswer:"


@dataclass(frozen=True)
class TokenisedPrompts:
    """Prompts as token ids.

    Args:
        ids: one array ``[tokens]`` of int64 per prompt.
        shared_prefix: number of leading tokens that are the same in all prompts; every prompt has at least one more.
    """

    ids: tuple[NDArray[np.int64], ...]
    shared_prefix: int


def full_prompts(tokenizer: Any, texts: Sequence[str], form: PromptForm) -> list[str]:
    """Return the whole model input for each text, with all special tokens spelt out.

    ``instruct`` puts the text into the chat template as the user's turn and opens the model's turn, without a phase
    of thinking where the template offers the choice. ``base`` puts the tokenizer's leading special tokens before the
    text and "Answer:" on a line of its own after it.

    Raises:
        DataError: if ``instruct`` is asked of a model without a chat template.
        ConfigurationError: if there is no such form.
    """
    if form not in _FORMS:
        raise ConfigurationError(
            "no such form of prompt", given=form, allowed=", ".join(_FORMS), remedy=did_you_mean(form, _FORMS)
        )
    if form == "base":
        start = _leading_special_tokens(tokenizer)
        return [f"{start}{text}{_ANSWER_CUE}" for text in texts]
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise DataError(
            "the model has no chat template, so it cannot be asked in the form 'instruct'",
            where=f"model folder {getattr(tokenizer, 'name_or_path', '')}",
            remedy="ask it in the form 'base', or take the instruction-tuned model",
        )
    options = {"enable_thinking": False} if "enable_thinking" in str(template) else {}
    return [
        str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, **options
            )
        )
        for text in texts
    ]


def tokenise(tokenizer: Any, full_prompts: Sequence[str]) -> TokenisedPrompts:
    """Return the token ids of whole model inputs, to which no further special token is added.

    Raises:
        DataError: if there is no prompt, or one has no token.
    """
    if not full_prompts:
        raise DataError("there is no prompt to tokenise")
    rows = tokenizer(list(full_prompts), add_special_tokens=False)["input_ids"]
    ids = tuple(np.asarray(row, dtype=np.int64) for row in rows)
    empty = next((position for position, row in enumerate(ids) if not len(row)), None)
    if empty is not None:
        raise DataError("the prompt has no token", where=f"prompt {empty}", given=repr(full_prompts[empty]))
    return TokenisedPrompts(ids, _shared_prefix(ids))


def length_buckets(lengths: ArrayLike, rows: int) -> list[NDArray[np.int64]]:
    """Return batches of at most ``rows`` positions, shortest prompts first, so that a batch needs little padding.

    Raises:
        ConfigurationError: if ``rows`` is below 1.
    """
    if rows < 1:
        raise ConfigurationError("a batch needs at least one row", given=rows, allowed="1 or more")
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").astype(np.int64)
    return [order[start : start + rows] for start in range(0, len(order), rows)]


def token_buckets(lengths: ArrayLike, tokens: int, *, copies: int = 1) -> list[NDArray[np.int64]]:
    """Return batches of positions, shortest prompts first, none with more than ``tokens`` tokens after padding.

    A batch of n prompts, the longest of T tokens, has ``copies * n * T`` of them. A prompt that is too long by itself
    is a batch of its own.

    Args:
        lengths: tokens of each prompt.
        tokens: the bound.
        copies: how many times over each prompt stands in its batch, once per draw.

    Raises:
        ConfigurationError: if ``tokens`` or ``copies`` is below 1.
    """
    if min(tokens, copies) < 1:
        raise ConfigurationError("a batch needs at least one token", given=min(tokens, copies), allowed="1 or more")
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(sizes, kind="stable")
    # The order is by length, so the prompt that is added is the longest of its batch.
    batches: list[list[int]] = []
    for position in order.tolist():
        if not batches or copies * (len(batches[-1]) + 1) * sizes[position] > tokens:
            batches.append([])
        batches[-1].append(position)
    return [np.array(batch, dtype=np.int64) for batch in batches]


def _leading_special_tokens(tokenizer: Any) -> str:
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    start = next((p for p in range(len(whole) - len(plain) + 1) if whole[p : p + len(plain)] == plain), 0)
    return "".join(tokenizer.convert_ids_to_tokens(whole[:start]))


def _shared_prefix(ids: Sequence[NDArray[np.int64]]) -> int:
    longest = min(len(row) for row in ids) - 1
    first = ids[0][:longest]
    same = np.ones(longest, dtype=bool)
    for row in ids[1:]:
        same &= row[:longest] == first
    return longest if same.all() else int(np.argmin(same))
