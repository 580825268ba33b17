"""Answers of adapters to questions: one forward pass for all draws and a few prompts at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights
from bayesgrid.adapters.stacked import AdapterStack, StackedLora
from bayesgrid.errors import NumericalError
from bayesgrid.models.answer_model import PromptBatch
from bayesgrid.models.process_group import agreed_values
from bayesgrid.models.prompt_tokens import length_buckets, token_buckets
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, tokens_at_once
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask

__all__ = ["Progress", "predict", "prediction_frame"]

Progress = Callable[[int, int], None]

_ROWS_OF_ONE_NOISE = 16
"""Prompts, one for each adapter, that share the noise of one call of ``perturb``: it decides the answers then, so it
follows neither the device nor the length of the prompts."""


@torch.no_grad()
def predict(
    adapted: AdaptedModel,
    task: AnswerTask,
    weights: Sequence[AdapterWeights] | None,
    *,
    progress: Progress | None = None,
    perturb: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the logits of every adapter on every question, ``[S, N, C]``; absent options are not masked.

    What an adapter answers does not depend on the others, nor on which prompts share a batch, but for float rounding.
    Adapters that differ in the answer head alone share one pass through the decoder.

    Args:
        adapted: its stack is resized, to S slots or to 1 if the adapters share the decoder, unless ``weights`` is None.
        task: prepared for the model.
        weights: S adapters; None takes those that are in the stack, one per slot. They share the decoder if they hold
            the same :class:`LowRankPair` objects for it, as draws with scope ``head`` do.
        progress: called with prompts done and prompts in all.
        perturb: called before each batch with its number, to set noise that differs between batches; prompts are then
            computed whole.

    Raises:
        NumericalError: if a logit is not finite, naming the question.
    """
    stack, model = adapted.stack, adapted.model
    heads: StackedLora | None = None
    if weights is not None:
        decoders = weights
        if perturb is None and _share_decoder(weights, stack):
            heads, decoders = _heads(weights, stack), weights[:1]
        stack.resize(len(decoders))
        for slot, adapter in enumerate(decoders):
            stack.load(slot, adapter)
    slots = stack.slots
    adapters = slots if heads is None else len(heads.a)
    logits = np.empty((adapters, len(task), adapted.labels), dtype=np.float32)
    shared = task.shared_prefix if perturb is None else 0
    prefix = None
    done = 0
    lengths = [len(prompt) for prompt in task.prompts]
    if perturb is None:
        batches = token_buckets(lengths, tokens_at_once(adapted.device), copies=slots)
    else:
        batches = length_buckets(lengths, max(1, _ROWS_OF_ONE_NOISE // slots))
    for number, rows in enumerate(batches):
        if perturb is not None:
            perturb(number)
        batch = adapted.batch(task, rows, shared)
        if prefix is None and shared and model.shares_prefix and isinstance(batch, PromptBatch):
            prefix = model.prefix_states(batch.prefix, slots)
        if heads is None:
            answered = model.logits(batch.repeated(slots), slots, prefix)
        else:
            answered = model.answers(model.hidden(batch, 1, prefix).repeat(adapters, 1), heads)
        logits[:, rows] = answered.reshape(adapters, len(rows), -1).cpu().numpy()
        done += len(rows)
        if progress is not None:
            progress(done, len(task))
    logits = agreed_values(logits)
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=(0, 2)))
    if broken.size:
        raise NumericalError(
            f"{broken.size} questions have logits that are not finite",
            given=task.questions[int(broken[0])],
            remedy="train with a lower learning rate, or in float32",
        )
    return logits


def _share_decoder(weights: Sequence[AdapterWeights], stack: AdapterStack) -> bool:
    first = weights[0]
    if len(weights) == 1 or ANSWER_HEAD not in first.pairs or ANSWER_HEAD not in stack.layers:
        return False
    return all(
        one.scaling == first.scaling
        and one.pairs.keys() == first.pairs.keys()
        and all(pair is first.pairs[name] for name, pair in one.pairs.items() if name != ANSWER_HEAD)
        for one in weights
    )


def _heads(weights: Sequence[AdapterWeights], stack: AdapterStack) -> StackedLora:
    """Return an answer head with one slot for each of ``weights``."""
    own = stack.layers[ANSWER_HEAD]
    heads = StackedLora(own.base, len(weights), own.rank, own.scaling)
    with torch.no_grad():
        heads.a.copy_(torch.stack([one.pairs[ANSWER_HEAD].a for one in weights]))
        heads.b.copy_(torch.stack([one.pairs[ANSWER_HEAD].b for one in weights]))
    return heads


def prediction_frame(seed: int, split: str, task: AnswerTask, logits: NDArray[np.floating]) -> pd.DataFrame:
    """Return ``logits [S, N, C]`` as rows, one per question and draw."""
    draws, count, labels = logits.shape
    by_question = logits.transpose(1, 0, 2).reshape(count * draws, labels).astype(np.float64)
    columns = {
        "seed": np.full(count * draws, seed, dtype=np.int64),
        "split": split,
        "example": np.repeat(np.array(task.questions, dtype=object), draws),
        "group": np.repeat(np.array(task.groups or [""] * count, dtype=object), draws),
        "answer": np.repeat(task.answers, draws),
        "options": np.repeat(task.options, draws),
        "draw": np.tile(np.arange(draws, dtype=np.int64), count),
    }
    return pd.DataFrame({**columns, **{f"logit_{label}": by_question[:, label] for label in range(labels)}})
