"""Checkpoints: tensors as safetensors with their metadata and checksum, the last two kept, never a pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from bayesgrid.errors import StateError
from bayesgrid.store.atomic import atomic_write

__all__ = ["Checkpoint", "CheckpointStore"]

_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A saved state: the step it was taken after, named arrays, and plain JSON metadata."""

    step: int
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one run, in one folder, newest last.

    Args:
        folder: where they are; made on first save.
        run_id: written into each file, so that a checkpoint of another run is refused.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder = folder
        self._run_id = run_id

    def save(self, step: int, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> Path:
        """Write a checkpoint atomically, drop all but the last two, and return its path."""
        body = json.dumps(dict(metadata), sort_keys=True, allow_nan=False)
        contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        header = {
            "run": self._run_id,
            "step": str(step),
            "metadata": body,
            "checksum": _checksum(contiguous, body),
        }
        path = self._folder / f"step-{step:08d}.safetensors"
        with atomic_write(path) as temporary:
            safetensors.numpy.save_file(contiguous, temporary, metadata=header)
        for old in self._paths()[:-_KEPT]:
            old.unlink(missing_ok=True)
        return path

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint, or None when there is none.

        Raises:
            StateError: if the file is damaged or belongs to another run; nothing is deleted.
        """
        paths = self._paths()
        return self._read(paths[-1]) if paths else None

    def clear(self) -> None:
        """Delete all checkpoints; called once the finished results are safe."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.safetensors"))

    def _read(self, path: Path) -> Checkpoint:
        remedy = "move the file away; the run then continues from the checkpoint before it, or from the start"
        try:
            with safe_open(path, framework="numpy") as file:
                header = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            body, run, step, checksum = (header[key] for key in ("metadata", "run", "step", "checksum"))
        except (SafetensorError, KeyError, OSError, ValueError) as error:
            raise StateError(f"the checkpoint is damaged: {error}", where=str(path), remedy=remedy) from None
        if checksum != _checksum(arrays, body):
            raise StateError("the checkpoint is damaged: its checksum does not fit", where=str(path), remedy=remedy)
        if run != self._run_id:
            raise StateError(
                "the checkpoint belongs to another run", where=str(path), given=run, allowed=self._run_id, remedy=remedy
            )
        return Checkpoint(int(step), arrays, json.loads(body))


def _checksum(arrays: Mapping[str, np.ndarray], metadata: str) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
