"""How precise the prior is: the Laplace evidence of one scalar prior precision, and where it is largest.

With curvature eigenvalues kappa and the mean theta*,

    log p(D | delta) = log p(D | theta*) - (sum_i log(1 + kappa_i / delta) + delta |theta*|^2) / 2.

In u = log delta its derivative is ``(gamma(delta) - delta |theta*|^2) / 2`` with gamma = sum_i kappa_i / (kappa_i +
delta), the number of well-determined parameters. That derivative falls strictly, so the evidence is concave in u and
has one maximum, MacKay's fixed point ``delta = gamma(delta) / |theta*|^2``.

The formula expands around theta* as if it were the mode of the posterior under ``delta``. That holds only for an
adapter trained with that prior (MAP with ``sigma_p = delta^-1/2``, or training and this fixed point in turn). On a
maximum-likelihood adapter the curvature and the predictive covariance are what they are, but the evidence leaves out
the linear term of the expansion, and delta is a heuristic, as in the reference implementation.

Source: MacKay (1992), A practical Bayesian framework for backpropagation networks, Neural Computation 4;
Yang et al., Bayesian low-rank adaptation for large language models, arXiv 2308.13111, section 3.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesgrid.errors import NumericalError

__all__ = [
    "EvidenceMaximum",
    "adam_prior_precision",
    "effective_parameters",
    "log_determinant_ratio",
    "log_evidence",
    "maximise_evidence",
]


@dataclass(frozen=True)
class EvidenceMaximum:
    """Where the evidence is largest.

    Args:
        precision: delta.
        log_evidence: the maximum.
        effective_parameters: gamma at delta.
        iterations: evaluations of gamma that were needed.
    """

    precision: float
    log_evidence: float
    effective_parameters: float
    iterations: int


def log_determinant_ratio(eigenvalues: Tensor, precision: float) -> float:
    """Return ``logdet(curvature + delta I) - logdet(delta I) = sum_i log(1 + kappa_i / delta)``."""
    return float((eigenvalues.double() / precision).log1p().sum())


def effective_parameters(eigenvalues: Tensor, precision: float) -> float:
    """Return gamma, the number of directions that the data determine: ``sum_i kappa_i / (kappa_i + delta)``."""
    wide = eigenvalues.double()
    return float((wide / (wide + precision)).sum())


def log_evidence(eigenvalues: Tensor, precision: float, squared_norm: float, log_likelihood: float) -> float:
    """Return the Laplace approximation of ``log p(D | delta)``.

    Args:
        eigenvalues: kappa, non-negative, any shape; zeros change nothing.
        precision: delta.
        squared_norm: ``|theta*|^2``.
        log_likelihood: ``log p(D | theta*)``, summed over the training examples.
    """
    return log_likelihood - (log_determinant_ratio(eigenvalues, precision) + precision * squared_norm) / 2


def maximise_evidence(
    eigenvalues: Tensor, squared_norm: float, log_likelihood: float, *, tolerance: float = 1e-13
) -> EvidenceMaximum:
    """Return MacKay's fixed point.

    The plain iteration ``u <- log gamma(u) - log |theta*|^2`` contracts, but its slope comes near -1 where the data are
    weak; Newton's step divides the same update by one minus the slope. The slope of the gap lies between -2 and -1 for
    every u, so each step leaves less than the whole error, whatever the start, and no bracket is needed.

    Args:
        eigenvalues: kappa, non-negative.
        squared_norm: ``|theta*|^2``.
        log_likelihood: ``log p(D | theta*)``.
        tolerance: greatest last step in log delta.

    Raises:
        NumericalError: if the evidence has no maximum, because the mean or the curvature is zero, or is not finite.
    """
    curvature = eigenvalues.double().flatten()
    curvature = curvature[curvature > 0]
    if not (0 < squared_norm < math.inf) or len(curvature) == 0 or not bool(torch.isfinite(curvature).all()):
        raise NumericalError(
            "the evidence has no maximum in the prior precision",
            given=f"squared norm of the weights {squared_norm}, {len(curvature)} positive curvature eigenvalues",
            remedy="fix the prior precision, or train the adapter before fitting the posterior",
        )
    position = math.log(effective_parameters(curvature, 1.0) / squared_norm)
    for iteration in range(1, 201):
        fractions = curvature / (curvature + math.exp(position))
        gamma = float(fractions.sum())
        gap = math.log(gamma) - math.log(squared_norm) - position
        slope = float((fractions * (1.0 - fractions)).sum()) / gamma
        proposal = position + gap / (1.0 + slope)
        if abs(proposal - position) <= tolerance * max(1.0, abs(position)):
            precision = math.exp(proposal)
            return EvidenceMaximum(
                precision=precision,
                log_evidence=log_evidence(curvature, precision, squared_norm, log_likelihood),
                effective_parameters=effective_parameters(curvature, precision),
                iterations=iteration,
            )
        position = proposal
    raise NumericalError("the prior precision did not converge", given=f"log precision near {position}")


def adam_prior_precision(
    eigenvalues: Tensor, squared_norm: float, *, steps: int = 100, learning_rate: float = 0.1, initial: float = 1.0
) -> float:
    """Return delta after ``steps`` Adam steps on the evidence in log delta: what the reference implementation does.

    It moves log delta by at most about ``steps * learning_rate``, and stops wherever it then is.

    Args:
        eigenvalues: kappa, non-negative.
        squared_norm: ``|theta*|^2``.
        steps: number of Adam steps.
        learning_rate: of Adam, in log delta.
        initial: delta at the start.
    """
    curvature = eigenvalues.double().flatten()
    log_precision = torch.tensor(math.log(initial), dtype=torch.float64, device=curvature.device, requires_grad=True)
    optimiser = torch.optim.Adam([log_precision], lr=learning_rate)
    for _ in range(steps):
        optimiser.zero_grad()
        precision = log_precision.exp()
        loss = ((curvature / precision).log1p().sum() + precision * squared_norm) / 2
        loss.backward()
        optimiser.step()
    return float(log_precision.detach().exp())
