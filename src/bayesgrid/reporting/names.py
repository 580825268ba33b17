"""What readers see instead of the names in configuration files."""

from collections.abc import Iterable

from bayesgrid.errors import ConfigurationError

__all__ = [
    "METRICS",
    "NON_NEGATIVE_METRICS",
    "agent_label",
    "agent_with_state",
    "architecture_label",
    "dataset_label",
    "group_heading",
    "metric_label",
    "seeds_text",
    "setting_label",
    "state_label",
]

METRICS = {"nll": "NLL", "crps": "CRPS", "mae_median": "MAE"}
"""The metrics of learning-curve tables and figures, columns of ``rounds.parquet``; lower is better for all."""

NON_NEGATIVE_METRICS = frozenset({"crps", "mae_median", "mae_mode64", "rmse_mean"})
"""An interval of their mean that goes below 0 says nothing there."""

_OTHER_METRICS = {
    "nll_standardised": "NLL (standardised)",
    "mae_mode64": "MAE (mode of 64)",
    "rmse_mean": "RMSE",
    "pit_ks": "PIT distance",
    "width90": "width of the 90 % interval",
    "cov90": "coverage of the 90 % interval",
    "validation_nll": "validation NLL",
}
_AGENTS = {
    "random": "Random",
    "coreset": "Coreset",
    "bald_dist_entropy": "BALD entropy",
    "bald_dist_std": "BALD std",
    "balsa_kl_pairs": "BALSA KL pairs",
    "balsa_kl_all_pairs": "BALSA KL all pairs",
    "balsa_kl_grid": "BALSA KL grid",
    "balsa_emd": "BALSA EMD",
    "balsa_emd_all_pairs": "BALSA EMD all pairs",
    "balsa_kl_pairs_power": "BALSA KL pairs, power",
    "weighted_coreset": "Weighted coreset",
    "bald_point": "BALD point",
    "nflows_out": "NFlows Out",
    "std": "Std",
    "entropy": "Entropy",
    "least_confident": "Least confident",
    "typiclust": "TypiClust",
    "coregcn": "CoreGCN",
    "lcmd": "LCMD",
    "bait": "BAIT",
    "badge": "BADGE",
    "kmeans_pp": "k-means++",
    "bald_dist_least_confident": "BALD least confident",
    "balsa_entropy": "BALSA entropy",
    "balsa_kl_anomaly": "BALSA KL anomaly",
    "balsa_kl_difference": "BALSA KL difference",
    "balsa_kl_pairs_dual": "BALSA KL pairs, dual",
    "balsa_kl_grid_dual": "BALSA KL grid, dual",
    "balsa_kl_grid_norm": "BALSA KL grid, normalised",
    "balsa_emd_dual": "BALSA EMD, dual",
    "log_density_std": "Log-density std",
    "all_labels": "All labels",
}
_SETTINGS = {
    "corrected": "corrected recipe",
    "faithful": "reference recipe",
    "scratch": "from scratch",
    "continue": "going on",
    "shrink_perturb": "shrunk and perturbed",
    "restore_best": "best weights restored",
    "last_weights": "last weights kept",
    "inverted": "inverted stopping",
}


def agent_label(name: str) -> str:
    """Return the printed name of an agent; an unknown one keeps its name with spaces."""
    return _AGENTS.get(name, name.replace("_", " "))


def agent_with_state(name: str, state: str) -> str:
    """Return the printed name of an agent, with the states of its runs unless all are done."""
    if state == "done":
        return agent_label(name)
    return f"{agent_label(name)} ({', '.join(map(state_label, state.split(', ')))})"


def architecture_label(name: str) -> str:
    """Return the printed name of an architecture."""
    return name.replace("_", " ")


def dataset_label(name: str) -> str:
    """Return the printed name of a data set."""
    return name.replace("_", " ")


def metric_label(name: str) -> str:
    """Return the printed name of a metric.

    Raises:
        ConfigurationError: if reports know no such metric.
    """
    known = {**METRICS, **_OTHER_METRICS}
    if name not in known:
        raise ConfigurationError("unknown metric", given=name, allowed=", ".join(known))
    return known[name]


def setting_label(value: str) -> str:
    """Return the printed name of a mode, a warm start or a kind of early stopping; others keep theirs with spaces."""
    return _SETTINGS.get(value, value.replace("_", " "))


def seeds_text(counts: Iterable[int]) -> str:
    """Return how many seeds several samples have: ``5 seeds``, ``3 to 5 seeds``; nothing for no sample."""
    known = sorted(set(counts))
    if not known:
        return ""
    number = f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"
    return f"{number} seed{'s' if known[-1] != 1 else ''}"


def group_heading(dataset: str, architecture: str, query_size: int | None, variant: str) -> str:
    """Return the heading over agents that are compared with each other; None leaves the query size out."""
    size = f"query size {query_size}" if query_size is not None else ""
    return " · ".join(
        part for part in (dataset_label(dataset), architecture_label(architecture), size, variant) if part
    )


def state_label(state: str) -> str:
    """Return a run's state as a hole in a table: ``failed:out_of_memory`` becomes ``failed: out of memory``."""
    kind, _, reason = state.partition(":")
    return f"{kind}: {reason.replace('_', ' ')}" if reason else kind
