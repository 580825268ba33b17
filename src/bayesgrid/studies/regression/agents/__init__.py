"""The agents of the study, one file each.

A specification must be checked on a login node in milliseconds, so this module knows names only: the file of an agent,
and with it numba, is imported when the agent is built.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal, TypeAlias

from bayesgrid.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from bayesgrid.studies.regression.agents.interface import Agent
    from bayesgrid.studies.regression.spec import RegressionSpec

__all__ = [
    "Mode",
    "agent_modules",
    "agent_names",
    "build_agent",
    "check_agent",
    "reference_candidates",
    "reference_dropout",
]

Mode: TypeAlias = Literal["corrected", "faithful"]

_MODULE_OF_AGENT = {
    "badge": "badge",
    "bait": "bait",
    "bald_dist_entropy": "bald_distribution_entropy",
    "bald_dist_least_confident": "bald_distribution_least_confident",
    "bald_dist_std": "bald_distribution_std",
    "bald_point": "bald_point",
    "balsa_emd": "balsa_emd",
    "balsa_emd_all_pairs": "balsa_emd",
    "balsa_emd_dual": "balsa_emd",
    "balsa_entropy": "balsa_entropy",
    "balsa_kl_all_pairs": "balsa_kl_pairs",
    "balsa_kl_anomaly": "balsa_kl_anomaly",
    "balsa_kl_difference": "balsa_kl_difference",
    "balsa_kl_grid": "balsa_kl_grid",
    "balsa_kl_grid_dual": "balsa_kl_grid",
    "balsa_kl_grid_norm": "balsa_kl_grid",
    "balsa_kl_pairs": "balsa_kl_pairs",
    "balsa_kl_pairs_dual": "balsa_kl_pairs",
    "balsa_kl_pairs_power": "balsa_kl_pairs_power",
    "coregcn": "coregcn",
    "coreset": "coreset",
    "entropy": "predictive_uncertainty",
    "kmeans_pp": "k_means_plus_plus",
    "lcmd": "lcmd",
    "least_confident": "predictive_uncertainty",
    "log_density_std": "predictive_uncertainty",
    "nflows_out": "nflows_out",
    "random": "uniform_random",
    "std": "predictive_uncertainty",
    "typiclust": "typiclust",
    "weighted_coreset": "weighted_coreset",
}
"""Name of each agent and the module of this package that exports it, in ``AGENTS`` for ``mode: corrected`` and in
``FAITHFUL_AGENTS`` for ``mode: faithful``."""

_DUAL = "in mode: corrected no agent changes the dropout of the training: take {}"
_ONLY_FAITHFUL = {
    "balsa_emd_dual": _DUAL.format("balsa_emd"),
    "balsa_kl_grid_dual": _DUAL.format("balsa_kl_grid"),
    "balsa_kl_grid_norm": "in mode: corrected all densities are normalised: take balsa_kl_grid",
    "balsa_kl_pairs_dual": _DUAL.format("balsa_kl_pairs"),
    "log_density_std": "the spread of the log-density is the same for wide and narrow densities: take std or entropy",
}
"""Why an agent of the reference code exists in ``mode: faithful`` alone, and what to take in its place."""

_ONLY_CORRECTED = frozenset(
    {"badge", "bait", "balsa_kl_all_pairs", "balsa_kl_pairs_power", "kmeans_pp", "lcmd", "weighted_coreset"}
)
"""Agents that the reference code does not have, or not for regression."""

_RAISED_DROPOUT = ("bald_", "balsa_", "nflows_")
_SMALLEST_DROPOUT = 0.05
_DUAL_DROPOUT = {"balsa_emd_dual": 0.1, "balsa_kl_grid_dual": 0.05, "balsa_kl_pairs_dual": 0.05}


def agent_names(mode: Mode = "corrected") -> tuple[str, ...]:
    """Return the names of all agents of ``mode``, sorted."""
    missing = _ONLY_FAITHFUL if mode == "corrected" else _ONLY_CORRECTED
    return tuple(sorted(name for name in _MODULE_OF_AGENT if name not in missing))


def agent_modules(mode: Mode = "corrected") -> dict[str, str]:
    """Return the full module name of each agent of ``mode``."""
    return {name: f"{__name__}.{_MODULE_OF_AGENT[name]}" for name in agent_names(mode)}


def check_agent(name: str, mode: Mode) -> None:
    """Raise ConfigurationError unless ``mode`` has the agent ``name``, saying which mode has it or the nearest name."""
    if name in agent_names(mode):
        return
    if name in _ONLY_FAITHFUL:
        raise ConfigurationError(
            "agent exists in mode: faithful only",
            given=f"{name} in mode: {mode}",
            remedy=f"{_ONLY_FAITHFUL[name]}, or set mode: faithful",
        )
    if name in _ONLY_CORRECTED:
        raise ConfigurationError(
            "agent exists in mode: corrected only",
            given=f"{name} in mode: {mode}",
            remedy="the reference code has no such agent; run it in mode: corrected beside it",
        )
    raise ConfigurationError(
        "unknown agent",
        given=name,
        allowed=", ".join(agent_names(mode)),
        remedy=did_you_mean(name, agent_names(mode)),
    )


def build_agent(name: str, spec: RegressionSpec) -> Agent:
    """Return the agent ``name`` of ``spec.mode`` with the numerical settings of ``spec.posterior``.

    Raises:
        ConfigurationError: if that mode has no such agent, or the agent's module does not build it.
    """
    check_agent(name, spec.mode)
    module = importlib.import_module(agent_modules(spec.mode)[name])
    table = "AGENTS" if spec.mode == "corrected" else "FAITHFUL_AGENTS"
    builders = getattr(module, table, {})
    if name not in builders:
        other = "_ONLY_FAITHFUL" if spec.mode == "corrected" else "_ONLY_CORRECTED"
        raise ConfigurationError(
            f"the module of agent {name!r} does not build it in mode: {spec.mode}",
            where=module.__name__,
            allowed=f"in {table}: {', '.join(builders) or '(nothing)'}",
            remedy=f"add it to {table} of the module, or name it in {other} of {__name__}",
        )
    agent: Agent = builders[name](spec.posterior)
    return agent


def reference_candidates(name: str) -> int:
    """Return how many pool examples, drawn at random, the reference code lets the agent ``name`` score at most.

    Raises:
        ConfigurationError: if the reference code has no such agent.
    """
    check_agent(name, "faithful")
    return 5000 if name.startswith("balsa_") else 10_000


def reference_dropout(name: str, training_dropout: float) -> tuple[float, float]:
    """Return the dropout while training and that of the posterior masks in the reference code.

    Agents that score draws raise both to 0.05 at least, so that they train another network than the others. The
    ``*_dual`` agents leave the training alone.

    Args:
        name: of the agent.
        training_dropout: as tuned for the data set.

    Raises:
        ConfigurationError: if the reference code has no such agent.
    """
    check_agent(name, "faithful")
    if name in _DUAL_DROPOUT:
        return training_dropout, _DUAL_DROPOUT[name]
    if name.startswith(_RAISED_DROPOUT):
        raised = max(training_dropout, _SMALLEST_DROPOUT)
        return raised, raised
    return training_dropout, _SMALLEST_DROPOUT
