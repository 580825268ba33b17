"""How the reference code predicts with BLoB and MC dropout: noise of its own for every batch and every token.

Draw s of such a prediction is no function of the questions: it is another one for the next batch, and tokens of one
prompt see different weights, so that attention averages the noise away. Answers therefore depend on how many prompts
share a batch. ``mode: faithful`` predicts so; the correct mode draws whole adapters.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from bayesgrid.adapters.adapter_posterior import AdapterPosterior, drawn_modules, dropout_probability
from bayesgrid.adapters.low_rank import ANSWER_HEAD
from bayesgrid.adapters.stacked import AdapterStack, Projection, low_rank_codes
from bayesgrid.errors import ConfigurationError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.fit_parameters import NOISY_METHODS, Scope
from bayesgrid.studies.bayesian_lora.perturbations import drop_inputs, dropout_masks, flipout, random_signs

__all__ = ["NOISY_METHODS", "reference_noise"]


@contextmanager
def reference_noise(
    posterior: AdapterPosterior, stack: AdapterStack, *, seed: int, scope: Scope = "all"
) -> Iterator[Callable[[int], None]]:
    """Give a function that sets the noise of batch number t on all slots of ``stack``, and take it away in the end.

    Slot s is draw s. The noise is a function of (seed, layer, t, s) and of a token's place in its batch.

    Args:
        posterior: of one of :data:`NOISY_METHODS`; its mean is what the slots are to hold.
        stack: its projections are set.
        seed: of the noise.
        scope: ``head`` leaves the backbone without noise.

    Raises:
        ConfigurationError: if the method has no such noise.
    """
    if posterior.method not in NOISY_METHODS:
        raise ConfigurationError(
            "the method has no noise per token", given=posterior.method, allowed=", ".join(NOISY_METHODS)
        )
    noisy = [name for name in drawn_modules(posterior) if scope == "all" or name == ANSWER_HEAD]

    def perturb(batch: int) -> None:
        for path in noisy:
            stack.layers[path].projection = _projection(posterior, path, seed, batch)

    try:
        yield perturb
    finally:
        for path in noisy:
            stack.layers[path].projection = None


def _projection(posterior: AdapterPosterior, path: str, seed: int, batch: int) -> Projection:
    if posterior.method == "mcdropout":
        probability = dropout_probability(posterior)

        def drop(inputs: Tensor, a: Tensor, slots: Tensor | None) -> Tensor:  # noqa: ARG001
            count, rows, tokens, size = inputs.shape
            masks = [
                dropout_masks(
                    seed,
                    f"reference dropout/{path}",
                    batch,
                    draw,
                    count=rows * tokens,
                    size=size,
                    probability=probability,
                ).reshape(rows, tokens, size)
                for draw in range(count)
            ]
            dropped = drop_inputs(inputs, torch.stack(masks).to(inputs))
            return low_rank_codes(dropped, a)

        return drop

    deviation = posterior.tensors[f"{path}.standard_deviation"]

    def flip(inputs: Tensor, a: Tensor, slots: Tensor | None) -> Tensor:  # noqa: ARG001
        count, rows, tokens, size = inputs.shape
        means = low_rank_codes(inputs, a)
        drawn = [
            random_stream(seed, f"reference noise/{path}", batch, draw).standard_normal(
                tuple(deviation.shape), dtype=np.float32
            )
            for draw in range(count)
        ]
        noise = deviation * torch.from_numpy(np.stack(drawn))

        def signs(end: str, width: int) -> Tensor:
            name = f"reference flipout {end}/{path}"
            own = [
                random_signs(seed, name, batch, draw, count=rows * tokens, size=width).reshape(rows, tokens, width)
                for draw in range(count)
            ]
            return torch.stack(own).to(inputs)

        return means + flipout(inputs, noise.to(inputs), signs("in", size), signs("out", a.shape[1]))

    return flip
