"""MC dropout (Gal and Ghahramani, 2016) on the inputs of the adapters, kept at prediction.

A draw is one mask of each layer's inputs for all questions, so that it is one function. Training masks are drawn for
every example; ``mode: faithful`` draws one for every token, which averages out over a sequence.
"""

from collections.abc import Mapping

from torch import Tensor

from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.adapters.stacked import low_rank_codes
from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod, per_slot
from bayesgrid.studies.bayesian_lora.perturbations import drop_inputs, dropout_masks

__all__ = ["METHOD", "MonteCarloDropout"]


class MonteCarloDropout(TrainedMethod):
    """Adapters trained under dropout of their inputs."""

    shares_prefix = False

    def perturb(self, step: int) -> None:
        """Set the masks of ``step``."""
        probability, per_token = self.spec.dropout.probability, self.spec.dropout.mask == "per_token"
        for path, layer in self.stack.layers.items():

            def project(inputs: Tensor, a: Tensor, slots: Tensor | None, path: str = path) -> Tensor:
                blocks, count, tokens, size = inputs.shape
                positions = range(blocks) if slots is None else slots.tolist()
                masks = per_slot(
                    [
                        dropout_masks(
                            self.slots[k].stream_seed(),
                            f"training dropout/{path}",
                            step,
                            count=count * (tokens if per_token else 1),
                            size=size,
                            probability=probability,
                        )
                        for k in positions
                    ],
                    inputs.device,
                )
                if per_token:
                    # Tokens lead, so that padding for another slot's prompt leaves a token's mask as it is.
                    masks = masks.reshape(blocks, tokens, count, size).transpose(1, 2)
                dropped = drop_inputs(inputs, masks.to(inputs.dtype))
                return low_rank_codes(dropped, a)

            layer.projection = project

    def settle(self) -> None:
        """Take the masks away."""
        for layer in self.stack.layers.values():
            layer.projection = None

    def posterior(self, position: int) -> AdapterPosterior:
        """Return the weights and the probability with which their inputs are dropped."""
        settings: Mapping[str, float] = {"dropout": self.spec.dropout.probability}
        return AdapterPosterior(self.spec.method, self.stack.export(position), {}, settings)


METHOD = MonteCarloDropout
