"""A base model with stacked adapters on it, and the part below them whose states need computing only once."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import nn

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.adapters.stacked import AdapterStack
from bayesgrid.errors import ConfigurationError
from bayesgrid.models.answer_model import AnswerModel, Batch, answer_head, prompt_batch, split_decoder
from bayesgrid.models.image_features import ImageBatch
from bayesgrid.models.loading import LanguageModel
from bayesgrid.models.prompt_tokens import token_buckets
from bayesgrid.store.atomic import atomic_write
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_parameters import LoraSpec

__all__ = ["AdaptedModel", "adapt_model", "for_labels", "tokens_at_once"]

_logger = logging.getLogger(__name__)


def tokens_at_once(device: torch.device, *, gradients: bool = False) -> int:
    """Return how many tokens, padding and copies counted, go through the model together.

    It changes speed and memory, not results but for float rounding. Memory follows tokens and not prompts, so few long
    prompts share a batch, and many short ones.

    Args:
        device: where the model is; a GPU needs more tokens to be busy.
        gradients: whether the states of all layers are kept for a backward pass: about 8 MB per token for a model of
            8 billion weights in 16 bits.
    """
    return 4096 if device.type == "cpu" or gradients else 32768


@dataclass
class AdaptedModel:
    """What answers: the adapted model, its stack of adapters, and what lies below them.

    Args:
        model: takes tokens, or states if ``below`` is there.
        stack: its adapters.
        below: the blocks under the lowest adapter, if they are run separately.
        base: the base model itself.
        device: where it is.
        cache: folder for states below the adapters; None keeps none.
    """

    model: AnswerModel
    stack: AdapterStack
    below: nn.Module | None
    base: LanguageModel
    device: torch.device
    cache: Path | None = None

    @property
    def labels(self) -> int:
        """Return C, the number of labels the head has."""
        return int(self.model.head.out_features)  # type: ignore[arg-type]

    def batch(self, task: AnswerTask, rows: NDArray[np.int64], shared_prefix: int = 0) -> Batch:
        """Return the questions at positions ``rows`` of ``task`` as the adapted model takes them.

        Args:
            task: prepared for the model.
            rows: positions, in any order; one may stand there twice.
            shared_prefix: how many leading tokens of the prompts are computed once; 0 for questions about images.
        """
        prompts = [task.prompts[row] for row in rows]
        if not task.images:
            return prompt_batch(prompts, shared_prefix, device=self.device)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        return ImageBatch(tuple(prompts), tuple(task.images[row].features for row in rows), last)

    def prepared(self, task: AnswerTask) -> AnswerTask:
        """Return ``task`` with prompts as the adapted part takes them: tokens, or the states below the adapters."""
        if self.below is None:
            return task
        if self.cache is None:
            return replace(task, prompts=tuple(self._states(task)))
        digest = hashlib.sha256(f"{self.base.revision}/{self.base.precision}/{self._depth()}".encode())
        for prompt in task.prompts:
            digest.update(len(prompt).to_bytes(4, "little") + prompt.astype("<i8").tobytes())
        path = self.cache / f"{self.base.name}-block{self._depth()}-{digest.hexdigest()[:16]}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                _logger.info("computing the states below the adapters of %d prompts once", len(task))
                with atomic_write(path) as temporary:
                    safetensors.numpy.save_file({"states": np.concatenate(self._states(task))}, temporary)
            states = safetensors.numpy.load_file(path)["states"]
        ends = np.cumsum([len(prompt) for prompt in task.prompts])
        return replace(task, prompts=tuple(np.split(states, ends[:-1])))

    def _depth(self) -> int:
        return len(self.below.layers)  # type: ignore[union-attr, arg-type]

    @torch.no_grad()
    def _states(self, task: AnswerTask) -> list[np.ndarray]:
        found: list[np.ndarray] = [np.empty(0)] * len(task)
        below = AnswerModel(self.below, nn.Identity())  # type: ignore[arg-type]
        for rows in token_buckets([len(prompt) for prompt in task.prompts], tokens_at_once(self.device)):
            batch = prompt_batch([task.prompts[row] for row in rows], 0, device=self.device)
            states = below.states(batch).float().cpu().numpy()
            for place, row in enumerate(rows):
                found[row] = states[place, : len(task.prompts[row])].copy()
        return found


def adapt_model(
    base: LanguageModel,
    lora: LoraSpec,
    label_tokens: tuple[int, ...],
    *,
    slots: int,
    device: torch.device,
    cache: Path | None = None,
) -> AdaptedModel:
    """Put ``slots`` adapters on ``base``, in place, with a head for the labels' tokens.

    Raises:
        ConfigurationError: if a target matches no layer, the model has fewer blocks than are to be adapted, or it sees
            and not all of its blocks are.
    """
    head = answer_head(base.head_weight, label_tokens)
    decoder, below = base.decoder, None
    depth = len(decoder.layers) if isinstance(getattr(decoder, "layers", None), nn.ModuleList) else 0  # type: ignore[arg-type]
    top = lora.top_blocks
    if top is not None and base.processor is not None:
        raise ConfigurationError(
            "key 'lora.top_blocks': all blocks of a model that sees are adapted",
            where=f"model {base.name!r}",
            given=top,
            remedy="leave the key out",
        )
    if top is not None and top > depth:
        raise ConfigurationError(
            "key 'lora.top_blocks': the model has fewer blocks", given=top, allowed=f"1 to {depth}"
        )
    stack, adapted_head = AdapterStack.wrap(
        decoder,
        head if lora.head else None,
        targets=lora.targets,
        rank=lora.rank,
        scaling=lora.alpha / lora.rank,
        slots=slots,
        blocks=None if top is None else range(depth - top, depth),
    )
    if top is not None and top < depth:
        below, decoder = split_decoder(decoder, depth - top)
    model = AnswerModel(decoder, adapted_head or head, logit_cap=base.logit_cap)
    return AdaptedModel(model, stack, below, base, device, cache)


def for_labels(weights: AdapterWeights, trained: tuple[str, ...], asked: tuple[str, ...]) -> AdapterWeights:
    """Return ``weights`` with the rows of the head's adapter in the order of ``asked``.

    A label that training did not have gets no update: its row is 0.
    """
    if trained == asked or ANSWER_HEAD not in weights.pairs:
        return weights
    pair = weights.pairs[ANSWER_HEAD]
    rows = torch.zeros(len(asked), pair.rank)
    for place, label in enumerate(asked):
        if label in trained:
            rows[place] = pair.b[trained.index(label)]
    pairs: Mapping[str, LowRankPair] = {**weights.pairs, ANSWER_HEAD: LowRankPair(pair.a, rows)}
    return AdapterWeights(pairs, weights.scaling)
