"""One adapter of a posterior in a folder of its own, with a base model that stock PEFT finds."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from bayesgrid.adapters.adapter_posterior import JSON
from bayesgrid.adapters.low_rank import AdapterWeights
from bayesgrid.adapters.peft_configuration import BaseReference
from bayesgrid.adapters.peft_files import CONFIGURATION_FILE, WEIGHTS_FILE
from bayesgrid.adapters.posterior_files import HEAD_FILE, PosteriorProvenance, write_adapter_with_head
from bayesgrid.errors import StateError
from bayesgrid.store.atomic import write_json

__all__ = ["DRAW_FILE", "require_free_folder", "write_exported_adapter"]

DRAW_FILE = "draw.json"
"""Written beside an exported adapter: which draw of which posterior it is."""

# PEFT reads no folder without its configuration, so that file comes last.
_FILES = (HEAD_FILE, DRAW_FILE, WEIGHTS_FILE, CONFIGURATION_FILE)
_PARTIAL = ".export-partial"


def require_free_folder(destination: Path, *, overwrite: bool) -> None:
    """Refuse a destination that holds anything, or, with ``overwrite``, anything but an earlier export.

    Raises:
        StateError: naming what is there.
    """
    if destination.exists() and not destination.is_dir():
        raise StateError("not a folder", where=str(destination), remedy="name a folder, which is made if absent")
    found = {path.name for path in destination.glob("*")} - {_PARTIAL}
    foreign = sorted(found - set(_FILES))
    if foreign:
        raise StateError(
            "the folder holds files that no export wrote",
            where=str(destination),
            given=", ".join(foreign[:3]),
            allowed=f"an empty folder, or an earlier export ({', '.join(_FILES)}) with --overwrite",
            remedy="name another folder",
        )
    if found and not overwrite:
        raise StateError(
            "the folder holds an earlier export",
            where=str(destination),
            given=", ".join(sorted(found)),
            remedy="name another folder, or replace it with --overwrite",
        )


def write_exported_adapter(
    destination: Path,
    weights: AdapterWeights,
    provenance: PosteriorProvenance,
    *,
    base: BaseReference,
    origin: Mapping[str, JSON],
    overwrite: bool = False,
) -> None:
    """Write ``weights`` as a plain LoRA adapter, with its answer head and ``draw.json``, into a folder of its own.

    All files are written aside and moved in one go, the configuration last: a write that fails leaves an earlier export
    as it was, and one that is killed while moving leaves a folder that PEFT refuses.

    Args:
        destination: made if absent.
        weights: the adapter.
        provenance: labels and rows of the head.
        base: the base model as transformers finds it.
        origin: what ``draw.json`` says.
        overwrite: replace an earlier export.

    Raises:
        StateError: if the destination is not free, or no layer of the decoder is adapted.
        NumericalError: if a factor holds NaN or infinity.
    """
    require_free_folder(destination, overwrite=overwrite)
    partial = destination / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    try:
        write_adapter_with_head(partial, weights, provenance, base=base)
        write_json(partial / DRAW_FILE, dict(origin))
        (destination / CONFIGURATION_FILE).unlink(missing_ok=True)
        for name in _FILES:
            (partial / name).replace(destination / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
