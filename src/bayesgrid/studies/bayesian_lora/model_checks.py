"""Whether a base model can be adapted and asked as a run wants it: what is known before any weight is loaded."""

from collections.abc import Iterable, Sequence

from bayesgrid.errors import ConfigurationError, did_you_mean
from bayesgrid.grid.model_sources import ModelEntry
from bayesgrid.grid.prepared_models import ModelStructure
from bayesgrid.grid.sources import DatasetCatalog

__all__ = [
    "ADAPTABLE_LAYERS",
    "SUPPORTED_FAMILIES",
    "check_adapters",
    "check_context",
    "check_questions",
    "check_structure",
]

ADAPTABLE_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a transformer block; all families that can be loaded give them these names."""

SUPPORTED_FAMILIES = ("gemma2", "gemma3", "gemma3_text", "llama", "qwen2", "qwen3", "qwen3_vl")
"""``model_type`` of the families that :mod:`bayesgrid.models.loading` loads."""


def check_adapters(targets: Iterable[str], top_blocks: int | None, model: str, entry: ModelEntry) -> None:
    """Raise ConfigurationError for adapters that model ``model`` cannot have, whatever its size."""
    for target in targets:
        if target not in ADAPTABLE_LAYERS:
            raise ConfigurationError(
                f"key 'lora.targets': a transformer block of {model!r} has no linear layer {target!r}",
                allowed=", ".join(ADAPTABLE_LAYERS),
                remedy=did_you_mean(target, ADAPTABLE_LAYERS),
            )
    if top_blocks is not None and entry.modality == "vision":
        raise ConfigurationError(
            "key 'lora.top_blocks': all blocks of a model that sees are adapted",
            given=f"{top_blocks}, with model {model!r}",
            remedy="leave the key out",
        )


def check_questions(names: Sequence[str], form: str, model: str, entry: ModelEntry, datasets: DatasetCatalog) -> None:
    """Raise ConfigurationError if ``model`` cannot be asked the questions of the data sets ``names`` in ``form``."""
    if form == "instruct" and not entry.chat:
        raise ConfigurationError(
            f"key 'prompt.form': {model!r} has no chat template",
            given=form,
            allowed="base",
            remedy="set 'prompt.form: base', or take an instruction-tuned model",
        )
    for name in names:
        if not datasets.choice_questions(name).has_images():
            continue
        if entry.modality != "vision":
            raise ConfigurationError(
                f"keys 'model' and 'dataset': the questions of {name!r} have images, which {model!r} cannot see",
                given=f"modality: {entry.modality}",
                allowed="a model of config/models.yaml with 'modality: vision'",
                remedy="take a vision-language model, or questions in words",
            )
        if form != "instruct":
            raise ConfigurationError(
                f"key 'prompt.form': the questions of {name!r} have images, which are shown in a chat alone",
                given=form,
                allowed="instruct",
            )


def check_structure(top_blocks: int | None, model: str, structure: ModelStructure) -> None:
    """Raise ConfigurationError if the prepared model ``model`` is of no supported family, or has too few blocks."""
    if structure.model_type not in SUPPORTED_FAMILIES:
        raise ConfigurationError(
            f"key 'model': the family of {model!r} is not supported",
            given=structure.model_type,
            allowed=", ".join(SUPPORTED_FAMILIES),
        )
    if top_blocks is not None and structure.blocks is not None and top_blocks > structure.blocks:
        raise ConfigurationError(
            f"key 'lora.top_blocks': {model!r} has fewer blocks",
            given=top_blocks,
            allowed=f"1 to {structure.blocks}",
        )


def check_context(longest: int, limit: int | None, dataset: str, model: str) -> None:
    """Raise ConfigurationError if the longest prompt has more tokens than the model was made for.

    Args:
        longest: tokens of the longest prompt of ``dataset``.
        limit: positions of the model; None where its configuration does not say.
        dataset: what is asked.
        model: what is asked it.
    """
    if limit is not None and longest > limit:
        raise ConfigurationError(
            f"keys 'model' and 'dataset': a prompt of {dataset!r} is longer than {model!r} reads",
            given=f"{longest} tokens",
            allowed=f"at most {limit}",
            remedy="take a model with a longer context, or another data set",
        )
