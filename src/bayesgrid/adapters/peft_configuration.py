"""The configuration file of a plain LoRA adapter in PEFT's form: what is written, and what is refused."""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayesgrid.errors import StateError

__all__ = [
    "BaseReference",
    "common_scaling",
    "lora_configuration",
    "read_lora_configuration",
    "require_base_model",
    "require_targets",
]

_REMEDY = "write the adapter again, or take an intact copy"

# Options that leave `scaling · b a` as it is, whatever their value; every other one must be off.
_HARMLESS = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules", "task_type",
}  # fmt: skip
_OFF: tuple[object, ...] = (None, False, [], {})
# The other initialisations (PiSSA, OLoRA, LoftQ, CorDA) also change the base weights.
_ALLOWED: dict[str, tuple[object, ...]] = {
    "bias": ("none", None),
    "init_lora_weights": (True, False, "gaussian", "orthogonal", None),
}


@dataclass(frozen=True)
class BaseReference:
    """The base model as an adapter's configuration names it.

    Args:
        name: a name of the catalog, or what transformers resolves: a folder, or a repository of the hub.
        revision: which state of it; None for a folder.
    """

    name: str
    revision: str | None


def lora_configuration(
    ranks: Mapping[str, int], scaling: float, *, base_model: str, base_revision: str | None, task_type: str
) -> dict[str, Any]:
    """Return the configuration of a trained LoRA adapter.

    Args:
        ranks: path of a layer inside the wrapped model -> its rank; the commonest is the adapter's ``r``.
        scaling: what multiplies every product of factors, ``lora_alpha / r``.
        base_model: name of the base model.
        base_revision: its revision; None for a folder.
        task_type: PEFT's name of the class that it wraps the model in.
    """
    rank = Counter(ranks.values()).most_common(1)[0][0]
    # PEFT reads the keys of both patterns as regular expressions.
    others = {re.escape(name): other for name, other in ranks.items() if other != rank}
    return {
        "alpha_pattern": {name: _alpha(scaling, other) for name, other in others.items()},
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": _alpha(scaling, rank),
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": others,
        "revision": base_revision,
        # Full paths: the last part of a name alone would also select layers that are not adapted.
        "target_modules": sorted(ranks),
        "task_type": task_type,
        "use_dora": False,
        "use_rslora": False,
    }


def read_lora_configuration(path: Path) -> dict[str, Any]:
    """Return the configuration at ``path``.

    Raises:
        StateError: if it is missing or damaged, or asks for more than plain LoRA (DoRA, rsLoRA, bias, saved modules, an
            initialisation that changes the base weights, or any option unknown here that is not off).
    """
    try:
        configuration = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError("the adapter's configuration is missing", where=str(path), remedy=_REMEDY) from None
    except (OSError, ValueError) as error:
        raise StateError(f"the adapter's configuration is damaged: {error}", where=str(path), remedy=_REMEDY) from None
    if not isinstance(configuration, dict):
        raise StateError("the adapter's configuration is not a JSON object", where=str(path), remedy=_REMEDY)
    if configuration.get("peft_type") != "LORA":
        raise StateError("not a LoRA adapter", where=str(path), given=configuration.get("peft_type"), allowed="LORA")
    for key, value in configuration.items():
        allowed = _ALLOWED.get(key, _OFF)
        if key not in _HARMLESS and value not in allowed:
            raise StateError(
                f"the adapter asks for {key}, which is not plain LoRA", where=str(path), given=value, allowed=allowed
            )
    return configuration


def require_base_model(
    configuration: Mapping[str, Any], *, base_model: str | None, base_revision: str | None, where: str
) -> None:
    """Refuse the configuration of an adapter of another base model or revision; None accepts any.

    Raises:
        StateError: if they differ.
    """
    for key, expected in (("base_model_name_or_path", base_model), ("revision", base_revision)):
        if expected is not None and configuration.get(key) != expected:
            raise StateError(
                f"the adapter belongs to another base model ({key})",
                where=where,
                given=configuration.get(key),
                allowed=expected,
            )


def require_targets(configuration: Mapping[str, Any], layers: Collection[str], *, where: str) -> None:
    """Refuse a set of adapted layers that is not the one that ``target_modules`` selects.

    Raises:
        StateError: if a target has no layer or a layer no target.
    """
    targets = configuration.get("target_modules")
    if targets == "all-linear":
        return
    patterns = [targets] if isinstance(targets, str) else [rf"(.*\.)?{re.escape(name)}" for name in targets or ()]
    unused = [pattern for pattern in patterns if not any(re.fullmatch(pattern, layer) for layer in layers)]
    extra = [layer for layer in layers if not any(re.fullmatch(pattern, layer) for pattern in patterns)]
    if unused or extra:
        raise StateError(
            "the tensors are not those of the configuration's target_modules",
            where=where,
            given={"targets without tensors": unused[:3], "tensors without target": extra[:3]},
            remedy=_REMEDY,
        )


def common_scaling(configuration: Mapping[str, Any], ranks: Mapping[str, int], *, where: str) -> float:
    """Return ``lora_alpha / r``, after comparing the rank of every layer with the configured one.

    Raises:
        StateError: if a rank differs, if alpha is no positive number, or if two layers are scaled differently.
    """
    scalings = set()
    for layer, rank in ranks.items():
        expected = _by_pattern(configuration.get("rank_pattern") or {}, layer, configuration.get("r"))
        alpha = _by_pattern(configuration.get("alpha_pattern") or {}, layer, configuration.get("lora_alpha"))
        if rank != expected:
            raise StateError(f"{layer} has another rank than configured", where=where, given=rank, allowed=expected)
        if not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
            raise StateError(f"lora_alpha of {layer} is no positive number", where=where, given=alpha)
        scalings.add(alpha / rank)
    if not scalings or max(scalings) > min(scalings) * (1 + 1e-9):
        raise StateError("no adapted layer, or layers of different scaling", where=where, given=sorted(scalings))
    return float(min(scalings))


def _by_pattern(patterns: Mapping[str, Any], layer: str, default: object) -> object:
    return next((value for key, value in patterns.items() if re.fullmatch(rf"(.*\.)?({key})", layer)), default)


def _alpha(scaling: float, rank: int) -> int | float:
    alpha = scaling * rank
    return int(alpha) if alpha == int(alpha) else alpha
