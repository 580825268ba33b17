"""Whose prior a Laplace posterior has: the one of largest evidence, its parent's, or a given one."""

from contextlib import suppress

from torch import Tensor

from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.errors import NumericalError, StateError
from bayesgrid.studies.bayesian_lora.fit_parameters import LaplaceSpec
from bayesgrid.studies.bayesian_lora.laplace.evidence import maximise_evidence

__all__ = ["chosen_precision", "parent_precision", "precision_metrics"]


def parent_precision(parent: AdapterPosterior) -> float | None:
    """Return 1 / σ² of the prior N(0, σ²) that ``parent`` was trained with; None if it had none."""
    deviation = parent.settings.get("prior_standard_deviation")
    return None if not isinstance(deviation, int | float) else float(deviation) ** -2


def chosen_precision(laplace: LaplaceSpec, parent: AdapterPosterior) -> float | None:
    """Return the prior precision that ``laplace.prior_precision`` names; None if the evidence is to find it.

    Raises:
        StateError: if it is the parent's, and the parent names no prior.
    """
    if laplace.prior_precision == "evidence":
        return None
    if laplace.prior_precision != "parent":
        return laplace.prior_precision
    precision = parent_precision(parent)
    if precision is None:
        raise StateError(
            "the parent's posterior names no prior",
            where="key 'laplace.prior_precision'",
            given=f"parent, with a posterior of method {parent.method}",
            allowed="a map posterior with prior_standard_deviation among its settings",
            remedy="fit the parent again, or give the precision as a number",
        )
    return precision


def precision_metrics(
    used: float, parent: AdapterPosterior, eigenvalues: Tensor, squared_norm: float, log_likelihood: float
) -> dict[str, float]:
    """Return the precision that was used beside those of the evidence and of the parent's prior, as far as there are.

    The evidence takes the parent for the mode under every precision. It is the mode under its own prior alone, so a
    wide gap between the two says that either the prior of training or the evidence is off.

    Args:
        used: δ of the posterior.
        parent: what it was fitted to.
        eigenvalues: κ of the curvature, any shape.
        squared_norm: ``|theta*|^2``.
        log_likelihood: ``log p(D | theta*)``.
    """
    metrics = {"prior_precision": used}
    # A posterior of a given precision needs no maximum: an untrained adapter has none.
    with suppress(NumericalError):
        metrics["evidence_prior_precision"] = maximise_evidence(eigenvalues, squared_norm, log_likelihood).precision
    own = parent_precision(parent)
    return metrics if own is None else {**metrics, "parent_prior_precision": own}
