"""Laplace's approximation with the exact Gauss-Newton curvature (Yang et al., 2023, arXiv 2308.13111, without factors).

The posterior over all adapter weights is Gaussian around a trained adapter; its curvature has at most N (C − 1)
directions, so it is kept in their dual form, exactly. Answers are those of the linearised model. The prior precision is
the maximum of the evidence by default. The reference has no such method: its Laplace is ``laplace_kronecker``.
"""

import torch

from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel
from bayesgrid.studies.bayesian_lora.answer_jacobian import answer_jacobian
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.laplace.dual import fit_dual_laplace
from bayesgrid.studies.bayesian_lora.laplace.prior_precision import chosen_precision, precision_metrics
from bayesgrid.studies.bayesian_lora.methods.interface import FittedPosterior

__all__ = ["fit_posterior"]


def fit_posterior(
    spec: FitSpec,
    parent: AdapterPosterior,
    adapted: AdaptedModel,
    task: AnswerTask,
    seed: int,
    context: RunContext,
) -> FittedPosterior:
    """Return the posterior around the parent's mean; see :class:`PosteriorFit`."""
    laplace = spec.laplace
    jacobian, logits = answer_jacobian(
        adapted,
        task,
        parent.mean,
        laplace.scope,
        progress=lambda done, total: context.progress(f"seed {seed}, gradients", done, total),
    )
    pairs = {name: parent.mean.pairs[name] for name in jacobian}
    squared_norm = sum(float(factor.double().square().sum()) for pair in pairs.values() for factor in (pair.a, pair.b))
    fitted = fit_dual_laplace(
        jacobian,
        logits,
        torch.from_numpy(task.answers),
        squared_norm,
        options=torch.from_numpy(task.options),
        precision=chosen_precision(laplace, parent),
        overwrite=True,
        product_type=torch.float32,
    )
    measured = {
        **precision_metrics(fitted.precision, parent, fitted.eigenvalues, squared_norm, fitted.log_likelihood),
        "effective_parameters": fitted.effective_parameters,
        "log_evidence": fitted.log_evidence,
    }
    settings = {"structure": "dual", "scope": laplace.scope, "logit_draws": laplace.logit_draws}
    return FittedPosterior(AdapterPosterior("laplace", parent.mean, fitted.tensors(), settings), measured)
