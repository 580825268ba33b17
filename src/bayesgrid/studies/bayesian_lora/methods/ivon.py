"""IVON-LoRA (Shen et al., 2024, arXiv 2402.17641; Cong et al., 2024, arXiv 2411.04421).

A diagonal Gaussian over both factors, learnt by a natural-gradient step that costs as much as Adam's.

q = N(m, 1 / (λ (h + δ))) with λ the effective sample size and δ the weight decay. Every step draws θ ~ q, and the
gradient there updates both m and the curvature h. The reference code has no such method.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod, per_slot

__all__ = ["METHOD", "VariationalOnlineNewton"]

_MOMENTUM = 0.9


class VariationalOnlineNewton(TrainedMethod):
    """Adapters with a Gaussian over both factors; the parameters in the stack are m but during a step."""

    def initialise(self) -> None:
        """Start at LoRA's usual weights with the initial curvature."""
        super().initialise()
        factors = self.stack.parameters()
        self._curvature = [nn.Parameter(torch.full_like(f, self.spec.ivon.initial_hessian), False) for f in factors]
        self._momentum = [nn.Parameter(torch.zeros_like(f), False) for f in factors]
        self._noise: list[Tensor] = []
        self._means: list[Tensor] = []

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the factors, their curvature and momentum, so that all of them are saved."""
        return {"factors": self.stack.parameters(), "curvature": self._curvature, "momentum": self._momentum}

    def peak_rates(self) -> dict[str, float]:
        """Return the rate of the natural-gradient step."""
        return {"factors": self.spec.ivon.learning_rate, "curvature": 0.0, "momentum": 0.0}

    def _sample_size(self) -> float:
        return self.spec.ivon.effective_sample_size

    def _deviation(self, curvature: Tensor) -> Tensor:
        return (self._sample_size() * (curvature + self.spec.ivon.weight_decay)).rsqrt()

    @torch.no_grad()
    def perturb(self, step: int) -> None:
        """Draw θ ~ q into the stack."""
        self._noise = []
        self._means = [factor.detach().clone() for factor in self.stack.parameters()]
        for index, (factor, curvature) in enumerate(zip(self.stack.parameters(), self._curvature, strict=True)):
            streams = [random_stream(slot.stream_seed(), f"training noise/{index}", step) for slot in self.slots]
            drawn = [torch.from_numpy(one.standard_normal(tuple(factor.shape[1:]), np.float32)) for one in streams]
            self._noise.append(per_slot(drawn, factor.device) * self._deviation(curvature))
            factor.add_(self._noise[-1])

    @torch.no_grad()
    def update(self, step: int, factor: float, active: Tensor) -> bool:
        """Take the natural-gradient step from the gradients at θ."""
        ivon = self.spec.ivon
        correction = 1 - _MOMENTUM ** (step + 1)
        for m, mean, h, momentum, noise in zip(
            self.stack.parameters(), self._means, self._curvature, self._momentum, self._noise, strict=True
        ):
            m.copy_(mean)
            moving = active.to(m.device).reshape(-1, *[1] * (m.dim() - 1))
            gradient = torch.zeros_like(m) if m.grad is None else m.grad
            # ĝ ε / σ with ε = (θ − m) / σ, an unbiased estimate of the curvature.
            seen = gradient * noise * self._sample_size() * (h + ivon.weight_decay)
            new_momentum = _MOMENTUM * momentum + (1 - _MOMENTUM) * gradient
            keep = ivon.hessian_decay
            correction_term = 0.5 * (1 - keep) ** 2 * (h - seen).square() / (h + ivon.weight_decay)
            new_h = keep * h + (1 - keep) * seen + correction_term
            direction = (new_momentum / correction + ivon.weight_decay * m) / (new_h + ivon.weight_decay)
            new_m = m - ivon.learning_rate * factor * direction.clamp(-ivon.clip, ivon.clip)
            for tensor, new in ((m, new_m), (h, new_h), (momentum, new_momentum)):
                tensor.copy_(torch.where(moving, new, tensor))
        return True

    def measured(self) -> Mapping[str, Tensor]:
        """Return the mean deviation of each slot."""
        with torch.no_grad():
            widths = torch.stack([self._deviation(h).flatten(1).mean(1) for h in self._curvature])
            return {"mean_deviation": widths.mean(0)}

    def posterior(self, position: int) -> AdapterPosterior:
        """Return m and the deviations of both factors."""
        with torch.no_grad():
            deviations = [self._deviation(h)[position].clone().cpu() for h in self._curvature]
        names = [f"{path}.{factor}_standard_deviation" for path in self.stack.layers for factor in ("a", "b")]
        tensors = dict(zip(names, deviations, strict=True))
        return AdapterPosterior("ivon", self.stack.export(position), tensors, {})


METHOD = VariationalOnlineNewton
