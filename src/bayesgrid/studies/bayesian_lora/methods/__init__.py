"""One file per method: what it adds to the training of plain adapters, or how it is fitted to a trained one."""

import importlib
from types import ModuleType

from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.methods.interface import PosteriorFit, TrainedMethod

__all__ = ["posterior_fit", "trained_method"]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def trained_method(spec: FitSpec) -> type[TrainedMethod]:
    """Return the class that trains ``spec.method``."""
    method: type[TrainedMethod] = _module(spec.method).METHOD
    return method


def posterior_fit(spec: FitSpec) -> PosteriorFit:
    """Return the function that fits ``spec.method`` to a trained adapter."""
    fit: PosteriorFit = _module(spec.method).fit_posterior
    return fit
