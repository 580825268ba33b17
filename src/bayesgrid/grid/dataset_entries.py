"""Data sets as the catalog describes them: one class for each kind, and the version of their values."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from bayesgrid.grid.data_sources import (
    AnySource,
    FileSource,
    GeneratorSource,
    HubSource,
    Loader,
    MirrorSource,
    PreferenceSource,
    QuestionSource,
    Sha256,
    Source,
    pinned_content,
)
from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.preference_sets import PreferenceFault, PreferenceLoader
from bayesgrid.grid.question_sets import LeakCount, PromptTemplate, QuestionLoader, QuestionSplit, SplitPair

__all__ = ["ChoiceQuestionsEntry", "DatasetEntry", "PreferencePairsEntry", "RegressionTableEntry"]


def _refuse_loaders_but(allowed: tuple[str, ...], sources: tuple[AnySource, ...]) -> None:
    for source in sources:
        if not isinstance(source, GeneratorSource) and source.loader not in allowed:
            raise ValueError(
                f"the loader {source.loader!r} reads another kind of data set; this kind has {', '.join(allowed)}"
            )


def _read_alike(sources: tuple[AnySource, ...]) -> bool:
    read = {
        (source.loader, *sorted(source.files))
        if isinstance(source, (MirrorSource, HubSource, FileSource))
        else source.kind
        for source in sources
    }
    return len(read) == 1


def _version_of(version: int, values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return f"v{version}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class DatasetEntry(Parameters):
    """One data set, of any kind: what it is, whose it is, and its sources in order of preference."""

    kind: str
    """What the rows are, and so which studies can read them."""
    label: str
    """What tables and figures call it; says so when it is not the published data set itself."""
    version: int = Field(ge=1)
    """Raised by hand when the same source is read or generated in another way."""
    licence: str
    citation: str
    groups: str | None = None
    """What a group of rows is that must not stand on two sides of a split (``subject``, ...); null when there are
    none."""
    note: str | None = None
    """What a reader of results on this data set should know about it."""
    origin: str | None = None
    """Where a user who has none of the sources gets the files."""
    sources: tuple[AnySource, ...]

    def how_to_obtain(self, name: str) -> str | None:
        """Return what a user can do who has none of the files of this entry, called ``name``; None if it needs none."""
        kinds = {source.kind for source in self.sources}
        mirror = "set BAYESGRID_MIRROR to a folder that holds the files"
        own = f"from {self.origin or self.citation}, and name them under `user_files: {name}:`"
        if kinds >= {"mirror", "file"}:
            return f"{mirror}, or get them {own}"
        if "file" in kinds:
            return f"get the files {own}"
        return f"{mirror}; the data go back to {self.citation}" if "mirror" in kinds else None

    def data_version(self) -> str:
        """Return the version of the values, ``v<version>-<12 hex digits>``, a part of every run's identity."""
        raise NotImplementedError

    def values_checksum(self) -> str | None:
        """Return the checksum that the prepared values must have, or None where the catalog gives none."""
        raise NotImplementedError


class RegressionTableEntry(DatasetEntry):
    """A table of numbers: features and a target."""

    kind: Literal["regression_table"]
    rows: int = Field(ge=2)
    features: int = Field(ge=1)
    published_rows: int | None = Field(default=None, ge=2)
    """Rows of the published data set, where it has one."""
    published_splits: int | None = Field(default=None, ge=1)
    """Number of fixed test splits published with the data set, folds of equal size; null when there are none."""
    table_sha256: Sha256 | None = None
    """Checksum of the prepared table's values; sources that give the same values are the same data set. It may be left
    out where there is one source, or where all sources are read alike from files with the same checksums."""
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sources_give_one_table(self) -> Self:
        _refuse_loaders_but(get_args(Loader), self.sources)
        if len(self.sources) > 1 and self.table_sha256 is None:
            first = pinned_content(self.sources[0])
            if first is None or any(pinned_content(source) != first for source in self.sources):
                raise ValueError(
                    "a data set with several sources needs 'table_sha256', which shows that they agree, unless their "
                    "loader and the checksums of all their files are the same"
                )
        return self

    def data_version(self) -> str:
        """Return the version of the values, ``v<version>-<12 hex digits>``, a part of every run's identity.

        The digits are those of a SHA-256 over ``version`` and the checksum of the values; where no such checksum is
        given, over the only source (a generator's parameters, the checksums of files), or over what several sources
        have in common (the loader and the checksums of files), and the size of the table. Which of several sources
        served, where it lies, its label or its licence make no difference.
        """
        values: dict[str, Any] = {"version": self.version}
        if self.table_sha256 is not None:
            values["table"] = self.table_sha256
        else:
            only = self.sources[0]
            values["source"] = only.model_dump(mode="json") if len(self.sources) == 1 else pinned_content(only)
            values["size"] = [self.rows, self.features]
        return _version_of(self.version, values)

    def values_checksum(self) -> str | None:
        """Return ``table_sha256``."""
        return self.table_sha256


class ChoiceQuestionsEntry(DatasetEntry):
    """Questions with a few possible answers, in up to three splits."""

    kind: Literal["choice_questions"]
    labels: tuple[str, ...] = Field(min_length=2)
    """The answers a model can give, each one word or letter; a question with fewer options uses the first of them."""
    template: PromptTemplate
    """How a question becomes a prompt."""
    splits: dict[QuestionSplit, Annotated[int, Field(ge=1)] | None] = Field(min_length=1)
    """Number of questions of each split there is; null for one that was not at hand when the entry was written."""
    known_leaks: dict[SplitPair, dict[LeakCount, Annotated[int, Field(ge=1)]]] | None = Field(default_factory=dict)
    """Leaks that the set is known to have, and is used with nevertheless; more are refused when it is prepared. Null
    where nobody has counted them: all are recorded, and warned about. No part of the version."""
    image_noise: int | None = Field(default=None, ge=1, le=255)
    """Standard deviation, on the scale from 0 to 255, of the noise added to the images of all splits."""
    image_noise_trial: int = Field(default=0, ge=0)
    """Which draw of that noise."""
    questions_sha256: Sha256 | None = None
    """Checksum of the prepared questions. Without it the first source fixes the content, and the others must have the
    same loader and files of the same roles."""
    sources: tuple[QuestionSource, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _labels_and_sources_fit(self) -> Self:
        if len(set(self.labels)) != len(self.labels) or not all(label.strip() == label != "" for label in self.labels):
            raise ValueError("labels must be different words without spaces around them")
        if self.questions_sha256 is not None and None in self.splits.values():
            raise ValueError("a data set with 'questions_sha256' has splits of known size")
        for pair in self.known_leaks or {}:
            if not {*pair.split("/")} <= self.splits.keys():
                raise ValueError(f"'known_leaks' compares {pair}, and the data set has {', '.join(self.splits)}")
        _refuse_loaders_but(get_args(QuestionLoader), self.sources)
        if self.questions_sha256 is None and not _read_alike(self.sources):
            raise ValueError(
                "a data set with several sources needs 'questions_sha256', which shows that they agree, unless they "
                "have the same loader and files of the same roles"
            )
        return self

    def data_version(self) -> str:
        """Return the version of the questions, ``v<version>-<12 hex digits>``, a part of every run's identity.

        The digits are those of a SHA-256 over ``version``, labels, template and the checksum of the questions; where no
        such checksum is given, over the first source, the sizes of the splits and the noise on the images.
        """
        values: dict[str, Any] = {"version": self.version, "labels": self.labels, "template": self.template}
        if self.questions_sha256 is not None:
            values["questions"] = self.questions_sha256
        else:
            values["source"] = self.sources[0].model_dump(mode="json")
            values["splits"] = self.splits
            values["noise"] = [self.image_noise, self.image_noise_trial]
        return _version_of(self.version, values)

    def values_checksum(self) -> str | None:
        """Return ``questions_sha256``."""
        return self.questions_sha256

    def has_images(self) -> bool:
        """Return whether a question is about an image, as its template says."""
        return self.template.startswith("image_")


class PreferencePairsEntry(DatasetEntry):
    """Pairs of responses to a prompt, and how likely the first of two is preferred."""

    kind: Literal["preference_pairs"]
    prompts: int | None = Field(default=None, ge=1)
    """Number of different prompts; null, as the next two, where the set was not at hand when the entry was written."""
    responses: int | None = Field(default=None, ge=2)
    pairs: int | None = Field(default=None, ge=1)
    known_faults: dict[PreferenceFault, Annotated[int, Field(ge=1)]] | None = Field(default_factory=dict)
    """Faulty rows that the published set is known to have, and that are left out; more are refused. Null where nobody
    has counted them: all are left out, and warned about. No part of the version."""
    pairs_sha256: Sha256 | None = None
    """Checksum of the prepared pairs. Without it the first source fixes the content, and the others must have the same
    loader and files of the same roles."""
    sources: tuple[PreferenceSource, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sources_fit(self) -> Self:
        _refuse_loaders_but(get_args(PreferenceLoader), self.sources)
        if self.pairs_sha256 is not None and None in (self.prompts, self.responses, self.pairs):
            raise ValueError("a data set with 'pairs_sha256' has known numbers of prompts, responses and pairs")
        if self.pairs_sha256 is None and not _read_alike(self.sources):
            raise ValueError(
                "a data set with several sources needs 'pairs_sha256', which shows that they agree, unless they have "
                "the same loader and files of the same roles"
            )
        return self

    def data_version(self) -> str:
        """Return the version of the pairs, ``v<version>-<12 hex digits>``, a part of every run's identity.

        The digits are those of a SHA-256 over ``version`` and the checksum of the pairs; where no such checksum is
        given, over the first source and the numbers of prompts, responses and pairs.
        """
        values: dict[str, Any] = {"version": self.version}
        if self.pairs_sha256 is not None:
            values["pairs"] = self.pairs_sha256
        else:
            values["source"] = self.sources[0].model_dump(mode="json")
            values["size"] = [self.prompts, self.responses, self.pairs]
        return _version_of(self.version, values)

    def values_checksum(self) -> str | None:
        """Return ``pairs_sha256``."""
        return self.pairs_sha256
