"""Loaders of questions by name: from the files of a source to questions by split."""

from collections.abc import Callable, Mapping
from pathlib import Path

from bayesgrid.data.choice_questions import Splits
from bayesgrid.data.image_questions import load_mathverse, load_mmstar, load_mnist, load_slake
from bayesgrid.data.text_questions import (
    load_arc,
    load_boolq,
    load_mmlu,
    load_mmlu_pro,
    load_mmlu_redux,
    load_openbookqa,
)
from bayesgrid.data.winogrande import load_winogrande

__all__ = ["QUESTION_LOADERS"]


def _of_text(load: Callable[[Mapping[str, Path]], Splits]) -> Callable[[Mapping[str, Path], Path], Splits]:
    def with_images(files: Mapping[str, Path], images: Path) -> Splits:
        del images  # there are none
        return load(files)

    return with_images


QUESTION_LOADERS: Mapping[str, Callable[[Mapping[str, Path], Path], Splits]] = {
    "arc": _of_text(load_arc),
    "openbookqa": _of_text(load_openbookqa),
    "mmlu": _of_text(load_mmlu),
    "winogrande": _of_text(load_winogrande),
    "boolq": _of_text(load_boolq),
    "mmlu_redux": _of_text(load_mmlu_redux),
    "mmlu_pro": _of_text(load_mmlu_pro),
    "slake": load_slake,
    "mmstar": load_mmstar,
    "mathverse": load_mathverse,
    "mnist": load_mnist,
}
"""Loader by name: files by role and the folder for images in, questions by split out.
``bayesgrid.grid.question_sets.QuestionLoader`` lists the names."""
