"""What readers see instead of the names in configuration files."""

from bayesgrid.errors import ConfigurationError

__all__ = [
    "METRICS",
    "agent_label",
    "architecture_label",
    "dataset_label",
    "group_heading",
    "metric_label",
    "state_label",
]

METRICS = {"nll": "NLL", "crps": "CRPS", "mae_median": "MAE"}
"""The metrics of learning-curve tables and figures, columns of ``rounds.parquet``; lower is better for all."""

_OTHER_METRICS = {
    "nll_standardised": "NLL (standardised)",
    "mae_mode64": "MAE of the mode of 64 draws",
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
    "nflows_out": "Nflows Out",
    "std": "Std",
    "entropy": "Entropy",
    "least_confident": "Least confident",
    "typiclust": "TypiClust",
    "coregcn": "CoreGCN",
    "lcmd": "LCMD",
    "bait": "BAIT",
    "badge": "BADGE",
    "kmeans_pp": "k-means++",
}


def agent_label(name: str) -> str:
    """Return the printed name of an agent; an unknown one keeps its name with spaces."""
    return _AGENTS.get(name, name.replace("_", " "))


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


def group_heading(dataset: str, architecture: str, query_size: int, variant: str) -> str:
    """Return the heading over agents that are compared with each other."""
    parts = [dataset_label(dataset), architecture_label(architecture), f"query size {query_size}"]
    return " · ".join([*parts, variant] if variant else parts)


def state_label(state: str) -> str:
    """Return a run's state as a hole in a table: ``failed:out_of_memory`` becomes ``failed: out of memory``."""
    kind, _, reason = state.partition(":")
    return f"{kind}: {reason.replace('_', ' ')}" if reason else kind
