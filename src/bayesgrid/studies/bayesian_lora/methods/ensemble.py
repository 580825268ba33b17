"""An ensemble of adapters (Lakshminarayanan et al., 2017): members with a start and an order of examples of their own.

``mode: faithful`` shows all members the same batches, as the reference does.
"""

from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.methods.interface import Slot, TrainedMethod

__all__ = ["METHOD", "Ensemble"]


class Ensemble(TrainedMethod):
    """Members trained side by side, each by its own loss."""

    @staticmethod
    def slots_of(spec: FitSpec) -> tuple[Slot, ...]:
        """Return all members of the first seed, then of the next."""
        return tuple(Slot(seed, member) for seed in spec.seeds for member in range(spec.ensemble.members))

    def order_seed(self, slot: Slot) -> int:
        """Return the member's own seed, or the one all members share."""
        return slot.seed if self.spec.ensemble.order == "shared" else slot.stream_seed()

    def posterior(self, position: int) -> AdapterPosterior:
        """Return the members; the first stands for the mean, which an ensemble does not have."""
        count = self.spec.ensemble.members
        members = tuple(self.stack.export(position * count + member) for member in range(count))
        return AdapterPosterior(self.spec.method, members[0], {}, {"members": count}, members)


METHOD = Ensemble
