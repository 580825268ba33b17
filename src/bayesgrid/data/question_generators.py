"""Generators of questions by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bayesgrid.data.choice_questions import Splits
from bayesgrid.data.logic_questions import draw_logic_questions
from bayesgrid.data.plot_questions import draw_plot_questions
from bayesgrid.grid.question_sets import QuestionGenerator, SeedBlocks

__all__ = ["GENERATORS"]

Drawn = tuple[Splits, dict[str, str]]


def _logic(name: QuestionGenerator, parameters: SeedBlocks, images: Path) -> Drawn:
    del images  # logic is text
    return draw_logic_questions(name, parameters)


GENERATORS: Mapping[str, Callable[[SeedBlocks, Path], Drawn]] = {
    "circuit_logic": partial(_logic, "circuit_logic"),
    "expression_logic": partial(_logic, "expression_logic"),
    "symbolic_regression_plots": draw_plot_questions,
}
"""Generator by name: seed blocks and the folder for images in; questions by split, and the versions of the packages
that shape them, out. ``bayesgrid.grid.question_sets.QuestionGenerator`` lists the names."""
