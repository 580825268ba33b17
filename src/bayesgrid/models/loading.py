"""A frozen base model: its decoder without the head, the head's weights, and its tokenizer, loaded from one folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from bayesgrid.errors import ConfigurationError, StateError, did_you_mean
from bayesgrid.models.model_folder import check_model_folder
from bayesgrid.models.quantisation import Precision, finish_quantisation, quantisation_configuration, unquantised_type
from bayesgrid.models.sharded import whole_tensor

__all__ = ["LanguageModel", "load_language_model"]

_TEXT_FAMILIES = frozenset(
    {"LlamaConfig", "Qwen2Config", "Qwen3Config", "Gemma2Config", "Gemma3TextConfig"},
)
_VISION_FAMILIES = frozenset({"Qwen3VLConfig", "Gemma3Config"})


@dataclass
class LanguageModel:
    """A frozen base model.

    Args:
        name: its name in the catalog.
        revision: the identity of its weights.
        folder: what it was loaded from.
        decoder: the model without its head; ``decoder(input_ids=...).last_hidden_state`` is ``[rows, tokens, hidden]``.
        head_weight: ``[vocabulary, hidden]``, whether or not the input embedding shares it.
        tokenizer: of transformers.
        hidden_size: width of the hidden state.
        precision: how the weights are held.
        processor: the image processor of a model that sees.
        logit_cap: c of a model whose logits z are ``c·tanh(z/c)`` (Gemma 2); None where they are linear.
    """

    name: str
    revision: str
    folder: Path
    decoder: nn.Module
    head_weight: Tensor
    tokenizer: Any
    hidden_size: int
    precision: str
    processor: Any | None = None
    logit_cap: float | None = None
    gathering: object | None = None
    """What gathers the decoder's weights layer by layer while it computes, where they lie in parts."""


def load_language_model(
    folder: Path, *, name: str, revision: str, precision: str, device: torch.device
) -> LanguageModel:
    """Load the model in ``folder``, frozen and in evaluation mode.

    Its class follows from its configuration's class, never from its name. Every weight of the model must be in the
    files, and every weight in the files must be in the model.

    Args:
        folder: holds the configuration, the safetensors and the tokenizer.
        name: the model's name in the catalog, for messages.
        revision: the identity of the weights.
        precision: ``float32``, ``bfloat16``, ``int8`` or ``nf4``.
        device: where it goes.

    Raises:
        ConfigurationError: if the precision is unknown or cannot be had here, or the family is not supported.
        StateError: if a file is missing, cut off, or does not fit the model.
    """
    if precision not in get_args(Precision):
        raise ConfigurationError(
            "no such precision",
            where=f"model {name!r}",
            given=precision,
            allowed=", ".join(get_args(Precision)),
            remedy=did_you_mean(precision, get_args(Precision)),
        )
    check_model_folder(folder)
    sees = _sees(folder, name)
    model = _load_whole(folder, name, precision, device, sees=sees)
    model.requires_grad_(requires_grad=False)
    model.train(mode=False)
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise ConfigurationError("the head of the model has a bias, which is not supported", where=f"model {name!r}")
    text = model.config.get_text_config()
    cap = getattr(text, "final_logit_softcapping", None)
    return LanguageModel(
        name=name,
        revision=revision,
        folder=folder,
        decoder=model.base_model,
        head_weight=whole_tensor(head.weight),
        tokenizer=_load_tokenizer(folder),
        hidden_size=int(text.hidden_size),
        precision=precision,
        processor=_load_image_processor(folder) if sees else None,
        logit_cap=None if cap is None else float(cap),
    )


def _sees(folder: Path, name: str) -> bool:
    from transformers import AutoConfig

    where = f"model {name!r}, {folder / 'config.json'}"
    allowed = ", ".join(sorted(_TEXT_FAMILIES | _VISION_FAMILIES))
    try:
        family = type(AutoConfig.from_pretrained(str(folder), local_files_only=True)).__name__
    except (ValueError, KeyError) as error:
        raise ConfigurationError(
            f"transformers does not know this kind of model: {str(error).splitlines()[0]}", where=where, allowed=allowed
        ) from error
    if family not in _TEXT_FAMILIES | _VISION_FAMILIES:
        raise ConfigurationError(
            "this family of models is not supported",
            where=where,
            given=family,
            allowed=allowed,
            remedy=did_you_mean(family, _TEXT_FAMILIES | _VISION_FAMILIES),
        )
    return family in _VISION_FAMILIES


def _load_whole(folder: Path, name: str, precision: str, device: torch.device, *, sees: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    loader: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    quantised = precision in ("int8", "nf4")
    arguments: dict[str, Any] = {"dtype": unquantised_type(precision, device)}
    if not is_deepspeed_zero3_enabled():  # type: ignore[no-untyped-call]
        arguments["device_map"] = {"": str(device)}
    elif quantised:
        raise ConfigurationError("a base in parts cannot be quantised", where=f"model {name!r}", given=precision)
    if quantised:
        arguments["quantization_config"] = quantisation_configuration(precision, name, arguments["dtype"])
    try:
        model, report = loader.from_pretrained(
            str(folder),
            local_files_only=True,
            output_loading_info=True,
            **arguments,
        )
    except (OSError, SafetensorError) as error:
        raise StateError(f"the model cannot be loaded: {error}", where=str(folder)) from error
    except RuntimeError as error:
        if "size mismatch" not in str(error) and "mismatched" not in str(error):
            raise
        raise StateError("the weights do not fit the configuration", where=str(folder), given=str(error)) from error
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[fault]:
            shown = ", ".join(str(key) for key in sorted(report[fault], key=str)[:3])
            raise StateError(
                f"the weights do not fit the configuration: {fault.replace('_', ' ')}", where=str(folder), given=shown
            )
    if quantised:
        finish_quantisation(model, name, precision, device)
    return model


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise StateError(f"the tokenizer cannot be loaded: {error}", where=str(folder)) from error


def _load_image_processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            str(folder), local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise StateError(f"the image processor cannot be loaded: {error}", where=str(folder)) from error
