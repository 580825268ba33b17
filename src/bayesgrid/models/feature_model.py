"""A frozen model that is read for its states: a sentence encoder, or a language model without its head."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.models.loading import load_language_model
from bayesgrid.models.model_folder import check_model_folder

__all__ = ["FeatureModel", "load_feature_model"]

_ENCODER_FAMILIES = frozenset({"BertConfig", "DistilBertConfig", "ModernBertConfig"})
_NOT_READ = re.compile(r"(^|\.)(pooler|cls|vocab_\w+|head|decoder|position_ids)(\.|$)")
"""Weights of an encoder's files that its states do not depend on."""


@dataclass(frozen=True)
class FeatureModel:
    """A frozen model without a head.

    Args:
        name: its name in the catalog.
        revision: the identity of its weights.
        architecture: whether a token attends to those before it only.
        network: ``network(input_ids=...).last_hidden_state`` is ``[rows, tokens, hidden]``.
        tokenizer: of transformers.
        hidden_size: width of the states.
        longest: most tokens that it has positions for; None where nothing bounds them.
    """

    name: str
    revision: str
    architecture: Literal["causal", "encoder"]
    network: nn.Module
    tokenizer: Any
    hidden_size: int
    longest: int | None

    @property
    def device(self) -> torch.device:
        """Return where it is."""
        return next(self.network.parameters()).device


def load_feature_model(
    folder: Path, *, name: str, revision: str, precision: Literal["float32", "bfloat16"], device: torch.device
) -> FeatureModel:
    """Load the model in ``folder``, frozen and in evaluation mode, by the class of its configuration.

    Raises:
        ConfigurationError: if the family is not supported.
        StateError: if a file is missing, cut off, or does not fit the model.
    """
    from transformers import AutoConfig

    check_model_folder(folder)
    try:
        configuration = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    except (ValueError, KeyError):
        configuration = None
    if type(configuration).__name__ in _ENCODER_FAMILIES:
        network, tokenizer = _load_encoder(folder, precision, device)
        return FeatureModel(
            name,
            revision,
            "encoder",
            network,
            tokenizer,
            int(configuration.hidden_size),
            int(configuration.max_position_embeddings),
        )
    try:
        base = load_language_model(folder, name=name, revision=revision, precision=precision, device=device)
    except ConfigurationError as error:
        raise ConfigurationError(
            error.what,
            where=error.where,
            given=error.given,
            allowed=f"{error.allowed}; encoders: {', '.join(sorted(_ENCODER_FAMILIES))}",
        ) from error
    # Rotary positions have no last one.
    return FeatureModel(name, revision, "causal", base.decoder, base.tokenizer, base.hidden_size, None)


def _load_encoder(folder: Path, precision: str, device: torch.device) -> tuple[nn.Module, Any]:
    from transformers import AutoModel, AutoTokenizer

    try:
        network, report = AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32,
            attn_implementation="sdpa",
        )
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise StateError(f"the model cannot be loaded: {error}", where=str(folder)) from error
    except RuntimeError as error:
        if "size mismatch" not in str(error) and "mismatched" not in str(error):
            raise
        raise StateError("the weights do not fit the configuration", where=str(folder), given=str(error)) from error
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        wrong = sorted(str(key) for key in report[fault] if not _NOT_READ.search(str(key)))
        if wrong:
            raise StateError(
                f"the weights do not fit the configuration: {fault.replace('_', ' ')}",
                where=str(folder),
                given=", ".join(wrong[:3]),
            )
    network.requires_grad_(requires_grad=False)
    network.train(mode=False)
    network.to(device)
    return network, tokenizer
