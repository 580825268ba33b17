"""Frozen weights in 8 or 4 bits: what bitsandbytes is asked for, and what it must not do."""

import importlib.util
import logging
from typing import Any, Literal

import torch
from torch import nn

from bayesgrid.errors import ConfigurationError

__all__ = ["Precision", "finish_quantisation", "quantisation_configuration", "unquantised_type"]

Precision = Literal["float32", "bfloat16", "int8", "nf4"]
"""How the frozen weights are held: as they are in 32 or 16 bits, or by bitsandbytes in 8 or 4 (Dettmers et al.,
LLM.int8(), 2022, and QLoRA, 2023)."""

_BLOCK = 64
"""Weights that share one scale in bitsandbytes' 4-bit layers."""
_KEPT_WHOLE = ("lm_head", "visual", "vision_tower", "multi_modal_projector")
"""Modules that quantisation leaves alone: the head, of which answers need whole rows, and everything that sees."""


def unquantised_type(precision: str, device: torch.device) -> torch.dtype:
    """Return the type of everything that is not quantised, and in which quantised layers compute."""
    if precision == "float32" or (precision != "bfloat16" and device.type == "cpu"):
        return torch.float32
    return torch.bfloat16


def quantisation_configuration(precision: str, name: str, compute: torch.dtype) -> Any:
    """Return what transformers quantises the model by while it loads it.

    Args:
        precision: ``int8`` or ``nf4``; the latter also quantises its scales.
        name: of the model, for messages.
        compute: the type in which 4-bit layers compute.

    Raises:
        ConfigurationError: if bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigurationError(
            f"precision {precision!r} needs the package bitsandbytes, which is not installed",
            where=f"model {name!r}",
            remedy="install it, or choose the precision float32 or bfloat16",
        )
    from transformers import BitsAndBytesConfig

    # It logs one line per product whose input is not of 16 bits.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    kept = [rf".*\b{part}\b" for part in _KEPT_WHOLE]
    if precision == "int8":
        return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_8bit=True, llm_int8_skip_modules=kept
        )
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=kept,
    )


def finish_quantisation(model: nn.Module, name: str, precision: str, device: torch.device) -> None:
    """Check that all layers of ``model`` that should be are quantised and compute rightly, and make them portable.

    Raises:
        ConfigurationError: if a layer was left out, or bitsandbytes computes wrongly with its shape on this device.
    """
    left = [
        path
        for path, module in model.named_modules()
        if type(module) is nn.Linear and not any(part in _KEPT_WHOLE for part in path.split("."))
    ]
    if left:
        raise ConfigurationError(
            f"precision {precision!r} does not reach all linear layers of the model",
            where=f"model {name!r}",
            given=", ".join(left[:3]),
            remedy="choose the precision float32 or bfloat16",
        )
    ragged = [
        path
        for path, module in model.named_modules()
        if type(module).__name__ == "Linear4bit" and int(module.in_features) % _BLOCK
    ]
    if ragged and device.type == "cpu":
        # bitsandbytes 0.50 scales such weights back wrongly on a CPU, silently: relative error 20 to 60 %, not 9 %.
        raise ConfigurationError(
            f"precision {precision!r} needs layers whose number of inputs is a multiple of {_BLOCK} on a CPU",
            where=f"model {name!r}",
            given=", ".join(ragged[:3]),
            remedy="choose another precision, or a GPU",
        )
    for module in model.modules():
        # On processors with 16-bit products bitsandbytes repacks a layer at its first evaluation; from then on the
        # layer rounds more, passes no gradient on, and needs rows of whole blocks.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
