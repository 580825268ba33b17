"""Laplace's approximation with a Kronecker-factored curvature of every adapter matrix (Yang et al., 2023, 2308.13111).

By default the curvature of a matrix is diagonal in the eigenvectors of its own gradients, where the diagonal, and so
the trace, is that of the exact Gauss-Newton matrix; padding has no gradient and cannot enter. The prior precision is
the maximum of the evidence. ``mode: faithful`` sums inputs and gradients over all tokens, padding included, as if a
prompt were one position, which makes the curvature too large, and takes the prior precision that 100 steps of Adam
reach.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from bayesgrid.adapters.adapter_posterior import JSON
from bayesgrid.adapters.low_rank import AdapterWeights
from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel
from bayesgrid.studies.bayesian_lora.answer_jacobian import answer_jacobian
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.fit_parameters import Scope
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.laplace.adapter_offsets import factor_matrices
from bayesgrid.studies.bayesian_lora.laplace.dual import training_log_likelihood
from bayesgrid.studies.bayesian_lora.laplace.evidence import effective_parameters
from bayesgrid.studies.bayesian_lora.laplace.kronecker import (
    KroneckerBlock,
    eigenvalue_corrected_block,
    fit_kronecker_laplace,
    token_summed_block,
)
from bayesgrid.studies.bayesian_lora.laplace.prior_precision import chosen_precision, precision_metrics
from bayesgrid.studies.bayesian_lora.laplace.softmax_curvature import curvature_factors
from bayesgrid.studies.bayesian_lora.methods.interface import FittedPosterior
from bayesgrid.studies.bayesian_lora.token_sums import token_sums

__all__ = ["exact_trace_blocks", "fit_posterior", "token_summed_blocks", "token_sums"]

_Progress = Callable[[int, int], None]

_NEGLIGIBLE = 1e-4
"""Curvature in units of the prior precision below which a direction is dropped: that share of a variance is lost."""


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
    faithful = spec.mode == "faithful"

    def progress(done: int, total: int) -> None:
        context.progress(f"seed {seed}, gradients", done, total)

    if faithful:
        blocks, logits = token_summed_blocks(
            adapted, task, parent.mean, laplace.scope, batch=spec.training.batch_size, progress=progress
        )
    else:
        blocks, logits = exact_trace_blocks(adapted, task, parent.mean, laplace.scope, progress=progress)
    covered = {name.rpartition(".")[0] for name in blocks}
    pairs = [pair for name, pair in parent.mean.pairs.items() if name in covered]
    fitted = fit_kronecker_laplace(
        blocks,
        sum(float(factor.double().square().sum()) for pair in pairs for factor in (pair.a, pair.b)),
        training_log_likelihood(logits, torch.from_numpy(task.answers), torch.from_numpy(task.options)),
        precision=chosen_precision(laplace, parent),
        faithful=faithful,
    )
    spectrum = torch.cat([block.eigenvalues.flatten() for block in blocks.values()])
    measured = {
        **precision_metrics(fitted.precision, parent, spectrum, fitted.squared_norm, fitted.log_likelihood),
        "effective_parameters": effective_parameters(spectrum, fitted.precision),
        "log_evidence": fitted.log_evidence,
    }
    settings: dict[str, JSON] = {
        "structure": "kronecker",
        "scope": laplace.scope,
        "logit_draws": laplace.logit_draws,
    }
    kept = replace(fitted, blocks={name: _of_weight(block, fitted.precision) for name, block in blocks.items()})
    return FittedPosterior(AdapterPosterior("laplace", parent.mean, kept.tensors(), settings), measured)


def _of_weight(block: KroneckerBlock, precision: float) -> KroneckerBlock:
    """Return the block without directions whose curvature is negligible beside the prior's.

    Bases as wide as a layer would make the stored posterior many times larger than the adapter.
    """
    rows, columns = (block.eigenvalues.amax(dim) > _NEGLIGIBLE * precision for dim in (1, 0))
    return KroneckerBlock(
        block.output_basis[:, rows], block.input_basis[:, columns], block.eigenvalues[rows][:, columns]
    )


def exact_trace_blocks(
    adapted: AdaptedModel,
    task: AnswerTask,
    weights: AdapterWeights,
    scope: Scope,
    *,
    progress: _Progress | None = None,
) -> tuple[dict[str, KroneckerBlock], Tensor]:
    """Return the curvature of every adapter matrix with the exact trace, and the logits ``[N, C]``.

    Blocks are named ``<layer>.a`` and ``<layer>.b``.

    Args:
        adapted: its stack is resized.
        task: prepared for the model.
        weights: the adapter to linearise at.
        scope: ``head`` leaves the layers of the backbone out.
        progress: called with questions done and questions in all.
    """
    jacobian, logits = answer_jacobian(adapted, task, weights, scope, progress=progress)
    factors = curvature_factors(logits, torch.from_numpy(task.options), differences=True).float()
    blocks = {}
    for name in list(jacobian):
        # S^T J: what the sum over tokens of gradient times input is, for each curvature output.
        curved = torch.einsum("ndk,ndp->nkp", factors, jacobian.pop(name))
        for factor, gradients in zip("ab", factor_matrices(curved, weights.pairs[name]), strict=True):
            block = eigenvalue_corrected_block(gradients.to(adapted.device))
            blocks[f"{name}.{factor}"] = KroneckerBlock(
                block.output_basis.cpu(), block.input_basis.cpu(), block.eigenvalues.cpu()
            )
    return blocks, logits


def token_summed_blocks(
    adapted: AdaptedModel,
    task: AnswerTask,
    weights: AdapterWeights,
    scope: Scope,
    *,
    batch: int,
    progress: _Progress | None = None,
) -> tuple[dict[str, KroneckerBlock], Tensor]:
    """Return the reference code's curvature of every adapter matrix, and the logits ``[N, C]``.

    Args:
        adapted: its stack is resized.
        task: prepared for the model.
        weights: the adapter to linearise at.
        scope: ``head`` leaves the layers of the backbone out.
        batch: prompts together; their padding enters the sums.
        progress: called with questions done and questions in all.
    """
    sums, logits = token_sums(adapted, task, weights, scope, batch=batch, progress=progress)
    # Token sums are sequences of one token.
    return {
        name: token_summed_block(inputs[:, None], gradients[:, :, None]) for name, (inputs, gradients) in sums.items()
    }, logits
