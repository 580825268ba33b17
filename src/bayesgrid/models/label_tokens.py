"""The one token by which a model answers with a label, found in the real context of the prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bayesgrid.errors import DataError

__all__ = ["label_token_ids", "labels_of_several_tokens"]


def label_token_ids(tokenizer: Any, prompts: Sequence[str], labels: Sequence[str], *, where: str) -> tuple[int, ...]:
    """Return for each label the id of the single token that continues the prompt with it.

    A label that follows a word needs its leading space (``Answer:`` is continued by `` A``); one that follows a line
    break or the special token that opens a turn has none. Prompt and label are tokenised together, as the model would
    have seen them, and what stands before the label must keep its tokens.

    Args:
        tokenizer: of transformers.
        prompts: whole model inputs to look at; one for every way in which prompts may end is enough.
        labels: the answers, ``A``, ``B``, ...
        where: what asks, for messages.

    Raises:
        DataError: if there is no prompt or label, a label is not one token, changes the prompt's own tokens or is an
            unknown token, two labels have the same token, or prompts disagree.
    """
    if not prompts or not labels:
        raise DataError("label tokens need at least one prompt and one label", where=where)
    found = tuple(_ids_after(tokenizer, prompts[0], labels, where))
    for label, token in zip(labels, found, strict=True):
        if token == getattr(tokenizer, "unk_token_id", None):
            raise DataError("the tokenizer does not know the label", where=where, given=repr(label))
    twice = next((label for label, token in zip(labels, found, strict=True) if found.count(token) > 1), None)
    if twice is not None:
        raise DataError("the label shares its token with another one", where=where, given=repr(twice))
    for position, prompt in enumerate(prompts[1:], start=1):
        other = tuple(_ids_after(tokenizer, prompt, labels, where))
        if other != found:
            raise DataError(
                "the labels have other tokens after this prompt than after the first",
                where=f"{where}, prompt {position}",
                given=other,
                allowed=found,
                remedy="end all prompts alike",
            )
    return found


def labels_of_several_tokens(folder: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """Return those of ``labels`` that are no single token of the model in ``folder``, with a leading space or without.

    A label that is none of these can still fail in the context of a prompt, which :func:`label_token_ids` looks at.
    Nothing is returned where the folder has no ``tokenizer.json``.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        return ()
    tokenizer = Tokenizer.from_file(str(file))
    return tuple(
        label
        for label in labels
        if all(len(tokenizer.encode(piece, add_special_tokens=False).ids) > 1 for piece in (label, f" {label}"))
    )


def _ids_after(tokenizer: Any, prompt: str, labels: Sequence[str], where: str) -> list[int]:
    before = _ids(tokenizer, prompt)
    if not before:
        raise DataError("the prompt has no token", where=where, given=repr(prompt))
    markup = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    space = "" if prompt[-1:].isspace() or before[-1] in markup else " "
    return [_continuation(tokenizer, prompt, before, f"{space}{label}", where) for label in labels]


def _continuation(tokenizer: Any, prompt: str, before: list[int], piece: str, where: str) -> int:
    after = _ids(tokenizer, prompt + piece)
    if after[: len(before)] != before:
        raise DataError(
            "the label changes the tokens of the prompt before it",
            where=where,
            given=repr(piece),
            remedy="end the prompt with a line break, or choose other labels",
        )
    if len(after) != len(before) + 1:
        tokens = tokenizer.convert_ids_to_tokens(after[len(before) :])
        raise DataError(
            f"the label is {len(tokens)} tokens, not one",
            where=where,
            given=f"{piece!r} -> {tokens}",
            remedy="choose labels that are single tokens of this model, or the form of prompt 'instruct', whose labels "
            "have no leading space",
        )
    return after[-1]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
