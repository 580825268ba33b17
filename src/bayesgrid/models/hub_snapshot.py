"""One model repository of the Hugging Face hub, at one commit, in one folder."""

import importlib
from pathlib import Path

from bayesgrid.errors import DataError
from bayesgrid.grid.model_sources import HubModelSource

__all__ = ["download_snapshot"]

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_UNWANTED = ["*/*"]
"""Subfolders hold the same weights in other formats."""


def download_snapshot(source: HubModelSource, folder: Path) -> None:
    """Download what loading needs of ``source`` into ``folder``; a download that was cut off goes on where it stopped.

    Raises:
        DataError: if the hub cannot be reached, does not know the commit, or asks for a licence to be accepted.
    """
    where = f"hub {source.repo} @ {(source.revision or 'no revision')[:8]}"
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise DataError("the package huggingface_hub is not installed", where=where) from None
    try:
        hub.snapshot_download(
            source.repo,
            revision=source.revision,
            local_dir=str(folder),
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
        )
    except Exception as error:
        # The hub's client raises errors of several libraries, depending on what failed.
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"the hub does not serve it: {said[0]}",
            where=where,
            remedy="a machine without internet needs the model in a folder; a gated model needs its licence accepted "
            "and a token set",
        ) from error
