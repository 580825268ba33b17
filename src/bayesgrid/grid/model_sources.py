"""The model catalog ``config/models.yaml`` in typed form: what each base model is, and where it can come from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bayesgrid.errors import ConfigurationError, did_you_mean
from bayesgrid.grid.parameters import Parameters, listed, unknown, validate_parameters
from bayesgrid.grid.sources import RelativePath, Sha256
from bayesgrid.grid.yaml_files import read_yaml

__all__ = [
    "HubModelSource",
    "ModelCatalog",
    "ModelEntry",
    "ModelSource",
    "PathModelSource",
    "WheelArchive",
    "WheelFolderSource",
    "WheelModelSource",
    "load_model_catalog",
]


class PathModelSource(Parameters):
    """A folder with a copy of the weights that the other source names: config, safetensors, tokenizer.

    The user names it under ``user_files``, or it lies below the mirror. It is used where it lies.
    """

    kind: Literal["path"]
    folder: RelativePath | None = None
    """Folder relative to the mirror's root; null when only a folder that the user names will do."""


class _InWheel(Parameters):
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][A-Za-z0-9.!+]*$")
    wheel_sha256: Sha256 | None = None
    """Checksum of the whole wheel, for a package that has one wheel for all platforms."""


class WheelModelSource(_InWheel):
    """A GGUF file in one package's wheel; it is converted once to safetensors in float32."""

    kind: Literal["wheel"]
    member: Annotated[RelativePath, Field(pattern=r"\.gguf$")]
    """Path of the GGUF file inside the wheel."""
    sha256: Sha256
    """Checksum of the member."""


class WheelArchive(Parameters):
    """A zip file inside a wheel."""

    member: Annotated[RelativePath, Field(pattern=r"\.zip$")]
    """Path of the zip file inside the wheel."""
    sha256: Sha256
    """Checksum of the zip file."""


class WheelFolderSource(_InWheel):
    """A folder of files in one package's wheel, in the form in which transformers loads them."""

    kind: Literal["wheel_folder"]
    archive: WheelArchive | None = None
    """A zip file inside the wheel that holds the folder; null where the wheel holds it itself."""
    folder: RelativePath | None = None
    """Of the files, inside the wheel or the archive; null for its top."""
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")], Sha256] = Field(min_length=1)
    """The files that are taken, by name, with the checksum of each: configuration, safetensors and tokenizer."""


class HubModelSource(Parameters):
    """A Hugging Face model repository at a pinned revision."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[^/\s]+/[^/\s]+$")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    """A commit, never a branch: a branch moves. Null refuses every run that asks for the model."""


ModelSource = Annotated[
    PathModelSource | WheelModelSource | WheelFolderSource | HubModelSource, Field(discriminator="kind")
]

_SOURCE_KINDS: dict[str, type[Parameters]] = {
    "path": PathModelSource,
    "wheel": WheelModelSource,
    "wheel_folder": WheelFolderSource,
    "hub": HubModelSource,
}


class ModelEntry(Parameters):
    """One base model: what it is, whose it is, how large it is, and its sources in order of preference."""

    label: str
    """What tables and figures call it; says so when the weights are not the published ones."""
    version: int = Field(default=1, ge=1)
    """Raised by hand when the same weights are converted in another way."""
    licence: str
    citation: str
    parameters: int = Field(ge=1)
    """Number of weights, approximately; for tables and for estimates of memory."""
    context_length: int = Field(ge=1)
    """Longest input in tokens."""
    chat: bool
    """Whether the tokenizer has a chat template."""
    modality: Literal["text", "vision"]
    """``vision`` reads text and images."""
    architecture: Literal["causal", "encoder"] = "causal"
    """``encoder`` attends in both directions, and has no head that answers or writes: it is there for its features."""
    note: str | None = None
    """What a reader of results with this model should know about it."""
    weights: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    """What the sources have in common: a commit or a checksum. Only for an entry that does not have exactly one source
    besides folders, whose commit or checksum would be the identity."""
    sources: tuple[ModelSource, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _weights_are_identified_once(self) -> Self:
        identified = [source for source in self.sources if not isinstance(source, PathModelSource)]
        if self.weights is None and len(identified) != 1:
            raise ValueError(
                "a model with several sources, or with folders alone, needs 'weights', the commit or checksum that "
                "says what all of them hold"
            )
        return self

    @model_validator(mode="after")
    def _an_encoder_reads_text_and_does_not_chat(self) -> Self:
        if self.architecture == "encoder" and (self.chat or self.modality != "text"):
            raise ValueError("an encoder has 'chat: false' and 'modality: text'")
        return self

    def unpinned_source(self) -> int | None:
        """Return the position of the hub source that names no revision, counted from 1; None when all are pinned."""
        for position, source in enumerate(self.sources, start=1):
            if isinstance(source, HubModelSource) and source.revision is None:
                return position
        return None

    def revision(self) -> str:
        """Return the identity of the weights, ``v<version>-<12 hex digits>``, a part of every run's identity.

        The digits are those of a SHA-256 over ``version`` and the commit or checksum of the weights. Which of several
        sources served, where it lies, its label or its licence make no difference.

        Raises:
            ConfigurationError: if a hub source names no revision.
        """
        unpinned = self.unpinned_source()
        if unpinned is not None:
            raise ConfigurationError(
                "the model has no revision, so nobody could tell which weights a result came from",
                where=f"model {self.label!r}, key 'sources.{unpinned}.revision'",
                allowed="a commit of the repository, 40 hexadecimal digits",
                remedy="look it up on the hub and fill it in",
            )
        text = json.dumps({"version": self.version, **self._identity()}, sort_keys=True, separators=(",", ":"))
        return f"v{self.version}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def _identity(self) -> dict[str, Any]:
        if self.weights is not None:
            return {"weights": self.weights}
        source = next(source for source in self.sources if not isinstance(source, PathModelSource))
        if isinstance(source, HubModelSource):
            return {"repo": source.repo, "weights": source.revision}
        return {"weights": source.files if isinstance(source, WheelFolderSource) else source.sha256}


@dataclass(frozen=True)
class ModelCatalog:
    """All base models by name, as one file defines them."""

    path: Path
    entries: Mapping[str, ModelEntry]

    def entry(self, name: str) -> ModelEntry:
        """Return the model called ``name``.

        Raises:
            ConfigurationError: if there is none, with the nearest name, or if its hub source names no revision, with
                the key to fill in.
        """
        if name not in self.entries:
            raise ConfigurationError(
                unknown("model", name, self.entries),
                where=str(self.path),
                allowed=listed(self.entries, name),
                remedy="or add an entry for it to that file",
            )
        entry = self.entries[name]
        unpinned = entry.unpinned_source()
        if unpinned is not None:
            raise ConfigurationError(
                f"model {name!r} cannot be used: its hub source names no revision",
                where=f"{self.path}, model {name!r}, source {unpinned}, key 'revision'",
                given="null",
                allowed="a commit of the repository, 40 hexadecimal digits",
                remedy="look it up on the hub and fill it in",
            )
        return entry


def load_model_catalog(path: Path) -> ModelCatalog:
    """Read the catalog file at ``path``: a mapping from the name of a model to its entry.

    Raises:
        ConfigurationError: at the first fault, naming the file, the model, the key, the value given and what is
            allowed.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise ConfigurationError(
            "not a catalog", where=str(path), given=type(content).__name__, allowed="a mapping from model to entry"
        )
    return ModelCatalog(path, {name: _entry(path, name, values) for name, values in content.items()})


def _entry(path: Path, name: object, values: object) -> ModelEntry:
    if not isinstance(name, str) or not name.replace("_", "").isalnum() or not name.islower() or not name.isascii():
        raise ConfigurationError(
            "not a name for a model", where=str(path), given=repr(name), allowed="lower-case letters, digits and '_'"
        )
    where = f"{path}, model {name!r}"
    sources = values.get("sources") if isinstance(values, dict) else None
    for position, source in enumerate(sources if isinstance(sources, list) else [], start=1):
        # Each source on its own first, so that an unknown key is compared with the keys of its kind.
        _check_source(source, f"{where}, source {position}")
    return validate_parameters(ModelEntry, values, where=where)


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
