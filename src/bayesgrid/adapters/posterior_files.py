"""A posterior over adapters as a folder, whose mean stock PEFT can load.

::

    adapter/                 the mean as a plain LoRA adapter; absent if no layer of the decoder is adapted
    posterior.safetensors    the tensors of the method, named <module>.<tensor>
    posterior.json           method, settings, provenance, and the SHA-256 of every other file
    head.safetensors         the answer head: adapter pair, frozen rows of the labels, token ids of the labels
    members/<k>/             of an ensemble: each member as adapter folder with its head.safetensors
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bayesgrid.adapters.adapter_posterior import AdapterPosterior, check_posterior
from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.adapters.peft_configuration import BaseReference
from bayesgrid.adapters.peft_files import (
    CONFIGURATION_FILE,
    WEIGHTS_FILE,
    assert_live,
    read_peft_adapter,
    read_tensors,
    write_peft_adapter,
    write_tensors,
)
from bayesgrid.adapters.posterior_provenance import PosteriorProvenance, describe_provenance, provenance_from
from bayesgrid.data.checksums import sha256_of_file
from bayesgrid.errors import DataError, StateError
from bayesgrid.store.atomic import write_json

__all__ = [
    "HEAD_FILE",
    "POSTERIOR_FILE",
    "AdapterPosterior",
    "PosteriorProvenance",
    "read_posterior",
    "read_provenance",
    "write_adapter_with_head",
    "write_posterior",
]

POSTERIOR_FILE = "posterior.json"
HEAD_FILE = "head.safetensors"

_TENSORS_FILE = "posterior.safetensors"
_VERSION = 1
_REMEDY = "fit the method again, or take an intact copy of the whole folder"


def write_posterior(folder: Path, posterior: AdapterPosterior, provenance: PosteriorProvenance) -> None:
    """Write ``posterior`` into ``folder`` in the layout of this module, in float32.

    ``posterior.json`` is taken away first and written last, so an interrupted write leaves a folder that
    :func:`read_posterior` refuses. The adapters of an earlier posterior in the same folder are removed.

    Raises:
        StateError: if the posterior is not what its method needs, or the head's adapter does not fit the head's rows.
        NumericalError: if a tensor holds NaN or infinity; a posterior that was there before is kept.
    """
    check_posterior(posterior, where=str(folder))
    _require_head_fits(posterior.mean, provenance, folder)
    (folder / POSTERIOR_FILE).unlink(missing_ok=True)
    for earlier in ("adapter", "members"):
        shutil.rmtree(folder / earlier, ignore_errors=True)
    files = _write_adapter(folder, folder / "adapter", posterior.mean, provenance)
    for number, member in enumerate(posterior.members):
        files += _write_adapter(folder / "members" / str(number), folder / "members" / str(number), member, provenance)
    write_tensors(folder / _TENSORS_FILE, {name: tensor.float() for name, tensor in posterior.tensors.items()})
    files.append(folder / _TENSORS_FILE)
    description: dict[str, Any] = {
        "version": _VERSION,
        "method": posterior.method,
        "settings": dict(posterior.settings),
        "scaling": posterior.mean.scaling,
        "modules": sorted(posterior.mean.pairs),
        "members": len(posterior.members),
        **describe_provenance(provenance),
        "sha256": {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files},
    }
    write_json(folder / POSTERIOR_FILE, {**description, "checksum": _checksum(description)})


def read_posterior(folder: Path, *, allow_inert: bool = False) -> AdapterPosterior:
    """Read the posterior in ``folder`` after verifying every file of it.

    Args:
        folder: written by :func:`write_posterior`.
        allow_inert: accept a mean or member that changes nothing, as ``zeroshot`` and a posterior without adapted
            layers always may.

    Raises:
        StateError: if a file is missing, altered, of another version, or does not fit the method.
    """
    description = _read_description(folder)
    _verify_files(folder, description["sha256"])
    mean = _read_adapter(folder, folder / "adapter", description)
    places = [folder / "members" / str(number) for number in range(description["members"])]
    members = tuple(_read_adapter(place, place, description) for place in places)
    for weights in (mean, *members):
        if description["modules"] and description["method"] != "zeroshot" and not allow_inert:
            assert_live(weights, where=str(folder))
    posterior = AdapterPosterior(
        description["method"], mean, read_tensors(folder / _TENSORS_FILE), description["settings"], members
    )
    check_posterior(posterior, where=str(folder))
    return posterior


def read_provenance(folder: Path) -> PosteriorProvenance:
    """Read where the posterior in ``folder`` comes from, without its adapters.

    Raises:
        StateError: if ``posterior.json`` or ``head.safetensors`` is missing or altered.
    """
    description = _read_description(folder)
    _verify_files(folder, {HEAD_FILE: description["sha256"][HEAD_FILE]})
    return provenance_from(description, read_tensors(folder / HEAD_FILE)["base_rows"])


def write_adapter_with_head(
    folder: Path, weights: AdapterWeights, provenance: PosteriorProvenance, *, base: BaseReference | None = None
) -> None:
    """Write ``weights`` as a PEFT folder with the answer head beside it, in ``head.safetensors``.

    The head's tensors are ``base_rows [C, hidden]``, ``token_ids [C]`` and, if the head is adapted, ``lora_A
    [r, hidden]`` and ``lora_B [C, r]``: its logits are ``(base_rows + scaling · lora_B lora_A) h``.

    Args:
        folder: made if absent.
        weights: the adapter.
        provenance: labels, rows of the head and, by default, the base model that the configuration names.
        base: the base model that the configuration names instead.

    Raises:
        StateError: if no layer of the decoder is adapted, or the head's adapter does not fit the head's rows.
    """
    if set(weights.pairs) <= {ANSWER_HEAD}:
        raise StateError("the adapter changes no layer of the decoder, so there is no PEFT adapter", where=str(folder))
    _require_head_fits(weights, provenance, folder)
    _write_adapter(folder, folder, weights, provenance, base)


def _require_head_fits(weights: AdapterWeights, provenance: PosteriorProvenance, folder: Path) -> None:
    pair = weights.pairs.get(ANSWER_HEAD)
    if pair is not None and (pair.b.shape[0], pair.a.shape[1]) != tuple(provenance.head_rows.shape):
        raise StateError(
            "the head's adapter does not fit the head's rows",
            where=str(folder),
            given=(pair.b.shape[0], pair.a.shape[1]),
            allowed=tuple(provenance.head_rows.shape),
        )


def _write_adapter(
    head_folder: Path,
    adapter_folder: Path,
    weights: AdapterWeights,
    provenance: PosteriorProvenance,
    base: BaseReference | None = None,
) -> list[Path]:
    named = base or BaseReference(provenance.base_model, provenance.base_revision)
    _write_head(head_folder / HEAD_FILE, weights.pairs.get(ANSWER_HEAD), provenance)
    if set(weights.pairs) <= {ANSWER_HEAD}:
        return [head_folder / HEAD_FILE]
    write_peft_adapter(
        adapter_folder,
        weights,
        base_model=named.name,
        base_revision=named.revision,
        module_prefix=provenance.module_prefix,
    )
    return [head_folder / HEAD_FILE, adapter_folder / CONFIGURATION_FILE, adapter_folder / WEIGHTS_FILE]


def _write_head(path: Path, pair: LowRankPair | None, provenance: PosteriorProvenance) -> None:
    token_ids = torch.tensor(provenance.label_token_ids, dtype=torch.int64)
    tensors = {"base_rows": provenance.head_rows.float(), "token_ids": token_ids}
    if pair is not None:
        tensors |= {"lora_A": pair.a.float(), "lora_B": pair.b.float()}
    write_tensors(path, tensors)


def _read_adapter(head_folder: Path, adapter_folder: Path, description: Mapping[str, Any]) -> AdapterWeights:
    pairs: dict[str, LowRankPair] = {}
    backbone = [name for name in description["modules"] if name != ANSWER_HEAD]
    if backbone:
        weights = read_peft_adapter(
            adapter_folder,
            module_prefix=description["module_prefix"],
            base_model=description["base_model"],
            base_revision=description["base_revision"],
            modules=backbone,
            allow_inert=True,
        )
        pairs |= weights.pairs
    head = read_tensors(head_folder / HEAD_FILE)
    if ANSWER_HEAD in description["modules"]:
        if not {"lora_A", "lora_B"} <= set(head):
            raise StateError(
                "the answer head's factors are missing", where=str(head_folder / HEAD_FILE), remedy=_REMEDY
            )
        pairs[ANSWER_HEAD] = LowRankPair(head["lora_A"], head["lora_B"])
    return AdapterWeights(pairs, float(description["scaling"]))


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / POSTERIOR_FILE
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        checksum = description.pop("checksum")
    except FileNotFoundError:
        raise StateError(
            "not a complete posterior: its description is missing", where=str(path), remedy=_REMEDY
        ) from None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise StateError(f"the posterior's description is damaged: {error}", where=str(path), remedy=_REMEDY) from None
    if description.get("version") != _VERSION:
        raise StateError(
            "a posterior of another version", where=str(path), given=description.get("version"), allowed=_VERSION
        )
    if checksum != _checksum(description):
        raise StateError("the posterior's description was altered: its checksum does not fit", where=str(path))
    return description


def _verify_files(folder: Path, checksums: Mapping[str, str]) -> None:
    for name, expected in checksums.items():
        try:
            found = sha256_of_file(folder / name)
        except DataError as error:
            raise StateError(
                f"a file of the posterior: {error.what}", where=str(folder / name), remedy=_REMEDY
            ) from None
        if found != expected:
            raise StateError("a file of the posterior is damaged or altered", where=str(folder / name), remedy=_REMEDY)


def _checksum(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True, allow_nan=False).encode()).hexdigest()
