"""Which pairs one seed buys next, by one rule; no label of theirs is looked at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bayesgrid.acquisition.badge import badge
from bayesgrid.acquisition.bait import bait
from bayesgrid.acquisition.batch_bald import batch_bald
from bayesgrid.acquisition.bernoulli_uncertainty import bald, predictive_entropy, probability_variance, straddle
from bayesgrid.acquisition.fisher_design import bernoulli_information, fisher_design, posterior_covariance
from bayesgrid.acquisition.k_means_plus_plus import k_means_plus_plus
from bayesgrid.acquisition.power_selection import power_selection
from bayesgrid.acquisition.preference_reference import (
    reference_bald,
    reference_cluster_diverse,
    reference_features,
    reference_max_variance,
    reference_ucb,
)
from bayesgrid.acquisition.selection import k_centre_greedy, top_q, uniform_without_replacement
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.preference.beliefs import PairBeliefs, SlotPosterior
from bayesgrid.studies.preference.spec import PreferenceSpec
from bayesgrid.studies.preference.training import LabelledPairs, PreferenceFeatures

__all__ = ["PairChoice", "choose_pairs", "pair_features"]

_REFERENCE_SAMPLES = 20
_CONFIGURATIONS = 1024
_SPARE = 4
_BATCH_RULES = ("batch_bald", "badge", "bait", "d_optimal", "k_centre", "k_means_plus_plus")


@dataclass(frozen=True)
class PairChoice:
    """Pairs to buy labels of.

    Args:
        places: ``[q]``, among the candidates, in the order of choice.
        scores: ``[n]``, of all candidates; None if the rule has none.
    """

    places: NDArray[np.int64]
    scores: NDArray[np.float64] | None


@dataclass(frozen=True)
class _Question:
    """What a rule may look at."""

    spec: PreferenceSpec
    posterior: SlotPosterior
    features: PreferenceFeatures
    candidates: LabelledPairs
    labelled: LabelledPairs
    seed: int
    round_number: int

    @property
    def size(self) -> int:
        return self.candidates.count

    def stream(self, name: str) -> np.random.Generator:
        return random_stream(self.seed, name, self.round_number)

    def beliefs(self) -> PairBeliefs:
        return self.posterior.beliefs(self.features, self.candidates)

    def variance(self, beliefs: PairBeliefs) -> NDArray[np.float64]:
        """Return the variance that disagreement is about."""
        return self.posterior.disagreement(beliefs)


def choose_pairs(
    spec: PreferenceSpec,
    posterior: SlotPosterior,
    features: PreferenceFeatures,
    candidates: LabelledPairs,
    labelled: LabelledPairs,
    seed: int,
    round_number: int,
) -> PairChoice:
    """Return what a seed buys after a round.

    Args:
        spec: of the run.
        posterior: fitted to the labels bought so far.
        features: of responses and prompts.
        candidates: ``[1, n]``, pairs that may be bought; their targets are not read.
        labelled: ``[1, l]``, pairs that were bought.
        seed: of the run.
        round_number: from 0.
    """
    question = _Question(spec, posterior, features, candidates, labelled, seed, round_number)
    acquisition = spec.acquisition
    count = min(spec.labels.per_round, question.size)
    rng = question.stream("acquisition")
    if acquisition.rule == "random":
        return PairChoice(uniform_without_replacement(question.size, count, rng).positions, None)
    limit = acquisition.max_per_prompt
    if acquisition.rule in _BATCH_RULES:
        order, scores = _batch(question, count if limit is None else min(_SPARE * count, question.size), rng), None
    else:
        scores = _scores(question)
        order = _ranked(question, scores, count, rng)
    prompts = candidates.prompt[0]
    return PairChoice(_limited(order, prompts, count, limit), scores)


def pair_features(features: PreferenceFeatures, pairs: LabelledPairs) -> NDArray[np.float64]:
    """Return features of pairs ``[1, n]`` that do not depend on sides: sum and absolute difference, ``[n, 2 f]``."""
    responses = features.responses.numpy()
    first, second = responses[pairs.first[0]], responses[pairs.second[0]]
    return np.concatenate([first + second, np.abs(first - second)], axis=1).astype(np.float64)


def _scores(question: _Question) -> NDArray[np.float64]:
    spec, rule = question.spec, question.spec.acquisition.rule
    if rule.endswith("_reference"):
        embeddings = question.posterior.embeddings(question.features, question.candidates)
        if rule == "mv_reference":
            return reference_max_variance(*embeddings)
        if rule == "ucb_reference":
            return reference_ucb(*embeddings, kappa=spec.acquisition.kappa)
        shape = (_REFERENCE_SAMPLES, 2, *embeddings[0].shape)
        return reference_bald(*embeddings, question.stream("reference samples").standard_normal(shape))
    beliefs = question.beliefs()
    mean, variance = beliefs.mean, question.variance(beliefs)
    if rule == "margin":
        return -np.abs(mean)
    if rule == "entropy":
        return predictive_entropy(mean, variance)
    if rule == "variance":
        return variance
    if rule == "straddle":
        return straddle(mean, variance, spec.acquisition.kappa)
    if rule == "probability_variance":
        return probability_variance(mean, variance)
    return bald(mean, variance)


def _ranked(
    question: _Question, scores: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    acquisition = question.spec.acquisition
    if acquisition.rule == "power_bald":
        return power_selection(scores, len(scores), rng, exponent=acquisition.power).positions
    if acquisition.selector == "cluster_reference":
        described = reference_features(*question.posterior.embeddings(question.features, question.candidates))
        return reference_cluster_diverse(scores, described, count).positions
    return top_q(scores, len(scores), rng).positions


def _batch(question: _Question, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    spec, rule = question.spec, question.spec.acquisition.rule
    posterior, features, candidates = question.posterior, question.features, question.candidates
    if rule in ("k_centre", "k_means_plus_plus"):
        places = pair_features(features, candidates)
        known = pair_features(features, question.labelled)
        if rule == "k_centre":
            return k_centre_greedy(places, known, wanted).positions
        return k_means_plus_plus(places, known, wanted, rng).positions
    if rule == "batch_bald":
        logits = posterior.logit_draws(features, candidates, spec.posterior.draws, question.seed, question.round_number)
        answers = np.stack([special.log_expit(logits), special.log_expit(-logits)], axis=2)
        return batch_bald(
            answers, wanted, rng, exact_configurations=_CONFIGURATIONS, sampled_configurations=_CONFIGURATIONS
        ).choice.positions
    jacobian = posterior.jacobian(features, candidates)
    probability = question.beliefs().probability()
    if rule == "badge":
        # The gradient under the likelier label, (p - 1[p > 1/2]) J, is the same from both sides.
        surprise = np.minimum(probability, 1 - probability)
        return badge(jacobian * np.where(probability > 0.5, -1.0, 1.0)[:, None], surprise, wanted, rng).positions
    information = bernoulli_information(probability)
    learnt = posterior.jacobian(features, question.labelled)
    known = bernoulli_information(posterior.beliefs(features, question.labelled).probability())
    if rule == "bait":
        return bait(np.sqrt(information)[:, None] * jacobian, np.sqrt(known)[:, None] * learnt, wanted).positions
    precision = posterior.weights.prior_precision if posterior.weights is not None else 1.0
    covariance = posterior_covariance(learnt, known, precision)
    return fisher_design(jacobian, information, wanted, covariance=covariance).choice.positions


def _limited(order: NDArray[np.int64], prompts: NDArray[np.int64], count: int, limit: int | None) -> NDArray[np.int64]:
    """Return the first ``count`` of ``order`` with at most ``limit`` of a prompt; what is short comes from the rest."""
    if limit is None:
        return order[:count]
    taken: dict[int, int] = {}
    kept, left = [], []
    for place in order.tolist():
        prompt = int(prompts[place])
        if taken.get(prompt, 0) < limit:
            taken[prompt] = taken.get(prompt, 0) + 1
            kept.append(place)
        else:
            left.append(place)
    return np.array([*kept, *left][:count], dtype=np.int64)
