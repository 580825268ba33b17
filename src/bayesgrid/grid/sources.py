"""The data-set catalog ``config/datasets.yaml`` in typed form: what each data set is, and where it can come from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bayesgrid.errors import ConfigurationError, did_you_mean
from bayesgrid.grid.parameters import Parameters, validate_parameters
from bayesgrid.grid.yaml_files import read_yaml

__all__ = [
    "BimodalSineParameters",
    "DatasetCatalog",
    "DatasetEntry",
    "FileSource",
    "GeneratorSource",
    "HubSource",
    "Loader",
    "MirrorFile",
    "MirrorSource",
    "Sha256",
    "Source",
    "UserFile",
    "WheelSource",
    "load_dataset_catalog",
]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 checksum as 64 lower-case hexadecimal digits."""

Loader = Literal[
    "parkinsons",
    "diamonds",
    "sarcos_subset",
    "sarcos_matlab",
    "superconductors_rebuilt",
    "superconductors_uci",
    "uci_test_masks",
]
"""How the files of a source are read; each name is a loader of ``bayesgrid.data.regression_tables``."""


def _stays_below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise ValueError("a path relative to its root, without '..', is needed")
    return path


RelativePath = Annotated[str, AfterValidator(_stays_below)]
"""A path that stays below the folder it is relative to."""


class MirrorFile(Parameters):
    """One file below the mirror's root."""

    path: RelativePath
    """Path relative to the mirror's root."""
    sha256: Sha256


class MirrorSource(Parameters):
    """Files in the local mirror, the folder that ``BAYESGRID_MIRROR`` or the configuration names."""

    kind: Literal["mirror"]
    loader: Loader
    files: dict[str, MirrorFile] = Field(min_length=1)
    """The files the loader reads, by the role it knows them under (``table`` and, for some, further ones)."""


class WheelSource(Parameters):
    """One member of one package's wheel; the wheel is downloaded alone and nothing of it is installed."""

    kind: Literal["wheel"]
    loader: Loader
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][A-Za-z0-9.!+]*$")
    member: RelativePath
    """Path of the file inside the wheel; the loader reads it as ``table``."""
    sha256: Sha256
    """Checksum of the member."""
    wheel_sha256: Sha256 | None = None
    """Checksum of the whole wheel, for a package that has one wheel for all platforms."""


class HubSource(Parameters):
    """One file of a Hugging Face data-set repository at a pinned revision; the loader reads it as ``table``."""

    kind: Literal["hub"]
    loader: Loader
    repo: str = Field(pattern=r"^[^/\s]+/[^/\s]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """A commit, never a branch: a branch moves."""
    file: RelativePath
    sha256: Sha256


class UserFile(Parameters):
    """A file that the user supplies."""

    name: RelativePath
    """Its name when the user points to a folder instead of a single file."""
    sha256: Sha256 | None = None


class FileSource(Parameters):
    """A file, or a folder of files, that the user names for this data set in the configuration."""

    kind: Literal["file"]
    loader: Loader
    files: dict[str, UserFile] = Field(min_length=1)


class BimodalSineParameters(Parameters):
    """Parameters of the bimodal sine: ``y = sin(x) ± offset + N(0, noise²)``, ``x ~ U(-half_width, half_width)``."""

    rows: int = Field(default=1000, ge=2)
    half_width: float = Field(default=4.0, gt=0)
    offset: float = Field(default=0.5, ge=0)
    """Distance of either mode from the sine; the sign is a fair coin."""
    noise: float = Field(default=0.2, ge=0)
    """Standard deviation around the mode."""
    seed: int = Field(default=0, ge=0)


class GeneratorSource(Parameters):
    """Rows drawn by this package itself."""

    kind: Literal["generator"]
    name: Literal["bimodal_sine"]
    parameters: BimodalSineParameters = BimodalSineParameters()


Source = Annotated[
    MirrorSource | WheelSource | HubSource | FileSource | GeneratorSource,
    Field(discriminator="kind"),
]

_SOURCE_KINDS: dict[str, type[Parameters]] = {
    "mirror": MirrorSource,
    "wheel": WheelSource,
    "hub": HubSource,
    "file": FileSource,
    "generator": GeneratorSource,
}


def _pinned_content(source: Source) -> dict[str, Any] | None:
    """Return the loader of ``source`` and the checksum of each of its files, or None if they do not fix its content."""
    match source:
        case GeneratorSource():
            return None
        case WheelSource() | HubSource():
            checksums: dict[str, str | None] = {"table": source.sha256}
        case MirrorSource() | FileSource():
            checksums = {role: file.sha256 for role, file in source.files.items()}
    return None if None in checksums.values() else {"loader": source.loader, "files": checksums}


class DatasetEntry(Parameters):
    """One data set: what it is, whose it is, how large it is, and its sources in order of preference."""

    kind: Literal["regression_table"]
    """What the rows are, and so which studies can read them."""
    label: str
    """What tables and figures call it; says so when it is not the published data set itself."""
    version: int = Field(ge=1)
    """Raised by hand when the same source is read or generated in another way."""
    licence: str
    citation: str
    rows: int = Field(ge=2)
    features: int = Field(ge=1)
    published_rows: int | None = Field(default=None, ge=2)
    """Rows of the published data set, where it has one."""
    groups: str | None = None
    """What a group of the grouped split is (``subject``, ...); null when the rows have no groups."""
    published_splits: int | None = Field(default=None, ge=1)
    """Number of fixed test splits published with the data set, folds of equal size; null when there are none."""
    note: str | None = None
    """What a reader of results on this data set should know about it."""
    origin: str | None = None
    """Where a user who has none of the sources gets the files."""
    table_sha256: Sha256 | None = None
    """Checksum of the prepared table's values; sources that give the same values are the same data set. It may be left
    out where there is one source, or where all sources are read alike from files with the same checksums."""
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _several_sources_need_a_common_checksum(self) -> Self:
        if len(self.sources) > 1 and self.table_sha256 is None:
            first = _pinned_content(self.sources[0])
            if first is None or any(_pinned_content(source) != first for source in self.sources):
                raise ValueError(
                    "a data set with several sources needs 'table_sha256', which shows that they agree, unless their "
                    "loader and the checksums of all their files are the same"
                )
        return self

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
            values["source"] = only.model_dump(mode="json") if len(self.sources) == 1 else _pinned_content(only)
            values["size"] = [self.rows, self.features]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return f"v{self.version}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class DatasetCatalog:
    """All data sets by name, as one file defines them."""

    path: Path
    entries: Mapping[str, DatasetEntry]

    def entry(self, name: str) -> DatasetEntry:
        """Return the data set called ``name``.

        Raises:
            ConfigurationError: if there is none, with the nearest name.
        """
        if name not in self.entries:
            raise ConfigurationError(
                "unknown data set",
                where=str(self.path),
                given=name,
                allowed=", ".join(self.entries),
                remedy=did_you_mean(name, self.entries),
            )
        return self.entries[name]


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
    sources = values.get("sources") if isinstance(values, dict) else None
    for position, source in enumerate(sources if isinstance(sources, list) else [], start=1):
        # Each source on its own first, so that an unknown key is compared with the keys of its kind.
        _check_source(source, f"{where}, source {position}")
    return validate_parameters(DatasetEntry, values, where=where)


def _check_source(source: object, where: str) -> None:
    kind = source.get("kind") if isinstance(source, dict) else None
    if kind not in _SOURCE_KINDS:
        raise ConfigurationError(
            "key 'kind': no such kind of source",
            where=where,
            given=repr(kind),
            allowed=", ".join(_SOURCE_KINDS),
            remedy=did_you_mean(str(kind), _SOURCE_KINDS),
        )
    validate_parameters(_SOURCE_KINDS[kind], source, where=where)
