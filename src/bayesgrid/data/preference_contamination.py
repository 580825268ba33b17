"""What a pool of pairs shares with the pairs a model is evaluated on: equal texts, and runs of seven words."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.data.preference_splits import normalised_text

__all__ = ["Contamination", "clean_pool_pairs", "find_contamination"]

_WORDS = 7
_EXAMPLES = 5


@dataclass(frozen=True, eq=False)
class Contamination:
    """What an evaluation set shares with a pool; only prompts and responses of pairs count.

    Args:
        pool: name of the pool.
        evaluation: name of the evaluation set.
        equal_prompts: prompts of the evaluation whose normalised text a prompt of the pool has.
        equal_responses: responses of the evaluation whose normalised text a response of the pool has.
        overlapping_prompts: prompts of the evaluation, at least ``share`` of whose runs of seven words the pool has; a
            prompt of fewer words is one run.
        share: that share.
        evaluation_overlap: of each of the evaluation's P prompts, the share of its runs that the pool has ``[P]``.
        pool_overlap: of each of the pool's P' prompts, the share of its runs that the evaluation has ``[P']``.
        examples: up to five ids of overlapping prompts of the evaluation.
    """

    pool: str
    evaluation: str
    equal_prompts: int
    equal_responses: int
    overlapping_prompts: int
    share: float
    evaluation_overlap: NDArray[np.float64]
    pool_overlap: NDArray[np.float64]
    examples: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether no prompt and no response comes back, and no prompt overlaps."""
        return not (self.equal_prompts or self.equal_responses or self.overlapping_prompts)

    def __str__(self) -> str:
        return (
            f"{self.equal_prompts} prompts and {self.equal_responses} responses of {self.evaluation!r} stand in "
            f"{self.pool!r}; {self.overlapping_prompts} prompts share {self.share:.0%} of their runs of {_WORDS} words"
        )


def find_contamination(pool: PreferencePairs, evaluation: PreferencePairs, *, share: float = 0.5) -> Contamination:
    """Compare the texts of ``pool`` with those of ``evaluation``.

    Args:
        pool: what a model may be trained on.
        evaluation: what it is evaluated on.
        share: of its runs of seven words that make a prompt an overlapping one.
    """
    of_evaluation, of_pool = _prompt_runs(evaluation), _prompt_runs(pool)
    wanted = set().union(*of_evaluation.values())
    evaluation_overlap, pool_overlap = np.zeros(len(evaluation.prompts)), np.zeros(len(pool.prompts))
    found: set[str] = set()
    for prompt, runs in of_pool.items():
        shared = runs & wanted
        found |= shared
        pool_overlap[prompt] = len(shared) / len(runs)
    for prompt, runs in of_evaluation.items():
        evaluation_overlap[prompt] = len(runs & found) / len(runs)
    overlapping = np.flatnonzero(evaluation_overlap >= share)
    pool_prompts = {_prompt_text(pool, prompt) for prompt in of_pool}
    pool_responses = _response_texts(pool)
    return Contamination(
        pool.name,
        evaluation.name,
        equal_prompts=sum(_prompt_text(evaluation, prompt) in pool_prompts for prompt in of_evaluation),
        equal_responses=len(_response_texts(evaluation) & pool_responses),
        overlapping_prompts=overlapping.size,
        share=share,
        evaluation_overlap=evaluation_overlap,
        pool_overlap=pool_overlap,
        examples=tuple(evaluation.prompts[prompt].prompt_id for prompt in overlapping[:_EXAMPLES].tolist()),
    )


def clean_pool_pairs(pool: PreferencePairs, contamination: Contamination) -> NDArray[np.bool_]:
    """Return which pairs of ``pool`` have a prompt that overlaps with no prompt of the evaluation ``[N]``."""
    clean: NDArray[np.bool_] = contamination.pool_overlap[pool.prompt] < contamination.share
    return clean


def _prompt_runs(pairs: PreferencePairs) -> dict[int, set[str]]:
    return {prompt: _runs(_prompt_text(pairs, prompt)) for prompt in np.unique(pairs.prompt).tolist()}


def _prompt_text(pairs: PreferencePairs, prompt: int) -> str:
    return normalised_text(" ".join(message.content for message in pairs.prompts[prompt].messages))


def _response_texts(pairs: PreferencePairs) -> set[str]:
    used = np.union1d(pairs.first, pairs.second).tolist()
    return {normalised_text(pairs.responses[response].text) for response in used}


def _runs(text: str) -> set[str]:
    words = text.split(" ")
    return {" ".join(words[start : start + _WORDS]) for start in range(max(1, len(words) - _WORDS + 1))}
