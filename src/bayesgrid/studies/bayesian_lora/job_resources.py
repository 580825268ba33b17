"""What a run of the study asks of a scheduler, estimated from the size of its model and the work it does.

Planning knows a model by its number of weights P alone. Width and depth follow from P = 12 L d² with d = 128 L, which
is about right for the models of 1 to 14 billion weights and errs on the safe side for smaller ones. Memory, in bytes:

- the process itself: 2 GB, with a GPU 6 GB;
- the base: twice P · bits / 8 on a CPU (the weights, and what they are read from); with a GPU 2 P, the file's 16 bits;
- adapters: 24 bytes for each of their values (value, gradient, two moments, deviation, the best one so far);
- for a backward pass on a CPU: 136 d bytes per token and adapted block, of at most 4096 tokens;
- states below the adapters that are kept: 8 d bytes per token of all questions;
- Laplace: 8 bytes for every example, difference of two options and value (the Jacobian, and its product).

Half as much again is asked for, and twice the time.

Time: a pass of a prompt through a block costs 2 floating-point operations per weight and token; a backward pass as much
again, since frozen weights need no gradient.
"""

import math
from dataclasses import dataclass

from bayesgrid.grid.question_sets import QuestionSplit
from bayesgrid.grid.sources import DatasetCatalog
from bayesgrid.grid.specification import Resources

__all__ = [
    "LARGEST_ON_CPU",
    "UNKNOWN_QUESTIONS",
    "JobSize",
    "adapter_values",
    "job_resources",
    "needs_gpu",
    "split_size",
]

LARGEST_ON_CPU = 300_000_000
"""Weights of the largest model whose runs do without a GPU."""
UNKNOWN_QUESTIONS = 10_000
"""Questions of a split whose size the catalogue does not know."""

_BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 8.0, "nf4": 4.5}
_TOKENS = 256
_TOKENS_AT_ONCE = 4096
_MEMORY_SAFETY = 1.5
_TIME_SAFETY = 2.0
_START_MINUTES = 15
_CPU_RATE = 2e10
_GPU_RATE = 1e14
"""Floating-point operations per second: one core, and 40 % of what an A100 can do or a tenth of an H100."""


@dataclass(frozen=True)
class JobSize:
    """The size of a run.

    Args:
        weights: P of the base model.
        precision: of its weights.
        rank: of the adapters.
        targets: adapted layers in each block.
        top_blocks: adapted blocks; None for all.
        slots: adapters that are learnt, or answer, at once.
        gradient_rows: prompts of all slots that share a backward pass; 0 without one.
        questions: prompts that pass the base below the adapters once.
        passes: passes of one prompt through the adapted part, backward ones included.
        jacobian_rows: examples times differences of two options that Laplace keeps; 0 for other methods.
        head_jacobian: whether it keeps those of the answer head alone.
    """

    weights: int
    precision: str
    rank: int
    targets: int
    top_blocks: int | None
    slots: int
    gradient_rows: int
    questions: int
    passes: int
    jacobian_rows: int = 0
    head_jacobian: bool = False


def split_size(datasets: DatasetCatalog | None, name: str, split: QuestionSplit) -> int:
    """Return the number of questions of a split, or ``UNKNOWN_QUESTIONS``."""
    known = None if datasets is None else datasets.choice_questions(name).splits.get(split)
    return UNKNOWN_QUESTIONS if known is None else known


def needs_gpu(weights: int) -> bool:
    """Return whether a base model of that many weights is run on a GPU."""
    return weights > LARGEST_ON_CPU


def adapter_values(size: JobSize, *, head_only: bool = False) -> float:
    """Return about how many values one adapter has: rank · (inputs + outputs) of every adapted layer and the head."""
    width, depth = _shape(size.weights)
    blocks = 0.0 if head_only else _adapted_blocks(size, depth)
    return size.rank * width * (2 * size.targets * blocks + 1)


def job_resources(size: JobSize) -> Resources:
    """Return memory and time by the formulas above."""
    gpu = needs_gpu(size.weights)
    width, depth = _shape(size.weights)
    blocks = _adapted_blocks(size, depth)
    base = 2 * size.weights * (1.0 if gpu else _BITS[size.precision] / 8)
    memory = (6e9 if gpu else 2e9) + base + 24 * size.slots * adapter_values(size)
    if not gpu:
        memory += 136 * width * blocks * min(size.gradient_rows * _TOKENS, _TOKENS_AT_ONCE)
    if size.top_blocks is not None:
        memory += 8 * width * size.questions * _TOKENS
    memory += 8 * size.jacobian_rows * adapter_values(size, head_only=size.head_jacobian)
    share = blocks / depth if depth else 0.0
    operations = 2 * size.weights * _TOKENS * (share * size.passes + (1 - share) * size.questions)
    # Quantised weights are unpacked for every product.
    slower = 2 if size.precision in ("int8", "nf4") else 1
    seconds = operations * slower / (_GPU_RATE if gpu else _CPU_RATE)
    return Resources(
        mem_mb=math.ceil(_MEMORY_SAFETY * memory / 1e6),
        runtime=_START_MINUTES + math.ceil(_TIME_SAFETY * seconds / 60),
        gpu=1 if gpu else 0,
        threads=4 if gpu else 1,
    )


def _shape(weights: int) -> tuple[float, float]:
    """Return width and number of blocks of a decoder with that many weights."""
    depth = (weights / (12 * 128**2)) ** (1 / 3)
    return 128 * depth, depth


def _adapted_blocks(size: JobSize, depth: float) -> float:
    return depth if size.top_blocks is None else min(float(size.top_blocks), depth)
