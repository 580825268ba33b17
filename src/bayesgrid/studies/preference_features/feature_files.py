"""The file of features that other studies read, and the shards from which it is put together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from bayesgrid.errors import DataError, NumericalError, StateError
from bayesgrid.store.atomic import atomic_write

__all__ = [
    "FEATURES_FILE",
    "ResponseFeatures",
    "find_features",
    "half_precision",
    "read_features",
    "read_shard",
    "write_features",
    "write_shard",
]

FEATURES_FILE = "features.safetensors"
_ARRAYS = ("responses", "prompts", "positions", "tokens", "truncated")


@dataclass(frozen=True, eq=False)
class ResponseFeatures:
    """Features of R' responses, which may be fewer than the data set has, and of all its P prompts.

    Args:
        responses: one row for each response that was read ``[R', hidden]``, float16.
        prompts: one row for each prompt of the data set by itself ``[P, hidden]``, float16.
        positions: where in the data set each response stands ``[R']``, ascending.
        tokens: tokens of each response's input, as read ``[R']``.
        truncated: whether that input had been longer ``[R']``.
        settings: what they were computed with: ``model``, ``model_revision``, ``dataset``, ``data_version``,
            ``texts_sha256``, and the values of the run's specification.
    """

    responses: NDArray[np.float16]
    prompts: NDArray[np.float16]
    positions: NDArray[np.int64]
    tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    settings: Mapping[str, object]

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of ``responses`` of each response that is named by its position in the data set.

        Raises:
            DataError: if one of them has no features.
        """
        found = np.searchsorted(self.positions, positions)
        held = found < len(self.positions)
        held[held] = self.positions[found[held]] == np.asarray(positions)[held]
        if not held.all():
            raise DataError(
                "the response has no features",
                where=f"response {int(np.asarray(positions)[~held][0])} of data set {self.settings['dataset']!r}",
                given=f"systems: {self.settings['systems']}",
                remedy="leave out pairs of other systems, or compute the features of all of them",
            )
        return found.astype(np.int64)


def write_features(state: Path, features: ResponseFeatures) -> Path:
    """Write ``features`` into the state folder of their run, atomically, and return the path of the file."""
    arrays = {name: np.ascontiguousarray(getattr(features, name)) for name in _ARRAYS}
    path = state / FEATURES_FILE
    _write(path, arrays, features.settings)
    return path


def read_features(state: Path, *, texts_sha256: str, model: str, model_revision: str | None = None) -> ResponseFeatures:
    """Return the features that the run with state folder ``state`` has computed.

    Args:
        state: the run's state folder, as ``RunInputs.needs`` names it.
        texts_sha256: digest of the texts that the reader has, see ``texts_digest``.
        model: the base model that the reader means.
        model_revision: the identity of its weights; not compared by default.

    Raises:
        StateError: if there are none, the file is damaged, or they are those of another model or of other texts.
    """
    path = state / FEATURES_FILE
    features = _read_features(path)
    wanted = {"model": model, "model_revision": model_revision, "texts_sha256": texts_sha256}
    for key, what in (("model", "another model"), ("model_revision", "other weights"), ("texts_sha256", "other texts")):
        if wanted[key] is not None and features.settings.get(key) != wanted[key]:
            raise StateError(
                f"the features were computed from {what}",
                where=f"{path}, {key}",
                given=features.settings.get(key),
                allowed=wanted[key],
                remedy="plan the run again, so that it builds on features of its own data and model",
            )
    return features


def find_features(state: Path, settings: Mapping[str, object]) -> ResponseFeatures | None:
    """Return the features in ``state`` if they are whole and were computed with just these settings, else None."""
    try:
        features = _read_features(state / FEATURES_FILE)
    except StateError:
        return None
    return features if features.settings == settings else None


def half_precision(features: NDArray[np.float32], where: str) -> NDArray[np.float16]:
    """Return ``features`` as float16.

    Raises:
        NumericalError: if one of them is not finite, or too large for it.
    """
    with np.errstate(over="ignore"):
        stored = features.astype(np.float16)
    if not np.isfinite(stored).all():
        raise NumericalError(
            "a feature is not finite in half precision",
            where=where,
            given=float(np.abs(features).max()),
            allowed="finite numbers below 65504",
            remedy="compute them with 'precision: float32'; if they are still too large, take another model",
        )
    return stored


def read_shard(path: Path, settings: Mapping[str, object], rows: NDArray[np.int64]) -> NDArray[np.float16] | None:
    """Return the features in a shard, or None if there is no such file, or it holds other rows or is of another run."""
    try:
        arrays, found = _read(path)
    except StateError:
        return None
    if found != settings or set(arrays) != {"rows", "features"}:
        return None
    return arrays["features"] if np.array_equal(arrays["rows"], rows) else None


def write_shard(
    path: Path, settings: Mapping[str, object], rows: NDArray[np.int64], features: NDArray[np.float16]
) -> None:
    """Write the features of ``rows``, atomically: a shard that is there is complete."""
    _write(path, {"rows": rows, "features": features}, settings)


def _read_features(path: Path) -> ResponseFeatures:
    arrays, settings = _read(path)
    if set(arrays) != set(_ARRAYS):
        raise StateError("the file of features lacks arrays", where=str(path), given=", ".join(sorted(arrays)))
    return ResponseFeatures(**arrays, settings=settings)


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, object]) -> None:
    with atomic_write(path) as temporary:
        header = {"settings": json.dumps(dict(settings), sort_keys=True)}
        safetensors.numpy.save_file(dict(arrays), temporary, metadata=header)


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, object]]:
    try:
        with safe_open(path, framework="numpy") as file:
            settings = json.loads((file.metadata() or {})["settings"])
            return {name: file.get_tensor(name) for name in file.keys()}, settings  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise StateError(
            "there are no features", where=str(path), remedy="compute the run of 'preference_features' first"
        ) from None
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise StateError(
            f"the file of features is damaged: {error}", where=str(path), remedy="delete it and compute the run again"
        ) from None
