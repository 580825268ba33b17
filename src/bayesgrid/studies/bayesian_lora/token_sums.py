"""Inputs and output gradients of every adapter matrix, summed over the tokens of a prompt, padding included.

What the reference code's Kronecker factors are made of: it treats a prompt as if it were one position.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights
from bayesgrid.adapters.stacked import Projection, low_rank_codes
from bayesgrid.errors import ConfigurationError
from bayesgrid.models.prompt_tokens import length_buckets
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_parameters import Scope
from bayesgrid.studies.bayesian_lora.laplace.softmax_curvature import curvature_factors

__all__ = ["token_sums"]


def token_sums(
    adapted: AdaptedModel,
    task: AnswerTask,
    weights: AdapterWeights,
    scope: Scope,
    *,
    batch: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """Return, for every adapter matrix, its inputs and the gradients of the curvature outputs, summed over tokens.

    Args:
        adapted: its stack is resized to one slot.
        task: prepared for the model.
        weights: the adapter to linearise at.
        scope: ``head`` leaves the layers of the backbone out.
        batch: prompts together; their padding enters the sums.
        progress: called with questions done and questions in all.

    Returns:
        ``<layer>.a`` or ``<layer>.b`` -> inputs ``[N, d]`` and gradients ``[N, C - 1, o]`` in its outputs, float64, and
        the logits ``[N, C]``.

    Raises:
        ConfigurationError: if the scope is the head and the head has no adapter.
    """
    stack = adapted.stack
    if scope == "head" and ANSWER_HEAD not in stack.layers:
        raise ConfigurationError("the head has no adapter to be uncertain about", given="scope: head", allowed="all")
    names = [ANSWER_HEAD] if scope == "head" else list(stack.layers)
    stack.resize(1)
    stack.load(0, weights)
    inputs: dict[str, Tensor] = {}
    gradients: dict[str, Tensor] = {}
    logits = torch.empty(len(task), adapted.labels)
    done = 0
    for rows in length_buckets([len(prompt) for prompt in task.prompts], batch):
        prompts = adapted.batch(task, rows)
        seen = _Products(adapted, names)
        with seen:
            answered = adapted.model.logits(prompts)
        logits[rows] = answered.detach().cpu()
        factors = curvature_factors(answered.detach(), torch.from_numpy(task.options[rows]).to(answered.device))
        curved = torch.einsum("nc,nck->nk", answered.double(), factors)
        for output in range(curved.shape[1]):
            found = seen.output_gradients(curved[:, output].sum(), keep=output + 1 < curved.shape[1])
            for name, gradient in found.items():
                place = gradients.setdefault(
                    name, torch.empty(len(task), curved.shape[1], gradient.shape[-1], dtype=torch.float64)
                )
                place[rows, output] = gradient.double().sum(1).cpu()
        for name, values in seen.inputs.items():
            place = inputs.setdefault(name, torch.empty(len(task), values.shape[-1], dtype=torch.float64))
            place[rows] = values.double().sum(1).cpu()
        done += len(rows)
        if progress is not None:
            progress(done, len(task))
    return {name: (inputs[name], gradients[name]) for name in inputs}, logits


class _Products:
    """Records inputs and outputs of the two products of each layer while the model runs with one slot."""

    def __init__(self, adapted: AdaptedModel, names: list[str]) -> None:
        self._layers = {name: adapted.stack.layers[name] for name in names}
        self.inputs: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        for name, layer in self._layers.items():
            layer.projection = self._projection(name)
            self._hooks.append(layer.register_forward_hook(self._hook(name)))

    def __exit__(self, *exception: object) -> None:
        for layer in self._layers.values():
            layer.projection = None
        for hook in self._hooks:
            hook.remove()

    def _projection(self, name: str) -> Projection:
        def project(inputs: Tensor, a: Tensor, slots: Tensor | None) -> Tensor:  # noqa: ARG001
            codes = low_rank_codes(inputs, a)
            self._outputs[f"{name}.a"] = codes
            self.inputs[f"{name}.a"], self.inputs[f"{name}.b"] = inputs.detach()[0], codes.detach()[0]
            return codes

        return project

    def _hook(self, name: str) -> Callable[[torch.nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_layer: torch.nn.Module, _arguments: tuple[Tensor, ...], output: Tensor) -> None:
            self._outputs[f"{name}.b"] = output

        return hook

    def output_gradients(self, scalar: Tensor, *, keep: bool) -> dict[str, Tensor]:
        """Return the gradients of ``scalar`` in the outputs of the products, ``[n, L, o]``."""
        names = list(self._outputs)
        found = torch.autograd.grad(scalar, [self._outputs[name] for name in names], retain_graph=keep)
        gradients = {}
        for name, gradient in zip(names, found, strict=True):
            layer, _, factor = name.rpartition(".")
            if factor == "a":
                gradients[name] = gradient[0]
            else:
                # The layer adds its scaled product to the frozen one, so the product's gradient is scaled.
                flat = gradient.reshape(gradient.shape[0], -1, gradient.shape[-1])
                gradients[name] = self._layers[layer].scaling * flat
        return gradients
