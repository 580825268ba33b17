"""Maximum a posteriori under θ ~ N(0, σ²) on all factors: ‖θ‖² / (2 N σ²) joins the mean loss.

``mode: faithful`` has no such term but AdamW's decoupled decay of 0.01, which shrinks the weights by a quarter of a
percent over a whole run: the reference's MAP is its MLE under another name.
"""

from torch import Tensor

from bayesgrid.studies.bayesian_lora.divergences import prior_energy
from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod

__all__ = ["METHOD", "MaximumAPosteriori"]


class MaximumAPosteriori(TrainedMethod):
    """Adapters at the mode of their posterior."""

    def penalty(self, step: int) -> Tensor | None:
        """Return the prior's energy per training example, ``[K]``."""
        if self.spec.mode == "faithful":
            return None
        return prior_energy(self.stack.parameters(), self.spec.map.standard_deviation) / self.examples


METHOD = MaximumAPosteriori
