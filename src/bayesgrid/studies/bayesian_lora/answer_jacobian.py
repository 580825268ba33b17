"""Per-question gradients of the answer logits with respect to one adapter, every question a slot of its own."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights
from bayesgrid.errors import ConfigurationError
from bayesgrid.models.prompt_tokens import token_buckets
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, tokens_at_once
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_parameters import Scope

__all__ = ["answer_jacobian", "jacobian_blocks"]


def answer_jacobian(
    adapted: AdaptedModel,
    task: AnswerTask,
    weights: AdapterWeights,
    scope: Scope = "all",
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the Jacobian of all questions by layer, ``[N, C - 1, P]`` float32 on the CPU, and the logits ``[N, C]``.

    Rows are gradients of the differences of the logits to the first one; columns are the entries of ``a``, then of
    ``b``, of the layer. The copies of the adapter in the slots give every question a gradient of its own from one
    backward pass for each difference.

    Args:
        adapted: its stack is resized.
        task: prepared for the model.
        weights: the adapter to differentiate at.
        scope: ``head`` leaves the layers of the backbone out.
        progress: called with questions done and questions in all.

    Raises:
        ConfigurationError: if the scope is the head and the head has no adapter.
    """
    found: dict[str, Tensor] = {}
    logits = torch.empty(len(task), len(task.labels))
    done = 0
    for rows, answered, blocks in _by_batch(adapted, task, weights, scope):
        logits[rows] = answered
        for name, block in blocks.items():
            if name not in found:
                found[name] = torch.empty(len(task), *block.shape[1:])
            found[name][rows] = block
        done += len(rows)
        if progress is not None:
            progress(done, len(task))
    return found, logits


def jacobian_blocks(
    adapted: AdaptedModel, task: AnswerTask, weights: AdapterWeights, scope: Scope, *, questions: int
) -> Iterator[tuple[np.ndarray, Tensor, dict[str, Tensor]]]:
    """Yield positions of about ``questions`` questions, their logits and Jacobian by layer, until all are done."""
    rows: list[np.ndarray] = []
    logits: list[Tensor] = []
    blocks: list[dict[str, Tensor]] = []
    for part, answered, jacobian in _by_batch(adapted, task, weights, scope):
        rows.append(part)
        logits.append(answered)
        blocks.append(jacobian)
        if sum(map(len, rows)) >= questions:
            yield np.concatenate(rows), torch.cat(logits), _joined(blocks)
            rows, logits, blocks = [], [], []
    if rows:
        yield np.concatenate(rows), torch.cat(logits), _joined(blocks)


def _joined(blocks: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def _by_batch(
    adapted: AdaptedModel, task: AnswerTask, weights: AdapterWeights, scope: Scope
) -> Iterator[tuple[np.ndarray, Tensor, dict[str, Tensor]]]:
    stack = adapted.stack
    if scope == "head" and ANSWER_HEAD not in stack.layers:
        raise ConfigurationError("the head has no adapter to be uncertain about", given="scope: head", allowed="all")
    names = [ANSWER_HEAD] if scope == "head" else list(stack.layers)
    size = 0
    budget = tokens_at_once(adapted.device, gradients=True)
    for rows in token_buckets([len(prompt) for prompt in task.prompts], budget):
        if len(rows) != size:
            size = len(rows)
            stack.resize(size)
            for slot in range(size):
                stack.load(slot, weights)
        batch = adapted.batch(task, rows)
        if scope == "head":
            with torch.no_grad():
                hidden = adapted.model.hidden(batch, size)
            logits = adapted.model.answers(hidden)
        else:
            logits = adapted.model.logits(batch, size)
        yield rows, logits.detach().cpu(), _gradients(logits, names, adapted)


def _gradients(logits: Tensor, names: list[str], adapted: AdaptedModel) -> dict[str, Tensor]:
    layers = [adapted.stack.layers[name] for name in names]
    factors = [factor for layer in layers for factor in (layer.a, layer.b)]
    outputs = logits.shape[1]
    found: list[list[Tensor]] = []
    for other in range(1, outputs):
        difference = (logits[:, other] - logits[:, 0]).sum()
        gradients = torch.autograd.grad(difference, factors, retain_graph=other < outputs - 1)
        flat = [gradient.flatten(1).cpu() for gradient in gradients]
        found.append([torch.cat(pair, dim=1) for pair in zip(flat[::2], flat[1::2], strict=True)])
    return {name: torch.stack([one[place] for one in found], dim=1) for place, name in enumerate(names)}
