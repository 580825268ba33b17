"""TFB (Shi et al., 2024, arXiv 2412.05723): the widest noise around a trained adapter that its training loss tolerates.

In the singular basis of B, noise of deviation σ / d_i on row i of A' spreads evenly over the directions B can reach.
The width σ is the largest for which the loss on anchor questions, by default against the adapter's own answers, changes
by no more than a tolerance. ``mode: faithful`` searches as the reference does: on all labelled training questions,
returning the smallest midpoint that breaks the tolerance.
"""

import numpy as np
import torch
from torch import Tensor

from bayesgrid.adapters.adapter_posterior import JSON
from bayesgrid.adapters.draws import draw_adapters
from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.adapters.posterior_files import AdapterPosterior
from bayesgrid.store.execution import RunContext
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask, chosen_questions
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.methods.interface import FittedPosterior
from bayesgrid.studies.bayesian_lora.prediction import predict
from bayesgrid.studies.bayesian_lora.singular_basis import SingularBasis, rotate_to_singular_basis
from bayesgrid.studies.bayesian_lora.training import answer_losses
from bayesgrid.studies.bayesian_lora.width_search import Criterion, largest_feasible, loss_change, reference_width

__all__ = ["fit_posterior"]


def fit_posterior(
    spec: FitSpec,
    parent: AdapterPosterior,
    adapted: AdaptedModel,
    task: AnswerTask,
    seed: int,
    context: RunContext,
) -> FittedPosterior:
    """Return the widened adapter; see :class:`PosteriorFit`."""
    width = spec.width
    bases = {name: rotate_to_singular_basis(pair.a[None], pair.b[None]) for name, pair in parent.mean.pairs.items()}
    widened = [ANSWER_HEAD] if width.scope == "head" else sorted(bases)
    anchors = task.rows(chosen_questions(len(task), width.anchors, "anchors"))
    options = torch.from_numpy(anchors.options)
    means = torch.from_numpy(predict(adapted, anchors, [parent.mean])).double()[0]
    offered = torch.arange(means.shape[1]) < options[:, None]
    predicted = means.masked_fill(~offered, -torch.inf).argmax(1)
    targets = predicted if width.targets == "predicted" else torch.from_numpy(anchors.answers)
    reference_loss = float(answer_losses(means, targets, options).mean())
    tried = 0

    def log_likelihoods(sigma: float) -> Tensor:
        nonlocal tried
        tried += 1
        context.progress(f"seed {seed}, widths tried", tried, 10)
        # The same noise for every width, so that the criterion is a smooth function of the width alone.
        posterior = _posterior(parent, bases, widened, sigma)
        draws = list(draw_adapters(posterior, range(width.draws), seed=seed, purpose="width search"))
        logits = torch.from_numpy(predict(adapted, anchors, draws)).double()
        return torch.stack([-answer_losses(one, targets, options) for one in logits])

    def change(sigma: float) -> Criterion:
        return loss_change(
            log_likelihoods(sigma),
            reference_loss,
            relative=width.relative_tolerance,
            absolute=width.absolute_tolerance,
        )

    if width.search == "smallest_violating":
        sigma = reference_width(
            # A memorised training set has a loss that rounds to 0; every width then violates, as it should.
            lambda tried_width: change(tried_width).change / max(reference_loss, 1e-12),
            threshold=width.relative_tolerance,
        )
        measured = {"width": sigma, "width_evaluations": float(tried)}
    else:
        found = largest_feasible(change)
        sigma = found.width
        last = max((one for one in found.evaluations if one.width <= sigma), key=lambda one: one.width, default=None)
        measured = {
            "width": sigma,
            "width_evaluations": float(len(found.evaluations)),
            "width_undecided": float(len(found.undecided)),
            "width_found": float(found.status == "found"),
            "width_change": last.criterion.change if last else float("nan"),
        }
    measured = {name: value for name, value in measured.items() if np.isfinite(value)}
    measured |= {"reference_loss": reference_loss, "anchors": float(len(anchors))}
    return FittedPosterior(_posterior(parent, bases, widened, sigma), measured)


def _posterior(
    parent: AdapterPosterior, bases: dict[str, SingularBasis], widened: list[str], sigma: float
) -> AdapterPosterior:
    pairs = {name: LowRankPair(basis.a[0], basis.b[0]) for name, basis in bases.items()}
    tensors = {f"{name}.row_standard_deviation": bases[name].noise_deviation(sigma)[0, :, 0] for name in widened}
    still = [name for name in sorted(bases) if name not in widened]
    settings: dict[str, JSON] = {"width": sigma}
    if still:
        settings["deterministic_modules"] = [*still]
    return AdapterPosterior("tfb", AdapterWeights(pairs, parent.mean.scaling), tensors, settings)
