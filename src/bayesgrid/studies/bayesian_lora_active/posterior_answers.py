"""What the draws of one fitted posterior answer, and how its mean sees questions."""

import numpy as np
import torch
from numpy.typing import NDArray

from bayesgrid.adapters.adapter_posterior import POINT_METHODS, AdapterPosterior
from bayesgrid.adapters.draws import draw_adapters
from bayesgrid.models.prompt_tokens import token_buckets
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel, tokens_at_once
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.laplace_prediction import predict_laplace
from bayesgrid.studies.bayesian_lora.methods.reference_noise import NOISY_METHODS, reference_noise
from bayesgrid.studies.bayesian_lora.prediction import predict
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec

__all__ = ["mean_features", "posterior_logits"]


def posterior_logits(
    spec: BayesianLoraActiveSpec, posterior: AdapterPosterior, adapted: AdaptedModel, task: AnswerTask, seed: int
) -> NDArray[np.float64]:
    """Return the logits of every draw, ``[S, N, C]``; absent options are not masked.

    Draw s is the same function for all questions, but for Laplace, which draws each question's logits, and for what
    ``mode: faithful`` does as the reference: noise anew for every batch and token, see
    :func:`~bayesgrid.studies.bayesian_lora.methods.reference_noise.reference_noise`.

    Args:
        spec: mode, and number of draws.
        posterior: what was fitted.
        adapted: its stack is resized.
        task: prepared for the model.
        seed: of the draws.
    """
    if posterior.method == "laplace":
        logits = predict_laplace(
            adapted,
            task,
            posterior,
            trained=task.labels,
            asked=task.labels,
            scope=spec.laplace.scope,
            draws=spec.laplace.logit_draws,
            seed=seed,
        )
        return logits.astype(np.float64)
    count = 1 if posterior.method in POINT_METHODS else spec.acquisition.draws
    if posterior.method == "ensemble":
        count = len(posterior.members)
    if spec.mode == "faithful" and posterior.method in NOISY_METHODS:
        with reference_noise(posterior, adapted.stack, seed=seed) as perturb:
            return predict(adapted, task, [posterior.mean] * count, perturb=perturb).astype(np.float64)
    return predict(adapted, task, list(draw_adapters(posterior, range(count), seed=seed))).astype(np.float64)


@torch.no_grad()
def mean_features(posterior: AdapterPosterior, adapted: AdaptedModel, task: AnswerTask) -> NDArray[np.float32]:
    """Return the state of each prompt's last token under the posterior's mean, ``[N, hidden]``.

    Args:
        posterior: what was fitted; of an ensemble, the first member is taken.
        adapted: its stack is resized.
        task: prepared for the model.
    """
    adapted.stack.resize(1)
    adapted.stack.load(0, posterior.mean)
    features: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(task)
    for rows in token_buckets([len(prompt) for prompt in task.prompts], tokens_at_once(adapted.device)):
        batch = adapted.batch(task, rows, task.shared_prefix)
        states = adapted.model.hidden(batch).cpu().numpy()
        for place, row in enumerate(rows):
            features[row] = states[place]
    return np.stack(features)
