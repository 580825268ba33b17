"""What cannot be fitted, said before any job runs."""

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.studies.bayesian_lora.fit_parameters import LaplaceSpec, LoraSpec, Scope

__all__ = ["check_laplace_prior", "check_scope", "check_training_data"]


def check_training_data(dataset: str, budget: int | None, catalog: DatasetCatalog) -> None:
    """Raise ConfigurationError if ``dataset`` has no questions, or no training split of ``budget`` of them."""
    entry = catalog.choice_questions(dataset)
    if "train" not in entry.splits:
        trained = sorted(
            name for name, other in catalog.entries.items() if "train" in (getattr(other, "splits", None) or {})
        )
        raise ConfigurationError(
            f"key 'dataset': {dataset!r} has no training split, and the temperature needs labels",
            given=dataset,
            allowed=", ".join(trained),
            remedy="name it under 'evaluation.dataset' to evaluate on it",
        )
    # A size that the catalog does not know is null.
    available = entry.splits.get("train")
    if budget is not None and available is not None and budget > available:
        raise ConfigurationError(
            "key 'labels.budget': the training split is smaller",
            given=budget,
            allowed=f"at most {available} of data set {dataset!r}",
        )


def check_scope(scope: Scope, lora: LoraSpec) -> None:
    """Raise ConfigurationError if the head alone is to be uncertain and has no adapter."""
    if scope == "head" and not lora.head:
        raise ConfigurationError(
            "the head has no adapter to be uncertain about",
            given="scope: head with lora.head: false",
            allowed="scope: all, or lora.head: true",
        )


def check_laplace_prior(laplace: LaplaceSpec, mode: str) -> None:
    """Raise ConfigurationError if the prior precision is to be the parent's, and the parent is trained without a prior.

    The reference's MAP has weight decay in the place of a prior.
    """
    if laplace.prior_precision == "parent" and (laplace.parent != "map" or mode != "correct"):
        raise ConfigurationError(
            "key 'laplace.prior_precision': the parent is trained without a prior",
            given=f"parent, with laplace.parent: {laplace.parent} in mode {mode}",
            allowed="evidence, or a number",
            remedy="set laplace.parent: map in mode correct",
        )
