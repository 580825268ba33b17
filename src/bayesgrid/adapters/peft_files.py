"""One adapter as a folder that stock PEFT loads: ``adapter_config.json`` and ``adapter_model.safetensors``.

PEFT knows no Bayesian adapter: it saves one of a foreign class as an empty file, or reloads it with random factors and
only warns. What is written here is therefore always a plain LoRA adapter (the mean of a posterior, or one draw of it).
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.adapters.peft_configuration import (
    common_scaling,
    lora_configuration,
    read_lora_configuration,
    require_base_model,
    require_targets,
)
from bayesgrid.errors import NumericalError, StateError
from bayesgrid.store.atomic import atomic_write, write_json

__all__ = [
    "CONFIGURATION_FILE",
    "WEIGHTS_FILE",
    "assert_live",
    "read_peft_adapter",
    "read_tensors",
    "write_peft_adapter",
    "write_tensors",
]

CONFIGURATION_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_ROOT = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_REMEDY = "write the adapter again, or take an intact copy"


def write_peft_adapter(
    folder: Path, weights: AdapterWeights, *, base_model: str, base_revision: str | None, module_prefix: str
) -> None:
    """Write the backbone factors of ``weights`` as a LoRA folder for ``peft.PeftModel.from_pretrained``.

    The factors are stored in float32. The pair of the answer head is left out: it changes a few rows of the vocabulary
    only. The configuration is taken away first and written last, so an interrupted write leaves a folder that every
    reader refuses.

    Args:
        folder: made if absent; files of other names in it are left alone.
        weights: keys are module paths inside the decoder.
        base_model: name of the model that the adapter belongs to.
        base_revision: its revision; None for a folder.
        module_prefix: path of the decoder inside the model that PEFT will wrap, ``model`` for a causal language model,
            empty if PEFT wraps the decoder itself.

    Raises:
        StateError: if no layer of the decoder is adapted, which PEFT cannot load.
        NumericalError: if a factor holds NaN or infinity; an adapter that was there before is kept.
    """
    backbone = {_joined(module_prefix, name): pair for name, pair in weights.pairs.items() if name != ANSWER_HEAD}
    if not backbone:
        raise StateError("the adapter changes no layer of the decoder, so there is no PEFT adapter", where=str(folder))
    configuration = lora_configuration(
        {layer: pair.rank for layer, pair in backbone.items()},
        weights.scaling,
        base_model=base_model,
        base_revision=base_revision,
        # PEFT's class for causal models needs a language-model head, which a decoder alone lacks.
        task_type="CAUSAL_LM" if module_prefix else "FEATURE_EXTRACTION",
    )
    tensors = {f"{_ROOT}{layer}{_A}": pair.a.float() for layer, pair in backbone.items()}
    tensors |= {f"{_ROOT}{layer}{_B}": pair.b.float() for layer, pair in backbone.items()}
    _require_finite(folder / WEIGHTS_FILE, tensors)
    (folder / CONFIGURATION_FILE).unlink(missing_ok=True)
    write_tensors(folder / WEIGHTS_FILE, tensors)
    write_json(folder / CONFIGURATION_FILE, configuration)


def read_peft_adapter(
    folder: Path,
    *,
    module_prefix: str = "model",
    base_model: str | None = None,
    base_revision: str | None = None,
    rank: int | None = None,
    modules: Collection[str] | None = None,
    allow_inert: bool = False,
) -> AdapterWeights:
    """Read a plain LoRA folder, ours or PEFT's, in float32 on the CPU.

    Args:
        folder: holds ``adapter_config.json`` and ``adapter_model.safetensors``.
        module_prefix: path of the decoder inside the model that PEFT wrapped.
        base_model: if given, the model that the folder must belong to.
        base_revision: if given, the revision that the folder must belong to.
        rank: if given, the rank that every pair must have.
        modules: if given, exactly the decoder paths that must be adapted.
        allow_inert: accept an adapter that changes nothing, such as a freshly initialised one.

    Raises:
        StateError: if a file is missing, damaged, of another base model, rank or set of layers, asks for more than
            plain LoRA (DoRA, rsLoRA, bias, saved modules, ...), holds NaN or infinity, or changes nothing.
    """
    configuration = read_lora_configuration(folder / CONFIGURATION_FILE)
    require_base_model(
        configuration,
        base_model=base_model,
        base_revision=base_revision,
        where=str(folder / CONFIGURATION_FILE),
    )
    path = folder / WEIGHTS_FILE
    pairs = _paired(read_tensors(path), module_prefix, where=str(path))
    ranks = {_joined(module_prefix, name): pair.rank for name, pair in pairs.items()}
    require_targets(configuration, ranks, where=str(path))
    weights = AdapterWeights(pairs, common_scaling(configuration, ranks, where=str(path)))
    if modules is not None and set(modules) != set(pairs):
        raise StateError(
            "the adapter changes other layers than expected",
            where=str(path),
            given={
                "missing": sorted(set(modules) - set(pairs))[:3],
                "unexpected": sorted(set(pairs) - set(modules))[:3],
            },
        )
    if rank is not None and set(ranks.values()) != {rank}:
        raise StateError("the adapter has another rank", where=str(path), given=set(ranks.values()), allowed=rank)
    if not allow_inert:
        assert_live(weights, where=str(path))
    return weights


def assert_live(weights: AdapterWeights, *, where: str | None = None) -> None:
    """Refuse an adapter that changes nothing: in every pair one of the two factors is zero.

    A trained adapter is never inert, so an inert file is almost always one that was saved or loaded wrongly.

    Raises:
        StateError: if no pair has two factors that differ from zero.
    """
    if not any(bool(pair.a.any()) and bool(pair.b.any()) for pair in weights.pairs.values()):
        raise StateError(
            "the adapter changes nothing: one factor of every layer is zero",
            where=where,
            given=f"{len(weights.pairs)} adapted layers",
            remedy="check how it was saved; a freshly initialised adapter has to be allowed explicitly",
        )


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors`` as one safetensors file, atomically, each in its own precision.

    Raises:
        NumericalError: if a tensor holds NaN or infinity; nothing is written.
    """
    _require_finite(path, tensors)
    # safetensors refuses tensors that share memory or are not contiguous.
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(own, temporary, metadata={"format": "pt"})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        StateError: if the file is missing or damaged, or a tensor holds NaN or infinity.
    """
    if not path.is_file():
        raise StateError("the file of tensors is missing", where=str(path), remedy="only safetensors are read")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise StateError(f"the file of tensors is damaged: {error}", where=str(path), remedy=_REMEDY) from None
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise StateError("a tensor holds NaN or infinity", where=f"{path}, {name}", remedy=_REMEDY)
    return tensors


def _paired(tensors: Mapping[str, Tensor], module_prefix: str, *, where: str) -> dict[str, LowRankPair]:
    start = _ROOT + _joined(module_prefix, "")
    factors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        suffix = next((suffix for suffix in (_A, _B) if key.endswith(suffix)), None)
        if suffix is None or not key.startswith(start):
            raise StateError(
                "a tensor that is no factor of a decoder layer",
                where=where,
                given=key,
                allowed=f"{start}<layer>{_A} and {_B}",
            )
        factors.setdefault(key[len(start) : -len(suffix)], {})[suffix] = tensor.float()
    pairs = {}
    for name, found in sorted(factors.items()):
        if len(found) < 2:
            raise StateError("one factor of a layer is missing", where=where, given=f"only {name}{next(iter(found))}")
        try:
            pairs[name] = LowRankPair(found[_A], found[_B])
        except ValueError as error:
            raise StateError(f"the factors of {name} do not fit: {error}", where=where, remedy=_REMEDY) from None
    return pairs


def _require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise NumericalError("a tensor to be saved holds NaN or infinity", where=f"{path}, {name}")


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
