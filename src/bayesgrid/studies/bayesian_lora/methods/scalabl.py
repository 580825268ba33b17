"""ScalaBL (Samplawski et al., 2025, arXiv 2506.21408): ΔW = γ B diag(s) V with a Gaussian over s alone.

q(s) = N(μ, σ²) per layer, r values each, prior N(0, 1); V starts as the right singular vectors of a random draw and is
learnt like B. One draw of s serves a whole batch. ``mode: faithful`` computes KL(p‖q) against the prior that the
reference's aliased tensor makes, and steps it by a gradient descent of its own.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bayesgrid.adapters.low_rank import AdapterWeights, LowRankPair
from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.adapters.stacked import low_rank_codes
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.divergences import gaussian_divergence
from bayesgrid.studies.bayesian_lora.methods.interface import per_slot
from bayesgrid.studies.bayesian_lora.methods.variational import VariationalMethod
from bayesgrid.studies.bayesian_lora.reference_initialisation import (
    GaussianPrior,
    aliased_prior,
    deviation_of,
    parameter_of,
    scalabl_start,
)

__all__ = ["METHOD", "ScaledDirections"]


class ScaledDirections(VariationalMethod):
    """Adapters whose directions are learnt and whose scales are Gaussian."""

    reference_kl_rate = 0.2

    def initialise(self) -> None:
        """Start at singular vectors and values of a random draw."""
        super().initialise()
        seeds = [slot.stream_seed() for slot in self.slots]
        self._log_scales: dict[str, nn.Parameter] = {}
        self._deviations: dict[str, nn.Parameter] = {}
        self._priors: dict[str, GaussianPrior] = {}
        aliased = self.spec.variational.prior == "aliased"
        for path, layer in self.stack.layers.items():
            start = scalabl_start(seeds, path, layer.rank, layer.in_features, self.spec.variational.initial_deviation)
            device = layer.a.device
            with torch.no_grad():
                layer.a.copy_(start.directions)
            self._log_scales[path] = nn.Parameter(start.mean.log().to(device))
            raw = start.deviation.log() if self._exponentiates() else parameter_of(start.deviation)
            self._deviations[path] = nn.Parameter(raw.to(device))
            prior = aliased_prior(start.deviation) if aliased else GaussianPrior(torch.tensor(0.0), torch.tensor(1.0))
            self._priors[path] = GaussianPrior(prior.mean.to(device), prior.deviation.to(device))
        self.settle()

    def _exponentiates(self) -> bool:
        return self.spec.mode == "faithful"

    def _deviation(self, path: str) -> Tensor:
        parameter = self._deviations[path]
        return parameter.exp() if self._exponentiates() else deviation_of(parameter)

    def mean_parameters(self) -> list[nn.Parameter]:
        """Return directions, second factors and the logarithms of the mean scales."""
        return [*self.stack.parameters(), *self._log_scales.values()]

    def deviation_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of σ, r for every layer."""
        return list(self._deviations.values())

    def divergence(self) -> Tensor:
        """Return the divergence between posterior and prior over all layers, ``[K]``."""
        total = torch.zeros(len(self.slots))
        for path in self.stack.layers:
            prior = self._priors[path]
            own = gaussian_divergence(
                self._log_scales[path].exp(),
                self._deviation(path),
                prior.mean,
                prior.deviation,
                self.spec.variational.kl_direction,
            )
            total = total.to(own.device) + own
        return total

    def _scale_by(self, path: str, scales: Tensor) -> None:
        def project(inputs: Tensor, a: Tensor, slots: Tensor | None) -> Tensor:
            own = (scales if slots is None else scales[slots]).to(inputs.dtype)
            return low_rank_codes(inputs, a) * own[:, None, None]

        self.stack.layers[path].projection = project

    def perturb(self, step: int) -> None:
        """Draw s for every slot."""
        for path, layer in self.stack.layers.items():
            drawn = [
                random_stream(slot.stream_seed(), f"training noise/{path}", step).standard_normal(
                    layer.rank, np.float32
                )
                for slot in self.slots
            ]
            noise = per_slot([torch.from_numpy(one) for one in drawn], layer.a.device)
            self._scale_by(path, self._log_scales[path].exp() + self._deviation(path) * noise)

    def settle(self) -> None:
        """Put the scales at their means."""
        for path in self.stack.layers:
            self._scale_by(path, self._log_scales[path].detach().exp())

    def measured(self) -> Mapping[str, Tensor]:
        """Return divergence, mean deviation and mean scale of each slot."""
        with torch.no_grad():
            widths = torch.stack([self._deviation(path).mean(1) for path in self.stack.layers]).mean(0)
            scales = torch.stack([self._log_scales[path].exp().mean(1) for path in self.stack.layers]).mean(0)
            return {"divergence": self.divergence(), "mean_deviation": widths, "mean_scale": scales}

    def posterior(self, position: int) -> AdapterPosterior:
        """Return the mean adapter diag(μ) V, B, and what its draws need."""
        plain = self.stack.export(position)
        tensors: dict[str, Tensor] = {}
        pairs: dict[str, LowRankPair] = {}
        with torch.no_grad():
            for path, pair in plain.pairs.items():
                mean = self._log_scales[path][position].exp().cpu()
                tensors[f"{path}.scale_mean"] = mean
                tensors[f"{path}.scale_standard_deviation"] = self._deviation(path)[position].clone().cpu()
                tensors[f"{path}.right"] = pair.a
                pairs[path] = LowRankPair(mean[:, None] * pair.a, pair.b)
        settings = {"prior": self.spec.variational.prior}
        return AdapterPosterior(self.spec.method, AdapterWeights(pairs, plain.scaling), tensors, settings)


METHOD = ScaledDirections
