"""What a question data set may name in the catalog: its splits, prompt templates, loaders and generators."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bayesgrid.grid.parameters import Parameters

__all__ = [
    "LeakCount",
    "PromptTemplate",
    "QuestionGenerator",
    "QuestionLoader",
    "QuestionSplit",
    "SeedBlocks",
    "SplitPair",
]

QuestionSplit = Literal["train", "validation", "test"]
"""The sides of a question set."""

SplitPair = Annotated[str, Field(pattern="^(train/validation|train/test|validation/test)$")]
"""Two sides that are compared; counts are of questions of the second."""

LeakCount = Annotated[str, Field(pattern="^(equal_answers|questions_of_shared_groups)$")]
"""What is counted between two sides; described in ``bayesgrid.data.question_leakage.QuestionLeak``."""

QuestionLoader = Literal[
    "arc",
    "openbookqa",
    "mmlu",
    "winogrande",
    "boolq",
    "mmlu_redux",
    "mmlu_pro",
    "slake",
    "mmstar",
    "mathverse",
    "mnist",
]
"""How the files of a source are read; each name is a loader of ``bayesgrid.data.question_loaders``."""

QuestionGenerator = Literal["circuit_logic", "expression_logic", "symbolic_regression_plots"]
"""Questions drawn on the spot; each name is a generator of ``bayesgrid.data.question_generators``."""

PromptTemplate = Literal[
    "lettered_choices",
    "blank_choices",
    "passage_true_false",
    "logic_output",
    "image_letter",
    "image_yes_no",
    "image_formula",
    "image_digit",
]
"""How a question becomes the user's turn; each name is a template of ``bayesgrid.data.prompt_templates``."""


class SeedBlocks(Parameters):
    """How many questions are drawn for each split, and the item seed that each split starts from.

    Item ``i`` of a split is drawn from the seed ``<split>_seed + i``. Blocks that overlap give two splits the same
    questions; that is what the reference code does with the seeds 42, 43 and 44 of its logic sets.
    """

    train: int = Field(default=10_000, ge=0)
    validation: int = Field(default=1_000, ge=0)
    test: int = Field(default=1_000, ge=0)
    train_seed: int = Field(default=42, ge=0)
    validation_seed: int = Field(default=1_000_000, ge=0)
    test_seed: int = Field(default=2_000_000, ge=0)
    deduplicate: bool = True
    """Whether a question that was drawn before, in any split, is passed over for that of the next seed."""

    @model_validator(mode="after")
    def _something_to_draw(self) -> Self:
        if not self.train + self.validation + self.test:
            raise ValueError("at least one split needs questions")
        return self

    def blocks(self) -> tuple[tuple[QuestionSplit, int, int], ...]:
        """Return (split, questions, first seed) of every split that has questions."""
        every: tuple[tuple[QuestionSplit, int, int], ...] = (
            ("train", self.train, self.train_seed),
            ("validation", self.validation, self.validation_seed),
            ("test", self.test, self.test_seed),
        )
        return tuple(block for block in every if block[1])
