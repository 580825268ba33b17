"""BLoB (Wang et al., 2024, arXiv 2406.11675): a factorised Gaussian over the first factor, the second deterministic.

q(A) = Π N(M_ij, Ω_ij²), prior N(0, β²); by theorem 3.2 the divergence of the factors is that of the full weights. The
noise of a training step reaches the examples by flipout. ``mode: faithful`` takes flipout's signs per token, steps the
divergence by its own gradient descent with weights that grow by powers of two within a cycle, and uses Ω = ρ².
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.adapters.stacked import low_rank_codes
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.divergences import gaussian_divergence, reference_blob_divergence
from bayesgrid.studies.bayesian_lora.methods.interface import per_slot
from bayesgrid.studies.bayesian_lora.methods.variational import VariationalMethod
from bayesgrid.studies.bayesian_lora.perturbations import flipout, random_signs
from bayesgrid.studies.bayesian_lora.reference_initialisation import (
    blob_start,
    deviation_of,
    parameter_of,
    reference_deviation_of,
)

__all__ = ["METHOD", "BayesByBackprop"]


class BayesByBackprop(VariationalMethod):
    """Adapters with a Gaussian first factor."""

    reference_kl_rate = 0.01

    @property
    def shares_prefix(self) -> bool:  # type: ignore[override]
        """Return whether one draw of the weights serves the whole batch of a slot."""
        return self.spec.variational.flipout == "none"

    def initialise(self) -> None:
        """Start at the reference's means and deviations."""
        super().initialise()
        seeds = [slot.stream_seed() for slot in self.slots]
        self._deviations: dict[str, nn.Parameter] = {}
        for path, layer in self.stack.layers.items():
            start = blob_start(seeds, path, layer.rank, layer.in_features, self.spec.variational.initial_deviation)
            with torch.no_grad():
                layer.a.copy_(start.mean)
            root = start.root if self._squares() else parameter_of(reference_deviation_of(start.root))
            self._deviations[path] = nn.Parameter(root.to(layer.a.device))

    def _squares(self) -> bool:
        return self.spec.mode == "faithful"

    def _deviation(self, path: str) -> Tensor:
        parameter = self._deviations[path]
        return reference_deviation_of(parameter) if self._squares() else deviation_of(parameter)

    def deviation_parameters(self) -> list[nn.Parameter]:
        """Return ρ of every layer."""
        return list(self._deviations.values())

    def divergence(self) -> Tensor:
        """Return the divergence between posterior and prior over all layers, ``[K]``."""
        variational = self.spec.variational
        total = torch.zeros(len(self.slots))
        for path, layer in self.stack.layers.items():
            if self._squares() and variational.kl_direction == "posterior_to_prior":
                own = reference_blob_divergence(layer.a, self._deviation(path), variational.prior_deviation)
            else:
                own = gaussian_divergence(
                    layer.a, self._deviation(path), 0.0, variational.prior_deviation, variational.kl_direction
                )
            total = total.to(own.device) + own
        return total

    def perturb(self, step: int) -> None:
        """Draw E for every slot, and set how it reaches the examples."""
        granularity = self.spec.variational.flipout
        for path, layer in self.stack.layers.items():
            shape = (layer.rank, layer.in_features)
            drawn = [
                random_stream(slot.stream_seed(), f"training noise/{path}", step).standard_normal(shape, np.float32)
                for slot in self.slots
            ]
            noise = self._deviation(path) * per_slot([torch.from_numpy(one) for one in drawn], layer.a.device)

            def project(
                inputs: Tensor, a: Tensor, slots: Tensor | None, noise: Tensor = noise, path: str = path
            ) -> Tensor:
                own = noise if slots is None else noise[slots]
                if granularity == "none":
                    return low_rank_codes(inputs, a + own)
                means = low_rank_codes(inputs, a)
                sizes = {"in": inputs.shape[-1], "out": a.shape[1]}
                signs = [self._signs(path, step, inputs, slots, end, size) for end, size in sizes.items()]
                return means + flipout(inputs, own.to(inputs.dtype), *signs)

            layer.projection = project

    def _signs(self, path: str, step: int, inputs: Tensor, slots: Tensor | None, end: str, size: int) -> Tensor:
        blocks, rows, tokens, _ = inputs.shape
        per_token = self.spec.variational.flipout == "per_token"
        positions = range(blocks) if slots is None else slots.tolist()
        count = rows * (tokens if per_token else 1)
        signs = [
            random_signs(self.slots[k].stream_seed(), f"flipout {end}/{path}", step, count=count, size=size)
            for k in positions
        ]
        if per_token:
            # Tokens lead, so that padding for a longer prompt of another slot leaves the signs of a token as they are.
            return torch.stack(signs).reshape(blocks, tokens, rows, size).transpose(1, 2).to(inputs)
        return torch.stack(signs).reshape(blocks, rows, size).to(inputs)

    def settle(self) -> None:
        """Take the noise away."""
        for layer in self.stack.layers.values():
            layer.projection = None

    def measured(self) -> Mapping[str, Tensor]:
        """Return the divergence and the mean deviation of each slot."""
        with torch.no_grad():
            widths = torch.stack([self._deviation(path).flatten(1).mean(1) for path in self.stack.layers])
            return {"divergence": self.divergence(), "mean_deviation": widths.mean(0)}

    def posterior(self, position: int) -> AdapterPosterior:
        """Return M, B and Ω."""
        with torch.no_grad():
            tensors = {
                f"{path}.standard_deviation": self._deviation(path)[position].clone().cpu()
                for path in self.stack.layers
            }
        settings = {"prior_standard_deviation": self.spec.variational.prior_deviation}
        return AdapterPosterior(self.spec.method, self.stack.export(position), tensors, settings)


METHOD = BayesByBackprop
