"""The data-set catalog ``config/datasets.yaml`` in typed form: what each data set is, and where it can come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bayesgrid.errors import ConfigurationError, did_you_mean
from bayesgrid.grid.data_sources import (
    AnyLoader,
    AnySource,
    BimodalSineParameters,
    BimodalSineSource,
    FileSource,
    GeneratorSource,
    HubFile,
    HubSource,
    Loader,
    MirrorFile,
    MirrorSource,
    PreferenceGameSource,
    PreferenceSource,
    QuestionGeneratorSource,
    QuestionSource,
    RelativePath,
    Sha256,
    Source,
    UserFile,
    WheelSource,
)
from bayesgrid.grid.dataset_entries import (
    ChoiceQuestionsEntry,
    DatasetEntry,
    PreferencePairsEntry,
    RegressionTableEntry,
)
from bayesgrid.grid.parameters import Parameters, listed, unknown, validate_parameters
from bayesgrid.grid.yaml_files import read_yaml

__all__ = [
    "AnyLoader",
    "AnySource",
    "BimodalSineParameters",
    "BimodalSineSource",
    "ChoiceQuestionsEntry",
    "DatasetCatalog",
    "DatasetEntry",
    "FileSource",
    "GeneratorSource",
    "HubFile",
    "HubSource",
    "Loader",
    "MirrorFile",
    "MirrorSource",
    "PreferenceGameSource",
    "PreferencePairsEntry",
    "PreferenceSource",
    "QuestionGeneratorSource",
    "QuestionSource",
    "RegressionTableEntry",
    "RelativePath",
    "Sha256",
    "Source",
    "UserFile",
    "WheelSource",
    "load_dataset_catalog",
]

_ENTRY_KINDS: dict[str, type[DatasetEntry]] = {
    "regression_table": RegressionTableEntry,
    "choice_questions": ChoiceQuestionsEntry,
    "preference_pairs": PreferencePairsEntry,
}

_SOURCE_KINDS: dict[type[DatasetEntry], dict[str, type[Parameters]]] = {
    RegressionTableEntry: {
        "mirror": MirrorSource,
        "wheel": WheelSource,
        "hub": HubSource,
        "file": FileSource,
        "generator": BimodalSineSource,
    },
    ChoiceQuestionsEntry: {
        "mirror": MirrorSource,
        "hub": HubSource,
        "file": FileSource,
        "generator": QuestionGeneratorSource,
    },
    PreferencePairsEntry: {
        "mirror": MirrorSource,
        "hub": HubSource,
        "file": FileSource,
        "generator": PreferenceGameSource,
    },
}

Entry = TypeVar("Entry", bound=DatasetEntry)


@dataclass(frozen=True)
class DatasetCatalog:
    """All data sets by name, as one file defines them."""

    path: Path
    entries: Mapping[str, DatasetEntry]

    def entry(self, name: str) -> DatasetEntry:
        """Return the data set called ``name``, of whatever kind.

        Raises:
            ConfigurationError: if there is none, with the nearest name.
        """
        if name not in self.entries:
            raise ConfigurationError(
                unknown("data set", name, self.entries),
                where=str(self.path),
                allowed=listed(self.entries, name),
                remedy="or add an entry for it to that file",
            )
        return self.entries[name]

    def regression_table(self, name: str) -> RegressionTableEntry:
        """Return the regression table called ``name``.

        Raises:
            ConfigurationError: if there is none, or it is a data set of another kind.
        """
        return self._of_kind(name, RegressionTableEntry, "a regression table")

    def regression_tables(self) -> dict[str, RegressionTableEntry]:
        """Return all regression tables by name."""
        return {name: entry for name, entry in self.entries.items() if isinstance(entry, RegressionTableEntry)}

    def choice_questions(self, name: str) -> ChoiceQuestionsEntry:
        """Return the set of questions called ``name``.

        Raises:
            ConfigurationError: if there is none, or it is a data set of another kind.
        """
        return self._of_kind(name, ChoiceQuestionsEntry, "a set of questions")

    def choice_question_sets(self) -> dict[str, ChoiceQuestionsEntry]:
        """Return all sets of questions by name."""
        return {name: entry for name, entry in self.entries.items() if isinstance(entry, ChoiceQuestionsEntry)}

    def preference_pairs(self, name: str) -> PreferencePairsEntry:
        """Return the set of preference pairs called ``name``.

        Raises:
            ConfigurationError: if there is none, or it is a data set of another kind.
        """
        return self._of_kind(name, PreferencePairsEntry, "a set of preference pairs")

    def preference_pair_sets(self) -> dict[str, PreferencePairsEntry]:
        """Return all sets of preference pairs by name."""
        return {name: entry for name, entry in self.entries.items() if isinstance(entry, PreferencePairsEntry)}

    def _of_kind(self, name: str, kind: type[Entry], described: str) -> Entry:
        entry = self.entry(name)
        if not isinstance(entry, kind):
            fitting = [other for other, candidate in self.entries.items() if isinstance(candidate, kind)]
            raise ConfigurationError(
                f"data set {name!r} is not {described}",
                where=str(self.path),
                given=f"kind: {entry.kind}",
                allowed=listed(fitting, name) or "(the catalog has none)",
            )
        return entry


def load_dataset_catalog(path: Path) -> DatasetCatalog:
    """Read the catalog file at ``path``: a mapping from the name of a data set to its entry.

    Raises:
        ConfigurationError: at the first fault, naming the file, the data set, the key, the value given and what is
            allowed.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise ConfigurationError(
            "not a catalog", where=str(path), given=type(content).__name__, allowed="a mapping from data set to entry"
        )
    return DatasetCatalog(path, {name: _entry(path, name, values) for name, values in content.items()})


def _entry(path: Path, name: object, values: object) -> DatasetEntry:
    if not isinstance(name, str) or not name.replace("_", "").isalnum() or not name.islower() or not name.isascii():
        raise ConfigurationError(
            "not a name for a data set", where=str(path), given=repr(name), allowed="lower-case letters, digits and '_'"
        )
    where = f"{path}, data set {name!r}"
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind not in _ENTRY_KINDS:
        raise ConfigurationError(
            "key 'kind': no such kind of data set",
            where=where,
            given=repr(kind),
            allowed=", ".join(_ENTRY_KINDS),
            remedy=did_you_mean(str(kind), _ENTRY_KINDS),
        )
    model = _ENTRY_KINDS[kind]
    sources = values.get("sources") if isinstance(values, dict) else None
    for position, source in enumerate(sources if isinstance(sources, list) else [], start=1):
        # Each source on its own first, so that an unknown key is compared with the keys of its kind.
        _check_source(source, _SOURCE_KINDS[model], f"{where}, source {position}")
    return validate_parameters(model, values, where=where)


def _check_source(source: object, kinds: Mapping[str, type[Parameters]], where: str) -> None:
    kind = source.get("kind") if isinstance(source, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigurationError(
            "key 'kind': no such kind of source",
            where=where,
            given=repr(kind),
            allowed=", ".join(kinds),
            remedy=did_you_mean(str(kind), kinds),
        )
    validate_parameters(kinds[kind], source, where=where)
