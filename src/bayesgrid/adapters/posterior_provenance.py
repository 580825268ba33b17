"""Where a posterior over adapters comes from, and which words it answers with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bayesgrid.adapters.adapter_posterior import JSON, require_plain_json
from bayesgrid.errors import StateError

__all__ = ["PosteriorProvenance", "describe_provenance", "provenance_from"]


@dataclass(frozen=True, eq=False)
class PosteriorProvenance:
    """Where a posterior comes from and what it answers.

    Args:
        mode: ``correct`` or ``faithful``.
        parametrisation: how the standard deviations were trained, such as ``softplus``; empty for point methods.
        prior: the prior's parameters, plain JSON.
        training_examples: N, the number of labelled examples of the fit.
        seeds: seeds of the fit; several for an ensemble.
        parent_run: id of the run whose adapter this one started from, if any.
        base_model: name of the frozen model.
        base_revision: its revision.
        module_prefix: path of the decoder inside the model that PEFT wraps.
        labels: the answer words.
        label_token_ids: one token of the vocabulary per label.
        head_rows: frozen rows of the answer head, ``[C, hidden]``, in the order of the labels.
    """

    mode: str
    parametrisation: str
    prior: Mapping[str, JSON]
    training_examples: int
    seeds: tuple[int, ...]
    parent_run: str | None
    base_model: str
    base_revision: str
    module_prefix: str
    labels: tuple[str, ...]
    label_token_ids: tuple[int, ...]
    head_rows: Tensor

    def __post_init__(self) -> None:
        require_plain_json(dict(self.prior), "the prior")
        numbers = (len(self.labels), len(self.label_token_ids), self.head_rows.shape[0])
        if len(set(numbers)) > 1:
            raise StateError("labels, token ids and head rows differ in number", given=numbers)


def describe_provenance(provenance: PosteriorProvenance) -> dict[str, Any]:
    """Return everything but the head rows as plain JSON."""
    return {
        "mode": provenance.mode,
        "parametrisation": provenance.parametrisation,
        "prior": dict(provenance.prior),
        "training_examples": provenance.training_examples,
        "seeds": list(provenance.seeds),
        "parent_run": provenance.parent_run,
        "base_model": provenance.base_model,
        "base_revision": provenance.base_revision,
        "module_prefix": provenance.module_prefix,
        "labels": list(provenance.labels),
        "label_token_ids": list(provenance.label_token_ids),
    }


def provenance_from(description: Mapping[str, Any], head_rows: Tensor) -> PosteriorProvenance:
    """Return the provenance that :func:`describe_provenance` described.

    Args:
        description: plain JSON; keys of other things in it are ignored.
        head_rows: frozen rows of the answer head, ``[C, hidden]``.
    """
    return PosteriorProvenance(
        mode=description["mode"],
        parametrisation=description["parametrisation"],
        prior=description["prior"],
        training_examples=description["training_examples"],
        seeds=tuple(description["seeds"]),
        parent_run=description["parent_run"],
        base_model=description["base_model"],
        base_revision=description["base_revision"],
        module_prefix=description["module_prefix"],
        labels=tuple(description["labels"]),
        label_token_ids=tuple(description["label_token_ids"]),
        head_rows=head_rows,
    )
