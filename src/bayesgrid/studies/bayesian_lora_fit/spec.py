"""Run specification of a fit, under the name by which the registry looks for it."""

from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec

__all__ = ["SPEC"]

SPEC = FitSpec
