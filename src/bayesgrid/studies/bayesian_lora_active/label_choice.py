"""Which labels one seed buys next."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgrid.acquisition.answer_disagreement import (
    least_confidence,
    mutual_information,
    normalised_predictive_entropy,
    predictive_entropy,
    small_margin,
)
from bayesgrid.acquisition.batch_bald import batch_bald
from bayesgrid.acquisition.k_means_plus_plus import k_means_plus_plus
from bayesgrid.acquisition.power_selection import power_selection
from bayesgrid.acquisition.selection import top_q, uniform_without_replacement
from bayesgrid.adapters.adapter_posterior import AdapterPosterior
from bayesgrid.metrics.drawn_probabilities import drawn_log_probabilities
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.bayesian_lora.adapted_model import AdaptedModel
from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora_active.bought_labels import pool
from bayesgrid.studies.bayesian_lora_active.posterior_answers import mean_features, posterior_logits
from bayesgrid.studies.bayesian_lora_active.spec import BayesianLoraActiveSpec

__all__ = ["LabelChoice", "choose_labels"]

_SCORES = {"entropy": predictive_entropy, "least_confidence": least_confidence, "margin": small_margin}


@dataclass(frozen=True)
class LabelChoice:
    """Questions to buy labels of.

    Args:
        rows: ``[q]``, in the order of choice.
        scores: ``[n]``, of all candidates; None if the rule has none.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64] | None


def choose_labels(
    spec: BayesianLoraActiveSpec,
    posterior: AdapterPosterior,
    adapted: AdaptedModel,
    task: AnswerTask,
    labelled: NDArray[np.int64],
    seed: int,
    round_number: int,
) -> LabelChoice:
    """Return what ``seed`` buys after a round; no label of ``task`` is looked at.

    Args:
        spec: of the run.
        posterior: fitted to the labels bought so far.
        adapted: its stack is resized, unless the rule is random.
        task: all training questions, prepared for the model.
        labelled: questions that have labels.
        seed: of the run.
        round_number: from 0.
    """
    acquisition = spec.acquisition
    candidates = pool(seed, acquisition, labelled, len(task), round_number)
    rng, count = random_stream(seed, "acquisition", round_number), acquisition.per_round
    if acquisition.rule == "random":
        return LabelChoice(candidates[uniform_without_replacement(len(candidates), count, rng).positions], None)
    if acquisition.rule == "k_means_plus_plus":
        features = mean_features(posterior, adapted, task.rows(np.concatenate([candidates, labelled])))
        choice = k_means_plus_plus(features[: len(candidates)], features[len(candidates) :], count, rng)
        return LabelChoice(candidates[choice.positions], None)
    asked = task.rows(candidates)
    answers = drawn_log_probabilities(posterior_logits(spec, posterior, adapted, asked, seed), asked.options)
    if acquisition.rule == "batch_bald":
        batch = batch_bald(
            answers,
            count,
            rng,
            exact_configurations=acquisition.exact_configurations,
            sampled_configurations=acquisition.sampled_configurations,
        )
        return LabelChoice(candidates[batch.choice.positions], batch.scores)
    if acquisition.rule in _SCORES:
        scores = _SCORES[acquisition.rule](answers)
    elif len(answers) == 1:
        # Only mode faithful asks for BALD of one draw, and the reference then takes this.
        scores = normalised_predictive_entropy(answers)
    else:
        scores = mutual_information(answers)
    if acquisition.rule == "power_bald":
        choice = power_selection(scores, count, rng, exponent=acquisition.power)
    else:
        choice = top_q(scores, count, rng)
    return LabelChoice(candidates[choice.positions], scores)
