"""Maximum a posteriori under θ ~ N(0, σ²) on all factors: ‖θ‖² / (2 N σ²) joins the mean loss.

``mode: faithful`` has no such term but AdamW's decoupled decay of 0.01, which shrinks the weights by a quarter of a
percent over a whole run: the reference's MAP is its MLE under another name.
"""

from dataclasses import replace

import torch
from torch import Tensor

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.studies.bayesian_lora.divergences import prior_energy
from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod

__all__ = ["METHOD", "MaximumAPosteriori"]


class MaximumAPosteriori(TrainedMethod):
    """Adapters at the mode of their posterior."""

    def penalty(self, step: int) -> Tensor | None:
        """Return the prior's energy per training example, ``[K]``."""
        if self.spec.mode == "faithful":
            return None
        energy = prior_energy(self.stack.parameters(), self.spec.map.standard_deviation)
        return energy / torch.tensor(self.examples).to(energy)

    def posterior(self, position: int) -> AdapterPosterior:
        """Return the weights, and the prior they were trained with."""
        learnt = super().posterior(position)
        if self.spec.mode == "faithful":
            return learnt
        return replace(learnt, settings={"prior_standard_deviation": self.spec.map.standard_deviation})


METHOD = MaximumAPosteriori
