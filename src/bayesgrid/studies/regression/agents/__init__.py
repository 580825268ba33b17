"""The agents of the study, one file each.

A specification must be checked on a login node in milliseconds, so this module knows names only: the file of an agent,
and with it numba, is imported when the agent is built.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bayesgrid.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from bayesgrid.studies.regression.agents.interface import Agent
    from bayesgrid.studies.regression.spec import RegressionSpec

__all__ = ["agent_modules", "agent_names", "build_agent"]

_MODULE_OF_AGENT = {
    "badge": "badge",
    "bait": "bait",
    "bald_dist_entropy": "bald_distribution_entropy",
    "bald_dist_std": "bald_distribution_std",
    "bald_point": "bald_point",
    "balsa_emd": "balsa_emd",
    "balsa_emd_all_pairs": "balsa_emd",
    "balsa_kl_all_pairs": "balsa_kl_pairs",
    "balsa_kl_grid": "balsa_kl_grid",
    "balsa_kl_pairs": "balsa_kl_pairs",
    "balsa_kl_pairs_power": "balsa_kl_pairs_power",
    "coregcn": "coregcn",
    "coreset": "coreset",
    "entropy": "predictive_uncertainty",
    "kmeans_pp": "k_means_plus_plus",
    "lcmd": "lcmd",
    "least_confident": "predictive_uncertainty",
    "nflows_out": "nflows_out",
    "random": "uniform_random",
    "std": "predictive_uncertainty",
    "typiclust": "typiclust",
    "weighted_coreset": "weighted_coreset",
}
"""Name of each agent and the module of this package that exports it in ``AGENTS``."""


def agent_names() -> tuple[str, ...]:
    """Return the names of all agents, sorted."""
    return tuple(sorted(_MODULE_OF_AGENT))


def agent_modules() -> dict[str, str]:
    """Return the full module name of each agent."""
    return {name: f"{__name__}.{module}" for name, module in _MODULE_OF_AGENT.items()}


def build_agent(name: str, spec: RegressionSpec) -> Agent:
    """Return the agent ``name`` with the numerical settings of ``spec.posterior``.

    Raises:
        ConfigurationError: if no such agent exists, naming the nearest one.
    """
    modules = agent_modules()
    if name not in modules:
        raise ConfigurationError(
            "unknown agent",
            given=name,
            allowed=", ".join(agent_names()),
            remedy=did_you_mean(name, modules),
        )
    agent: Agent = importlib.import_module(modules[name]).AGENTS[name](spec.posterior)
    return agent
