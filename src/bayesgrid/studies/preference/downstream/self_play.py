"""A policy that is a table of probabilities plays against itself, and a judge says who is preferred.

The policy being a table, the loss of :mod:`bayesgrid.studies.preference.downstream.policy_losses` has its minimum where
every log-ratio is its target, so an iteration is one step in closed form, ``pi_t exp(target)`` made to add up to 1. The
truth is only used to measure: exploitability is exact.

Steps of a constant size go round a mixed equilibrium and away from it; what comes near to it is the average of the
policies so far, with ``gap <= 2 [log(1 / min pi_0) / (eta T) + eta / 8]`` for SPPO (Freund, Schapire, Adaptive game
playing using multiplicative weights, 1999). GPO plays for scores instead of probabilities, and comes near to the
equilibrium of the game with the scores as payoffs, which is another one in general.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.preference.downstream.equilibrium import duality_gap
from bayesgrid.studies.preference.downstream.judgements import Judgements
from bayesgrid.studies.preference.downstream.policy_losses import (
    against_policy,
    gpo_target,
    reference_preference_probabilities,
    reference_score_target,
    sppo_target,
)

__all__ = ["Objective", "SelfPlay", "SelfPlaySettings", "play_self"]

Objective = Literal["sppo", "gpo", "sppo_reference", "gpo_reference"]
"""Whose targets; those of the reference with its faults, which need a judge's scores (:mod:`.policy_losses`)."""


@dataclass(frozen=True)
class SelfPlaySettings:
    """How the policy is trained.

    Args:
        objective: the loss.
        step: eta of SPPO, 1 / beta of GPO.
        iterations: T.
        responses: K responses that are drawn for each iteration, which alone are compared and moved; None compares all
            items, weighted by the policy.
        seed: of the drawn responses.
    """

    objective: Objective = "sppo"
    step: float = 1.0
    iterations: int = 100
    responses: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SelfPlay:
    """Policies over n items, from the start on.

    Args:
        policies: ``[T + 1, n]``.
        gap: ``[T + 1]``, exploitability of each in the true game.
        average_gap: ``[T + 1]``, of the mean of the policies up to it.
    """

    policies: FloatArray
    gap: FloatArray
    average_gap: FloatArray

    @property
    def average(self) -> FloatArray:
        """The mean of all policies, ``[n]``."""
        return np.asarray(self.policies.mean(axis=0))


def play_self(
    judge: Judgements, truth: npt.ArrayLike, start: npt.ArrayLike, settings: SelfPlaySettings | None = None
) -> SelfPlay:
    """Train a policy on a judge's opinions, and measure it by the truth.

    Args:
        judge: of n items.
        truth: ``[n, n]``, true probabilities.
        start: ``[n]``, the first policy, all above 0: what it never plays it cannot learn.
        settings: of the training.

    Raises:
        DataError: if judge, truth and start are not of the same items, or start is no distribution with all items.
        ConfigurationError: if a number of the settings is out of range.
    """
    settings = settings or SelfPlaySettings()
    _check(settings)
    first = checked_array(start, name="start", dimensions=1)
    if first.min() <= 0 or abs(first.sum() - 1) > 1e-6:
        raise DataError("not a policy to start from", where="start", allowed="all above 0, with sum 1")
    if judge.score.shape != (first.size, first.size):
        raise DataError("a judge of other items", given=judge.score.shape, allowed=f"{first.size} items")
    probability, score = torch.from_numpy(judge.probability), torch.from_numpy(judge.score)
    log_policy = torch.from_numpy(np.log(first))
    policies = [first]
    for iteration in range(settings.iterations):
        log_policy = _stepped(log_policy, probability, score, settings, iteration)
        policies.append(log_policy.exp().numpy())
    every = np.stack(policies)
    averages = np.cumsum(every, axis=0) / np.arange(1, len(every) + 1)[:, None]
    return SelfPlay(every, duality_gap(every, truth), duality_gap(averages, truth))


def _check(settings: SelfPlaySettings) -> None:
    few = settings.responses is not None and settings.responses < 2
    if settings.iterations < 0 or few or not settings.step > 0:
        raise ConfigurationError(
            "self-play cannot go like this",
            given=f"iterations: {settings.iterations}, responses: {settings.responses}, step: {settings.step}",
            allowed="iterations 0 or more; responses 2 or more, or None; step above 0",
        )


def _stepped(
    log_policy: Tensor, probability: Tensor, score: Tensor, settings: SelfPlaySettings, iteration: int
) -> Tensor:
    """Return the logarithm of the next policy, ``[n]``."""
    if settings.responses is None:
        target = _target(probability, score, log_policy.exp(), settings)
        return torch.log_softmax(log_policy + target, dim=-1)
    weights = log_policy.exp().numpy()
    drawn = torch.from_numpy(
        random_stream(settings.seed, "self-play responses", iteration).choice(
            len(weights), settings.responses, p=weights / weights.sum()
        )
    )
    target = _target(probability[drawn][:, drawn], score[drawn][:, drawn], None, settings)
    # A response that is drawn twice has the same target twice.
    return torch.log_softmax(log_policy.index_put((drawn,), log_policy[drawn] + target), dim=-1)


def _target(probability: Tensor, score: Tensor, weights: Tensor | None, settings: SelfPlaySettings) -> Tensor:
    match settings.objective:
        case "sppo":
            return sppo_target(against_policy(probability, weights), eta=settings.step)
        case "gpo":
            return gpo_target(against_policy(score, weights), beta=1 / settings.step)
        case "sppo_reference":
            doubled = reference_preference_probabilities(score)
            return sppo_target(against_policy(doubled, weights), eta=settings.step)
        case "gpo_reference":
            return reference_score_target(score, weights, beta=1 / settings.step)
