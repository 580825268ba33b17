"""The widest posterior that still leaves the fit as it was: a one-dimensional search over the width.

Training-free Bayesianisation (Shi et al., TFB, 2024, arXiv 2412.05723, equation 8) takes the largest σ for which a
criterion, such as the change of the loss on unlabelled anchors, stays within its tolerance.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bayesgrid.errors import NumericalError

__all__ = ["Criterion", "Evaluation", "WidthSearch", "largest_feasible", "loss_change", "reference_width"]

_EXPANSION = 4.0


@dataclass(frozen=True)
class Criterion:
    """What a width does to the fit.

    Args:
        change: size of the change, >= 0.
        tolerance: the largest change that is allowed.
        standard_error: Monte-Carlo error of ``change`` over the posterior draws; 0 for an exact one.
    """

    change: float
    tolerance: float
    standard_error: float = 0.0

    @property
    def feasible(self) -> bool:
        """Return whether the change is within the tolerance."""
        return self.change <= self.tolerance

    @property
    def decided(self) -> bool:
        """Return whether the change differs from the tolerance by more than two standard errors."""
        return abs(self.change - self.tolerance) > 2 * self.standard_error


@dataclass(frozen=True)
class Evaluation:
    """One width that was tried, and its criterion."""

    width: float
    criterion: Criterion


@dataclass(frozen=True)
class WidthSearch:
    """The outcome of a search.

    Args:
        width: the largest width found feasible; 0 if none was.
        status: ``found``; ``none_feasible`` if even the lower end violates the criterion; ``never_violated`` if no
            width that was tried does, so that ``width`` is only a lower bound.
        smallest_infeasible: upper end of the bracket; None if no width violated.
        evaluations: in the order they were made.
    """

    width: float
    status: Literal["found", "none_feasible", "never_violated"]
    smallest_infeasible: float | None
    evaluations: tuple[Evaluation, ...]

    @property
    def relative_accuracy(self) -> float:
        """Return how far above ``width`` the true bound may lie, relative to it; infinite without a bracket."""
        if self.smallest_infeasible is None or self.width == 0:
            return math.inf
        return self.smallest_infeasible / self.width - 1

    @property
    def undecided(self) -> tuple[Evaluation, ...]:
        """Return the evaluations whose Monte-Carlo error could have turned the decision."""
        return tuple(evaluation for evaluation in self.evaluations if not evaluation.criterion.decided)


def largest_feasible(
    criterion: Callable[[float], Criterion],
    low: float = 1e-4,
    high: float = 0.3,
    *,
    relative_accuracy: float = 0.02,
    maximum_evaluations: int = 10,
    maximum_expansions: int = 3,
) -> WidthSearch:
    """Return the largest feasible width, by bisection on the log scale of a criterion that grows with the width.

    The geometric middle comes first and then the end that it leaves open: ten evaluations thus give nine halvings,
    1.6 % on [1e-4, 0.3]. If ``high`` is feasible the bracket moves up by factors of 4, each of which costs accuracy if
    the evaluations run out. The answer is always a width that was tried and found feasible, or 0.

    Args:
        criterion: what a width does; use the same draws for every width, so that it is monotone.
        low: least width of interest, > 0.
        high: where to begin at the upper end, > ``low``.
        relative_accuracy: where to stop.
        maximum_evaluations: of ``criterion``, at least 2.
        maximum_expansions: how often to move the bracket up before giving up on a violation.

    Raises:
        ValueError: if the ends or limits make no sense.
        NumericalError: if the criterion is not a number.
    """
    if not 0 < low < high or relative_accuracy <= 0 or maximum_evaluations < 2:
        raise ValueError(
            "a search needs 0 < low < high, a positive accuracy and at least 2 evaluations, "
            f"got {low}, {high}, {relative_accuracy}, {maximum_evaluations}"
        )
    made: list[Evaluation] = []

    def feasible(width: float) -> bool:
        value = criterion(width)
        if math.isnan(value.change):
            raise NumericalError("the criterion of the width search is not a number", given=f"width {width:g}")
        made.append(Evaluation(width, value))
        return value.feasible

    def result(width: float, bound: float | None) -> WidthSearch:
        status: Literal["found", "never_violated"] = "never_violated" if bound is None else "found"
        return WidthSearch(width, status, bound, tuple(made))

    below, above = low, high
    middle = math.sqrt(low * high)
    if feasible(middle):
        below, expansions = middle, 0
        while feasible(above):
            if expansions == maximum_expansions or len(made) == maximum_evaluations:
                return result(above, None)
            below, above, expansions = above, above * _EXPANSION, expansions + 1
    else:
        above = middle
        if not feasible(low):
            return WidthSearch(0.0, "none_feasible", low, tuple(made))
    while above / below > 1 + relative_accuracy and len(made) < maximum_evaluations:
        middle = math.sqrt(below * above)
        if feasible(middle):
            below = middle
        else:
            above = middle
    return result(below, above)


def loss_change(
    log_likelihoods: Tensor, reference_loss: float, *, relative: float = 0.003, absolute: float = 1e-3
) -> Criterion:
    """Return by how much the mean loss of the averaged prediction differs from the deterministic model's.

    ℓ(σ) = −(1/N) Σ_n log (1/S) Σ_s p_s(y_n). A change for the better counts like one for the worse.
    The tolerance is ``relative · ℓ_0 + absolute``: on anchors that the model fits almost perfectly, ℓ_0 is nearly 0 and
    a relative tolerance alone means nothing. The standard error is the jackknife's over the draws.

    Args:
        log_likelihoods: log p_s(y_n), ``[S, N]``, S >= 1.
        reference_loss: ℓ_0 of the deterministic model on the same anchors and labels.
        relative: share of ℓ_0 that is allowed.
        absolute: nats that are allowed on top.
    """
    values = log_likelihoods.double()
    draws = values.shape[0]
    total = values.logsumexp(0)
    change = abs(float(-(total - math.log(draws)).mean()) - reference_loss)
    tolerance = relative * reference_loss + absolute
    if draws == 1:
        return Criterion(change, tolerance, math.inf)
    others = torch.stack([torch.cat([values[:s], values[s + 1 :]]).logsumexp(0) for s in range(draws)])
    left_out = -(others - math.log(draws - 1)).mean(1)
    error = math.sqrt((draws - 1) / draws * float((left_out - left_out.mean()).square().sum()))
    return Criterion(change, tolerance, error)


def reference_width(
    relative_change: Callable[[float], float],
    low: float = 1e-3,
    high: float = 0.2,
    *,
    bisections: int = 5,
    threshold: float = 0.003,
) -> float:
    """Return the width that the reference's search returns: the smallest midpoint that *violates* the threshold.

    With the defaults: 0.0072 if every midpoint violates, and ``high`` if none does. The resolution is 0.0062.

    Args:
        relative_change: |ℓ(σ) − ℓ_0| / ℓ_0.
        low: lower end.
        high: upper end.
        bisections: midpoints to try.
        threshold: change above which a midpoint violates.
    """
    best = high
    for _ in range(bisections):
        middle = (low + high) / 2
        if relative_change(middle) > threshold:
            best = high = middle
        else:
            low = middle
    return best
