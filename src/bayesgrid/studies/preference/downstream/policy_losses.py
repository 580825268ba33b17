"""Losses that move a policy towards what a judge prefers to the policy's own responses: SPPO and GPO.

Both regress the log-ratio of the new policy and the current one on how a response fares against the current policy,
``[log pi(y) / pi_t(y) - target(y)]^2``. The target is ``eta (P(y beats pi_t) - 1/2)`` for SPPO and
``s(y, pi_t) / beta`` for GPO. Their minimisers are steps of multiplicative weights, ``pi_t exp(target) / Z``; the
losses take ``log Z`` as 0, from which it differs by half the variance of the target: under ``pi_t`` both targets have
mean 0.

The code of GPM and BGPM makes its targets from a table T of scores by ``T[i, j] - T[j, i]``. That is twice the score
of a skew-symmetric model, so its probabilities are those of half the temperature; and where the score itself is the
target it goes through SPPO's loss, which takes 1/2 off. Both are here under names that begin with ``reference``.

Sources: Wu et al. (2024), Self-Play Preference Optimization, arXiv 2405.00675; Zhang et al. (2024), General Preference
Modeling with Preference Representations, arXiv 2410.02197, section 5; scripts of muhd-umer/b-gpm, of which nothing is
used.
"""

import torch
from torch import Tensor

from bayesgrid.errors import ConfigurationError

__all__ = [
    "against_policy",
    "extreme_responses",
    "gpo_loss",
    "gpo_target",
    "length_normalised_gpo_loss",
    "log_partition",
    "preference_probabilities",
    "reference_preference_probabilities",
    "reference_score_target",
    "sppo_loss",
    "sppo_target",
    "squared_error",
]


def preference_probabilities(scores: Tensor) -> Tensor:
    """Return ``sigma(scores)`` ``[..., n, n]`` of logits, ``s / tau``."""
    return torch.sigmoid(scores)


def reference_preference_probabilities(scores: Tensor) -> Tensor:
    """Return the reference's ``sigma(T[i, j] - T[j, i])``, which for skew-symmetric scores is ``sigma(2 scores)``."""
    return torch.sigmoid(scores - scores.mT)


def against_policy(table: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean of each row over opponents, ``[..., n]``; a response meets itself too.

    Args:
        table: ``[..., n, n]``, probabilities or scores of the row's response against the column's.
        weights: ``[..., n]``, the opponents' probabilities under the policy; None for n responses drawn from it.
    """
    if weights is None:
        return table.mean(-1)
    return (table @ weights[..., None])[..., 0]


def sppo_target(win_rate: Tensor, *, eta: float) -> Tensor:
    """Return ``eta (win_rate - 1/2)``, of the shape of ``win_rate``.

    Raises:
        ConfigurationError: if eta is not positive.
    """
    return _positive("eta", eta) * (win_rate - 0.5)


def gpo_target(mean_score: Tensor, *, beta: float) -> Tensor:
    """Return ``mean_score / beta``, of the shape of ``mean_score``.

    Raises:
        ConfigurationError: if beta is not positive.
    """
    return mean_score / _positive("beta", beta)


def reference_score_target(scores: Tensor, weights: Tensor | None = None, *, beta: float) -> Tensor:
    """Return the reference's target of scores ``[..., n, n]``: doubled scores through SPPO's ``(. - 1/2) / beta``.

    Every drawn response is pushed down by ``1 / (2 beta)``, whatever the judge says of it.
    """
    return sppo_target(against_policy(scores - scores.mT, weights), eta=1 / _positive("beta", beta))


def log_partition(target: Tensor, log_policy: Tensor) -> Tensor:
    """Return ``log Z = log sum_y pi_t(y) exp(target(y))``, ``[...]``, which the losses take as 0.

    Args:
        target: ``[..., n]``, of all responses.
        log_policy: ``[..., n]``, ``log pi_t``.
    """
    return torch.logsumexp(log_policy + target, dim=-1)


def squared_error(log_ratio: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean of ``(log_ratio - target)^2`` over responses, a scalar.

    Args:
        log_ratio: ``[..., n]``, ``log pi(y) / pi_t(y)``.
        target: ``[..., n]``; no gradient goes through it.
        weights: ``[..., n]``, probabilities under ``pi_t`` for an exact expectation; None for responses drawn from it,
            as the reference has two of each prompt.
    """
    error = (log_ratio - target.detach()).square()
    return error.mean() if weights is None else (weights * error).sum(-1).mean()


def sppo_loss(log_ratio: Tensor, win_rate: Tensor, *, eta: float, weights: Tensor | None = None) -> Tensor:
    """Return ``E[log pi / pi_t - eta (win_rate - 1/2)]^2``, a scalar; see :func:`squared_error`."""
    return squared_error(log_ratio, sppo_target(win_rate, eta=eta), weights)


def gpo_loss(log_ratio: Tensor, mean_score: Tensor, *, beta: float, weights: Tensor | None = None) -> Tensor:
    """Return ``E[log pi / pi_t - mean_score / beta]^2``, a scalar; see :func:`squared_error`."""
    return squared_error(log_ratio, gpo_target(mean_score, beta=beta), weights)


def length_normalised_gpo_loss(
    log_ratio: Tensor,
    mean_score: Tensor,
    lengths: Tensor,
    *,
    beta: float,
    gamma: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Return ``E[|y|^-gamma log pi / pi_t - mean_score / beta]^2``, a scalar (LN-GPO).

    Args:
        log_ratio: ``[..., n]``.
        mean_score: ``[..., n]``.
        lengths: ``[..., n]``, tokens of the responses, at least 1.
        beta: above 0.
        gamma: 0 is GPO.
        weights: as for :func:`squared_error`.
    """
    return gpo_loss(log_ratio * lengths.to(log_ratio.dtype).pow(-gamma), mean_score, beta=beta, weights=weights)


def extreme_responses(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of the responses with the largest and the smallest mean score, ``[...]`` each.

    The reference trains on these two of the K responses to a prompt.

    Args:
        scores: ``[..., n, n]``.
    """
    means = against_policy(scores)
    return means.argmax(-1), means.argmin(-1)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ConfigurationError("a step has no size", where=name, given=value, allowed="above 0")
    return value
