"""Logic circuits with given inputs, as ASCII drawings or as expressions, drawn from the generator of reasoning_gym.

The generator draws item ``i`` of seed ``s`` from ``Random(s + i)``, so that two sets with neighbouring seeds share all
items but a few (``SeedBlocks``). A circuit and its inputs are the question's group: the same ones drawn as a circuit
and written as an expression, or drawn twice, have the same group.
"""

import hashlib
import importlib
import json
from importlib import metadata
from typing import Any

from bayesgrid.data.choice_questions import ChoiceQuestion, Splits
from bayesgrid.data.seeded_splits import draw_splits
from bayesgrid.data.source_files import UnavailableError
from bayesgrid.grid.question_sets import QuestionGenerator, SeedBlocks

__all__ = ["circuit_as_expression", "draw_logic_questions"]

_PACKAGE = "reasoning_gym"
_OUTPUTS = ("0", "1")
_LEGEND = "Legend for gates:"
_SIGNS = {"&": "&&", "↑": "↑↑", "↓": "↓↓", "⊕": "⊕⊕", "+": "++", "'": ">o"}
"""Sign of an operator in a circuit's expression -> the sign the legend explains. The reference leaves ↓ single, which
no legend explains."""


def draw_logic_questions(name: QuestionGenerator, parameters: SeedBlocks) -> tuple[Splits, dict[str, str]]:
    """Draw the questions of ``circuit_logic`` or ``expression_logic``, and the version of the package that draws them.

    Raises:
        UnavailableError: if the package is not installed.
    """
    items = _generator()

    def draw(split: str, seed: int) -> ChoiceQuestion:
        item = items[seed]
        text = item["question"].strip() if name == "circuit_logic" else circuit_as_expression(item)
        return ChoiceQuestion(f"{split}-{seed}", text, _OUTPUTS, _OUTPUTS.index(item["answer"]), group=_group(item))

    return draw_splits(parameters, draw, generator=name), {_PACKAGE: metadata.version(_PACKAGE)}


def circuit_as_expression(item: dict[str, Any]) -> str:
    """Return the question of ``item`` with the drawing replaced by the expression, in the signs of the legend."""
    header, _, rest = item["question"].partition("\n\n")
    legend_and_inputs = rest[rest.index(_LEGEND) :]
    expression = "".join(_SIGNS.get(sign, sign) for sign in item["metadata"]["expression"])
    return f"{header.replace('circuit', 'expression')}\n\n{expression}\n\n{legend_and_inputs}".strip()


def _group(item: dict[str, Any]) -> str:
    structure = [item["metadata"]["expression"], sorted(item["metadata"]["assignments"].items())]
    return hashlib.sha256(json.dumps(structure, ensure_ascii=False).encode()).hexdigest()[:16]


def _generator() -> Any:
    try:
        module = importlib.import_module(f"{_PACKAGE}.logic.circuit_logic")
    except ImportError:
        raise UnavailableError(
            f"the package {_PACKAGE} is not installed", remedy="install bayesgrid's requirements again"
        ) from None
    # The seed is 0, so that the index of an item is its seed.
    return module.CircuitLogicDataset(module.CircuitLogicConfig(seed=0, size=1))
