"""What a finished fit has to say about its own health: whether it fell to chance, and what set its width."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bayesgrid.studies.bayesian_lora.answer_task import AnswerTask
from bayesgrid.studies.bayesian_lora.data_free_width import data_free_width, joint_data_free_width
from bayesgrid.studies.bayesian_lora.fit_spec import FitSpec
from bayesgrid.studies.bayesian_lora.health import chance_findings
from bayesgrid.studies.bayesian_lora.methods.interface import TrainedMethod
from bayesgrid.studies.bayesian_lora.reference_initialisation import (
    aliased_prior,
    blob_start,
    reference_deviation_of,
    scalabl_start,
)
from bayesgrid.studies.bayesian_lora.schedules import cycle_length

__all__ = ["collapsed_slots", "data_free_deviation", "fit_health"]

_logger = logging.getLogger(__name__)

_WIDTH_TOLERANCE = 0.02
_QUANTILES = 64
_REFERENCE_KL_RATE = {"blob": 0.01, "scalabl": 0.2}


def fit_health(
    method: TrainedMethod,
    losses: NDArray[np.float32],
    stopped_at: NDArray[np.int64],
    task: AnswerTask,
) -> dict[str, Tensor]:
    """Return what is known of each slot, ``[K]`` by name, and warn of every finding.

    - ``collapsed``: 1 if the fit ends no better than a uniform guess;
    - ``data_free_deviation``: mean deviation that the objective reaches in as many steps without data, for methods with
      such a path;
    - ``width_is_data_free``: 1 if the fit's own mean deviation is within 2 % of it.

    Args:
        method: after training.
        losses: ``[steps, K]``, NaN where a slot had stopped.
        stopped_at: ``[K]``, the step whose weights were kept.
        task: the questions that were learnt.
    """
    found = {"collapsed": collapsed_slots(losses, stopped_at, method, task)}
    path = data_free_deviation(method)
    if path is None:
        return found
    free = path[torch.from_numpy(stopped_at), torch.arange(len(stopped_at))]
    widths = method.measured()["mean_deviation"].double().cpu()
    same = (widths / free - 1).abs() <= _WIDTH_TOLERANCE
    for slot in torch.nonzero(same)[:, 0].tolist():
        _logger.warning(
            "seed %d: the mean deviation %.4g is what the objective reaches without data, %.4g: it says nothing about "
            "the data",
            method.slots[slot].seed,
            float(widths[slot]),
            float(free[slot]),
        )
    return {**found, "data_free_deviation": free, "width_is_data_free": same.double()}


def collapsed_slots(
    losses: NDArray[np.float32], stopped_at: NDArray[np.int64], method: TrainedMethod, task: AnswerTask
) -> Tensor:
    """Return 1 for each slot whose loss is that of a uniform guess over the options where it stopped, else 0, ``[K]``.

    Args:
        losses: as of :func:`fit_health`.
        stopped_at: likewise; steps after it were discarded.
        method: after training.
        task: the questions that were learnt.
    """
    # Questions differ in their number of options: the guess's loss is the mean logarithm.
    chance = float(np.log(task.options).mean())
    collapsed = torch.zeros(len(method.slots), dtype=torch.float64)
    for position, slot in enumerate(method.slots):
        own = losses[: stopped_at[position], position]
        history = torch.from_numpy(own[np.isfinite(own)])[None]
        for finding in chance_findings(history, [slot.seed], chance):
            collapsed[position] = 1.0
            _logger.warning("%s", finding.message)
    return collapsed


def data_free_deviation(method: TrainedMethod) -> Tensor | None:
    """Return the mean deviation after 0, 1, ... steps of the divergence alone, float64 ``[steps + 1, K]``.

    The average is over layers, as in what the method itself measures. None if the method has no deviation that starts
    from a known value, or if its objective is neither the default one nor the reference's.
    """
    spec = method.spec
    if spec.method not in _REFERENCE_KL_RATE:
        return None
    objective = _objective(spec)
    if objective is None:
        return None
    means, deviations = _starts(method)
    training, variational = spec.training, spec.variational
    # All slots of a fit learn the same questions.
    examples = method.examples[0]
    if objective == "joint":
        prior: Tensor | float = variational.prior_deviation
        if spec.method == "scalabl":
            prior = aliased_prior(deviations).deviation if variational.prior == "aliased" else 1.0
        return joint_data_free_width(
            deviations,
            prior,
            training.steps,
            examples,
            rate=variational.deviation_learning_rate,
            temperature=variational.temperature,
            epsilon=training.epsilon,
            warmup_fraction=training.warmup_fraction,
            divergence_warmup_fraction=variational.kl_warmup_fraction,
        ).double()
    return data_free_width(
        "blob" if spec.method == "blob" else "scalabl",
        means,
        deviations,
        training.steps,
        cycle_length(examples, training.batch_size),
        rate=(variational.kl_learning_rate or _REFERENCE_KL_RATE[spec.method]) * variational.temperature,
        prior_deviation=variational.prior_deviation,
        warmup_fraction=training.warmup_fraction,
    )


def _objective(spec: FitSpec) -> str | None:
    variational = spec.variational
    chosen = (variational.optimisers, variational.kl_weight, variational.kl_direction)
    if spec.mode == "correct":
        return "joint" if chosen == ("joint", "per_example", "posterior_to_prior") else None
    own = ("posterior_to_prior", "standard") if spec.method == "blob" else ("prior_to_posterior", "aliased")
    given = (variational.kl_direction, variational.prior)
    return "separate" if chosen[:2] == ("separate", "cyclic") and given == own else None


def _starts(method: TrainedMethod) -> tuple[Tensor, Tensor]:
    """Return means and deviations at the start, ``[K, n]`` with as many values from every layer."""
    seeds = [slot.stream_seed() for slot in method.slots]
    largest = method.spec.variational.initial_deviation
    means, deviations = [], []
    for path, layer in method.stack.layers.items():
        if method.spec.method == "scalabl":
            start = scalabl_start(seeds, path, layer.rank, layer.in_features, largest)
            means.append(start.mean)
            deviations.append(start.deviation)
        else:
            root = blob_start(seeds, path, layer.rank, layer.in_features, largest).root.flatten(1)
            # Every value has its own path, so a few quantiles stand for the thousands of a layer.
            levels = (torch.arange(_QUANTILES) + 0.5) / _QUANTILES
            deviations.append(reference_deviation_of(torch.quantile(root, levels, dim=1).T))
            means.append(torch.ones_like(deviations[-1]))
    return torch.cat(means, 1), torch.cat(deviations, 1)
