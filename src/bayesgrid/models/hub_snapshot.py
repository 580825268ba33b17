"""One model repository of the Hugging Face hub, at one commit, in one folder."""

import importlib
import socket
from collections.abc import Iterator
from pathlib import Path

from bayesgrid.errors import DataError
from bayesgrid.grid.model_sources import HubModelSource

__all__ = ["HubUnreachableError", "download_snapshot"]

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_UNWANTED = ["*/*"]
"""Subfolders hold the same weights in other formats."""


class HubUnreachableError(DataError):
    """The hub was not asked, or did not answer: nothing is wrong with the model."""


def download_snapshot(source: HubModelSource, folder: Path) -> None:
    """Download what loading needs of ``source`` into ``folder``; a download that was cut off goes on where it stopped.

    Raises:
        HubUnreachableError: if the hub cannot be reached, or ``HF_HUB_OFFLINE`` forbids to.
        DataError: if the hub does not know the commit, or asks for a licence to be accepted.
    """
    where = f"hub {source.repo} @ {source.revision}"
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
        raise _explained(error, source, where, str(hub.constants.ENDPOINT)) from error


def _explained(error: BaseException, source: HubModelSource, where: str, endpoint: str) -> DataError:
    """Return the error of the hub's client in words that say what to do about it."""
    # It wraps what happened, at times twice, and knows the reason only inside.
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    if "OfflineModeIsEnabled" in names:
        return HubUnreachableError(
            "the hub was not asked, because HF_HUB_OFFLINE is set", where=where, remedy="unset HF_HUB_OFFLINE"
        )
    if "GatedRepoError" in names:
        return DataError(
            "the licence of the model is to be accepted first",
            where=where,
            remedy=f"accept it at {endpoint}/{source.repo}, and set HF_TOKEN to a token of that account",
        )
    if "RepositoryNotFoundError" in names:
        return DataError(
            "the hub has no such repository, or it is private",
            where=where,
            remedy="correct 'repo' in config/models.yaml, or set HF_TOKEN to a token that may read it",
        )
    if "RevisionNotFoundError" in names:
        return DataError(
            "the repository has no such commit", where=where, remedy="correct 'revision' in config/models.yaml"
        )
    lost = next((cause for cause in reversed(causes) if _is_lost_connection(cause)), None)
    if lost is not None:
        return HubUnreachableError(
            f"{endpoint} cannot be reached: {_first_line(lost)}",
            where=where,
            remedy="see that this machine has internet, and that a proxy is set where one is needed (HTTPS_PROXY)",
        )
    return DataError(f"the hub does not serve it: {_first_line(error)}", where=where)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_lost_connection(error: BaseException) -> bool:
    # Of the client's HTTP library only names are known here: its errors derive from Exception alone.
    named = type(error).__name__.startswith(("Connect", "NetworkError", "ReadTimeout", "ProxyError", "PoolTimeout"))
    return named or isinstance(error, (ConnectionError, TimeoutError, socket.gaierror))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
