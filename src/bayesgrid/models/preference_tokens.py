"""A response after its prompt as token ids: one function for everything that trains on, chooses or judges responses."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.preference_pairs import Message
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.models.conversation_tokens import chat_tokens, plain_tokens

__all__ = ["PreferenceForm", "PreferenceTokens", "plain_prompt", "tokenise_preferences"]


@dataclass(frozen=True)
class PreferenceForm:
    """How a prompt and a response become a model's input.

    Args:
        architecture: ``causal``, or ``encoder``.
        layout: ``joint`` is the response after its prompt: by the template of a causal model, as the pair of texts of
            an encoder. ``separate`` is each text by itself, with the tokenizer's own special tokens.
        template: of a causal model's joint layout: its own chat template, or plain text with the names of the roles.
        max_length: most tokens of an input.
    """

    architecture: Literal["causal", "encoder"]
    layout: Literal["joint", "separate"] = "joint"
    template: Literal["chat", "plain"] = "chat"
    max_length: int = 512


@dataclass(frozen=True)
class PreferenceTokens:
    """N model inputs.

    Args:
        ids: one array ``[tokens]`` of int64 for each.
        prompt_lengths: how many leading tokens belong to the prompt and its markup ``[N]``; 0 for a response by itself,
            and all of them for a prompt by itself.
        truncated: whether tokens were left out ``[N]``.
        type_ids: which text each token belongs to, for encoders that are told; else None.
    """

    ids: tuple[NDArray[np.int64], ...]
    prompt_lengths: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    type_ids: tuple[NDArray[np.int64], ...] | None = None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each input ``[N]``."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "PreferenceTokens":
        """Return the inputs at these positions, in their order."""
        rows = np.asarray(rows, dtype=np.int64)
        return PreferenceTokens(
            tuple(self.ids[row] for row in rows.tolist()),
            self.prompt_lengths[rows],
            self.truncated[rows],
            None if self.type_ids is None else tuple(self.type_ids[row] for row in rows.tolist()),
        )


@dataclass(frozen=True)
class _Input:
    ids: NDArray[np.int64]
    prompt_length: int
    truncated: bool
    type_ids: NDArray[np.int64] | None = None


def tokenise_preferences(
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    responses: Sequence[str] | None,
    form: PreferenceForm,
) -> PreferenceTokens:
    """Return ``responses[i]`` after ``prompts[i]`` as token ids; without responses, the prompts by themselves.

    A chat template writes all special tokens, and the tokenizer adds none; the BOS token stands once, at the start, if
    the model has one. A text that spells a special token out gets a space into that word, so that no text can end its
    turn or begin another. A prompt by itself in the joint layout ends where a response would begin.

    An input of more than ``form.max_length`` tokens loses tokens from the start of the prompt; where the prompt does
    not suffice, from the start of the response. Its special tokens stay where the tokenizer itself puts them (BOS,
    ``[CLS]``, ``[SEP]``); the markup of a template counts as prompt.

    Raises:
        DataError: if a response is empty, a prompt has no turn, the tokenizer has no chat template or its template
            cannot write a conversation, or BOS stands twice.
        ConfigurationError: if ``max_length`` leaves no room for a text.
    """
    _require_texts(prompts, responses)
    spelt_apart = _speller(tokenizer)
    turns = [[Message(turn.role, spelt_apart(turn.content)) for turn in prompt] for prompt in prompts]
    texts = None if responses is None else [spelt_apart(response) for response in responses]
    if form.architecture == "encoder" or form.layout == "separate":
        inputs = _encoded(tokenizer, turns, texts, form)
    else:
        written = (chat_tokens if form.template == "chat" else plain_tokens)(tokenizer, turns, texts)
        inputs = [_cut(tokenizer, ids, prompt_length, form.max_length) for ids, prompt_length in written]
    types = tuple(one.type_ids for one in inputs if one.type_ids is not None)
    return PreferenceTokens(
        tuple(one.ids for one in inputs),
        np.array([one.prompt_length for one in inputs], dtype=np.int64),
        np.array([one.truncated for one in inputs], dtype=np.bool_),
        types if len(types) == len(inputs) > 0 else None,
    )


def plain_prompt(messages: Sequence[Message]) -> str:
    """Return the turns as one text: a single turn of the user as it is, several with the names of their roles."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in messages)


def _require_texts(prompts: Sequence[Sequence[Message]], responses: Sequence[str] | None) -> None:
    without = next((position for position, prompt in enumerate(prompts) if not prompt), None)
    if without is not None:
        raise DataError("the prompt has no turn", where=f"prompt {without}")
    if responses is None:
        return
    if len(responses) != len(prompts):
        raise DataError("every response needs its prompt", given=f"{len(prompts)} prompts, {len(responses)} responses")
    empty = next((position for position, response in enumerate(responses) if not response.strip()), None)
    if empty is not None:
        raise DataError(
            "the response is empty, so there is nothing to read",
            where=f"response {empty}",
            given=repr(responses[empty]),
            remedy="leave its pairs out when the data set is prepared",
        )


def _speller(tokenizer: Any) -> Any:
    added: Mapping[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    special = {str(token.content) for token in added.values() if token.special} | set(tokenizer.all_special_tokens)
    words = sorted((word for word in special if len(word) > 1), key=len, reverse=True)
    if not words:
        return str
    pattern = re.compile("|".join(map(re.escape, words)))
    return lambda text: pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def _encoded(
    tokenizer: Any, turns: Sequence[Sequence[Message]], texts: Sequence[str] | None, form: PreferenceForm
) -> list[_Input]:
    prompts = [plain_prompt(prompt) for prompt in turns]
    alone = texts is None or form.layout == "separate"
    first, second = (prompts if texts is None else texts, None) if alone else (prompts, texts)
    encoding = tokenizer(first, second) if second is not None else tokenizer(first)
    types = encoding.get("token_type_ids")
    inputs = []
    for position, row in enumerate(encoding["input_ids"]):
        ids = np.asarray(row, dtype=np.int64)
        # Special tokens belong to no text.
        text = np.array([-1 if own is None else own for own in encoding.sequence_ids(position)])
        removable = np.concatenate([np.flatnonzero(text == 0), np.flatnonzero(text == 1)])
        excess = max(len(ids) - form.max_length, 0)
        if excess and excess >= len(removable):
            raise _no_room(form.max_length, len(ids) - len(removable))
        kept = np.delete(np.arange(len(ids)), removable[:excess])
        if texts is None:
            prompt_length = len(kept)
        elif alone:
            prompt_length = 0
        else:
            begun = np.flatnonzero(text[kept] == 1)
            # A text of nothing but control characters has no token; the mark after it then stands for it.
            prompt_length = int(begun[0]) if len(begun) else len(kept) - 1
        own_types = None if types is None else np.asarray(types[position], dtype=np.int64)[kept]
        inputs.append(_Input(ids[kept], prompt_length, bool(excess), own_types))
    return inputs


def _cut(tokenizer: Any, ids: NDArray[np.int64], prompt_length: int, max_length: int) -> _Input:
    bos = tokenizer.bos_token_id
    if len(ids) > 1 and bos is not None and ids[0] == ids[1] == bos:
        raise DataError(
            "the BOS token stands twice at the start of an input",
            where=f"model folder {getattr(tokenizer, 'name_or_path', '')}",
            given=tokenizer.decode(ids[:4]),
            remedy="correct the chat template of the model, which writes it more than once",
        )
    head = 1 if bos is not None and len(ids) and ids[0] == bos else 0
    excess = max(len(ids) - max_length, 0)
    if excess and max_length <= head:
        raise _no_room(max_length, head)
    kept = np.concatenate([ids[:head], ids[head + excess :]])
    return _Input(kept, max(prompt_length - excess, min(head, prompt_length)), bool(excess))


def _no_room(max_length: int, special: int) -> ConfigurationError:
    return ConfigurationError(
        "key 'max_length': no text fits beside the special tokens", given=max_length, allowed=f"more than {special}"
    )
