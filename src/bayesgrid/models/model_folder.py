"""What a folder with a base model holds, and whether all of it is there; reads headers only, never the weights."""

import json
import os
from pathlib import Path
from typing import Any

from bayesgrid.errors import StateError

__all__ = ["check_model_folder", "weight_files"]

_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_HEADER_BYTES = 8
_LONGEST_HEADER = 100_000_000


def check_model_folder(folder: Path) -> None:
    """Check that ``folder`` holds a configuration, all weights as whole safetensors files, and a tokenizer.

    Raises:
        StateError: naming the file that is missing or cut off.
    """
    if not folder.is_dir():
        raise StateError("there is no such model folder", where=str(folder))
    if "model_type" not in _read_json(folder / "config.json"):
        raise StateError("the configuration names no 'model_type'", where=str(folder / "config.json"))
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        raise StateError(
            "the model folder has no tokenizer",
            where=str(folder),
            allowed=" or ".join(" with ".join(names) for names in _TOKENIZERS),
        )
    tensors_by_file = {path: _tensors_of(path) for path in weight_files(folder)}
    index = folder / _INDEX
    if index.is_file():
        for tensor, name in _read_json(index)["weight_map"].items():
            if tensor not in tensors_by_file[folder / name]:
                raise StateError(f"the file lacks the tensor {tensor!r}", where=str(folder / name))


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of the model in ``folder``, as its index lists them.

    Raises:
        StateError: if there is neither an index nor a single file, or the index is damaged.
    """
    index = folder / _INDEX
    if not index.is_file():
        if not (folder / _SINGLE).is_file():
            raise StateError("the model folder has no weights", where=str(folder), allowed=f"{_SINGLE} or {_INDEX}")
        return [folder / _SINGLE]
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise StateError("the index of the weights has no 'weight_map'", where=str(index))
    return [folder / name for name in sorted(set(weight_map.values()))]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError("the model folder lacks a file", where=str(path)) from None
    except ValueError as error:
        raise StateError(f"not JSON: {error}", where=str(path)) from None
    if not isinstance(content, dict):
        raise StateError("not a mapping", where=str(path))
    return content


def _tensors_of(path: Path) -> frozenset[str]:
    damaged = {"where": str(path), "remedy": "the file is damaged or cut off; fetch the model again"}
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(_HEADER_BYTES), "little")
            if not 0 < length <= min(size - _HEADER_BYTES, _LONGEST_HEADER):
                raise StateError("not a whole safetensors file", **damaged)
            header = json.loads(file.read(length))
    except FileNotFoundError:
        raise StateError("a file of the weights is missing", where=str(path)) from None
    except ValueError:
        raise StateError("the header of the safetensors file cannot be read", **damaged) from None
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    expected = _HEADER_BYTES + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if size != expected:
        raise StateError(
            "the safetensors file has another size than its header says", given=size, allowed=expected, **damaged
        )
    return frozenset(tensors)
