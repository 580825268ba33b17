"""What tables and figures say of base models and data sets: their labels, and what a reader of results must know."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bayesgrid.grid.dataset_entries import ChoiceQuestionsEntry, DatasetEntry
from bayesgrid.grid.model_sources import ModelEntry, load_model_catalog
from bayesgrid.grid.sources import load_dataset_catalog

__all__ = ["SourceText", "SourceTexts", "dataset_text", "load_source_texts", "model_text"]

_UNCOUNTED = "Leaks between splits are not counted."
_SPLITS = {"train": "training", "validation": "validation"}
_LEAKED = {
    "equal_answers": "with their answer",
    "questions_of_shared_groups": "with another question of their group",
}


@dataclass(frozen=True)
class SourceText:
    """The printed name of a base model or data set, and what is said of it below a table that shows it."""

    label: str
    note: str = ""


SourceTexts: TypeAlias = Mapping[tuple[str, str], SourceText]
"""By ``model`` or ``dataset``, and the name in the configuration."""


def load_source_texts(config: Path) -> dict[tuple[str, str], SourceText]:
    """Return the texts of all entries of ``datasets.yaml`` and, where it is there, ``models.yaml`` under ``config``.

    Raises:
        ConfigurationError: if a file does not fit its schema.
    """
    datasets = load_dataset_catalog(config / "datasets.yaml").entries
    texts = {("dataset", name): dataset_text(entry) for name, entry in datasets.items()}
    if (config / "models.yaml").is_file():
        models = load_model_catalog(config / "models.yaml").entries
        texts |= {("model", name): model_text(entry) for name, entry in models.items()}
    return texts


def model_text(entry: ModelEntry) -> SourceText:
    """Return the label and the note of a base model."""
    return SourceText(entry.label, (entry.note or "").strip())


def dataset_text(entry: DatasetEntry) -> SourceText:
    """Return the label of a data set and its note; of questions also their known leaks and whose wording they have."""
    parts = [(entry.note or "").strip()]
    if isinstance(entry, ChoiceQuestionsEntry):
        parts.append(_leaks_text(entry))
        parts.append("The wording of the prompts is this project's own, so published numbers are under other prompts.")
    return SourceText(entry.label, " ".join(part for part in parts if part))


def _leaks_text(entry: ChoiceQuestionsEntry) -> str:
    """Return what the note does not say of leaks already."""
    note = " ".join((entry.note or "").split())
    if entry.known_leaks is None:
        return "" if _UNCOUNTED in note else _UNCOUNTED
    shared = []
    for pair, counts in entry.known_leaks.items():
        first, second = pair.split("/")
        for kind, count in counts.items():
            if not re.search(rf"\b{count:,} {second}\b", note):
                shared.append(f"{second} questions that stand in {_SPLITS[first]} {_LEAKED[kind]}: {count:,}")
    return f"Known leaks: {'; '.join(shared)}." if shared else ""
