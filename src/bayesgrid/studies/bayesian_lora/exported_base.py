"""The base model of an exported adapter, named so that transformers finds it without this project."""

import json
import re
from pathlib import Path

from bayesgrid.adapters.peft_configuration import BaseReference
from bayesgrid.adapters.posterior_files import PosteriorProvenance
from bayesgrid.errors import ConfigurationError, DataError, StateError
from bayesgrid.models.prepare import RECORD_FILE, find_model

__all__ = ["named_base", "prepared_base"]

_HUB = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@(?P<revision>[\w./-]+)")


def prepared_base(models_root: Path, provenance: PosteriorProvenance) -> BaseReference:
    """Return the repository and commit of a base that came from the hub, or else the folder it was prepared in.

    Raises:
        DataError: if the base is not prepared here.
        StateError: if its files changed, or its record is damaged.
    """
    name, revision = provenance.base_model, provenance.base_revision
    remedy = f"run `bayesgrid prepare {name}`, or name a copy of the base with --base"
    try:
        folder = find_model(models_root, name, revision)
    except (DataError, StateError) as error:
        raise type(error)(error.what, where=error.where, given=error.given, remedy=remedy) from None
    record = json.loads((models_root / f"{name}-{revision}" / RECORD_FILE).read_text(encoding="utf-8"))
    source = record.get("source", {})
    if source.get("kind") == "hub":
        return BaseReference(source["repo"], source["revision"])
    return BaseReference(str(folder.resolve()), None)


def named_base(text: str, provenance: PosteriorProvenance) -> BaseReference:
    """Return the base that the user names: a folder, or ``ORG/NAME@REVISION`` on the hub.

    Raises:
        ConfigurationError: if it is neither, or the folder holds a model of another width.
    """
    folder = Path(text).expanduser()
    if folder.is_dir():
        _require_width(folder, provenance)
        return BaseReference(str(folder.resolve()), None)
    found = _HUB.fullmatch(text)
    if found is None:
        raise ConfigurationError(
            "no such base model",
            where="--base",
            given=text,
            allowed="a folder with config.json and weights, or ORG/NAME@REVISION on the hub",
        )
    return BaseReference(found["repository"], found["revision"])


def _require_width(folder: Path, provenance: PosteriorProvenance) -> None:
    path = folder / "config.json"
    try:
        configuration = json.loads(path.read_text(encoding="utf-8"))
        width = configuration.get("text_config", configuration).get("hidden_size")
    except (OSError, ValueError, AttributeError):
        raise ConfigurationError(
            "the folder holds no model: its config.json is missing or damaged", where=str(path), given="--base"
        ) from None
    expected = int(provenance.head_rows.shape[1])
    if width is not None and width != expected:
        raise ConfigurationError(
            "the adapter belongs to another base model: the hidden states differ in width",
            where=str(path),
            given=width,
            allowed=f"{expected}, that of {provenance.base_model}",
        )
