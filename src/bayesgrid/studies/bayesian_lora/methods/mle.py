"""Maximum likelihood: plain LoRA (Hu et al., 2021), the point every other method starts from or is compared with."""

from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod

__all__ = ["METHOD"]

METHOD = TrainedMethod
