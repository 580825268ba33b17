"""What the folder of a prepared base model says about its structure, read without any library for models."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ModelStructure", "PreparedModels"]


@dataclass(frozen=True)
class ModelStructure:
    """What the configuration of a base model says.

    Args:
        model_type: family of the whole model, as transformers calls it: ``llama``, ``qwen3_vl``, ...
        blocks: number of transformer blocks that read text; None where the configuration does not say.
    """

    model_type: str
    blocks: int | None


@dataclass(frozen=True)
class PreparedModels:
    """The base models that are prepared under one folder.

    Args:
        root: holds a folder ``<name>-<revision>`` for each, as :func:`bayesgrid.models.prepare.prepare_model` makes it.
    """

    root: Path
    _known: dict[tuple[str, str], ModelStructure | None] = field(default_factory=dict, repr=False, compare=False)

    def structure(self, name: str, revision: str) -> ModelStructure | None:
        """Return the structure of model ``name``; None if it is not prepared, or its files cannot be read.

        A damaged folder is no error here: whoever loads it says what is wrong.
        """
        if (name, revision) not in self._known:
            self._known[name, revision] = _read(self.root / f"{name}-{revision}")
        return self._known[name, revision]


def _read(home: Path) -> ModelStructure | None:
    try:
        record = json.loads((home / "model.json").read_text(encoding="utf-8"))
        folder = home if record["folder"] is None else Path(record["folder"])
        configuration = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        # A model that sees describes its two towers in parts of their own.
        text: dict[str, Any] = configuration.get("text_config", configuration)
        blocks = text.get("num_hidden_layers")
        return ModelStructure(str(configuration["model_type"]), blocks if isinstance(blocks, int) else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
