"""What ``mode: faithful`` puts in the place of defaults."""

from collections.abc import Mapping
from typing import Any

from bayesgrid.studies.bayesian_lora.fit_parameters import PARENTS

__all__ = ["faithful_values", "method_to_train"]

_FAITHFUL_VALUES: Mapping[str, Mapping[str, Any]] = {
    "variational": {
        "kl_direction": "prior_to_posterior",
        "prior": "aliased",
        "optimisers": "separate",
        "kl_weight": "cyclic",
        "flipout": "per_token",
    },
    "training": {},
    "dropout": {"mask": "per_token"},
    "ensemble": {"order": "shared"},
    "width": {"search": "smallest_violating", "targets": "labels", "anchors": None, "absolute_tolerance": 0.0},
    "laplace": {"parent": "mle"},
}
"""The reference code at commit 3843000."""


def faithful_values(trained: object) -> dict[str, dict[str, Any]]:
    """Return the reference's values where gradient descent trains ``trained``, a method of its own or a parent."""
    usual = {group: dict(values) for group, values in _FAITHFUL_VALUES.items()}
    if trained == "blob":
        # BLoB's own divergence has the right direction and its prior no alias.
        usual["variational"] |= {"kl_direction": "posterior_to_prior", "prior": "standard"}
    if trained == "map":
        usual["training"]["weight_decay"] = 0.01
    return usual


def method_to_train(values: Mapping[str, Any]) -> object:
    """Return the method whose adapter gradient descent trains, from values as a file gives them, in faithful mode."""
    method = values.get("method")
    if method not in PARENTS:
        return method
    group = values.get("width" if method == "tfb" else "laplace")
    return group.get("parent", "mle") if isinstance(group, Mapping) else "mle"
