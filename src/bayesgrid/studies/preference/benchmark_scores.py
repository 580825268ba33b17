"""Scores of sets that have the subsets of RewardBench or of RewardBench 2."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from bayesgrid.metrics.reward_bench import (
    EXAMPLE_COUNTS,
    borda_scores,
    copeland_scores,
    section_scores,
    total_score,
)
from bayesgrid.metrics.reward_bench_2 import SUBSETS_2, TIES, best_of_score, mean_of_subsets, ties_score
from bayesgrid.studies.preference.evaluation_sets import Contest, EvaluationSet

__all__ = ["contest_metrics", "section_metrics"]

_SCALARS: Mapping[str, Callable[[npt.ArrayLike], NDArray[np.float64]]] = {
    "borda": borda_scores,
    "copeland": copeland_scores,
}


def section_metrics(accuracy: Mapping[str, float]) -> dict[str, float]:
    """Return the scores of RewardBench from the accuracy of its subsets; nothing if one is none of its subsets.

    ``section/<name>`` of whole sections and ``reward_bench``, the mean of all four; ``section_of_present/<name>`` over
    the subsets that are there, of a section that lacks one; and ``absent/<subset>``, the weight that each subset would
    have, of those that sections which are there in part lack.
    """
    if not accuracy or not accuracy.keys() <= EXAMPLE_COUNTS.keys():
        return {}
    sections = section_scores(accuracy)
    found = {}
    for name, section in sections.items():
        if section.score is not None:
            found[f"section/{name}"] = section.score
        elif section.of_present is not None:
            found[f"section_of_present/{name}"] = section.of_present
            found |= {f"absent/{subset}": float(EXAMPLE_COUNTS[subset]) for subset in section.absent}
    total = total_score({name: section.score for name, section in sections.items()})
    return found if total is None else found | {"reward_bench": total}


def contest_metrics(asked: EvaluationSet, logits: NDArray[np.float64]) -> dict[str, float]:
    """Return the scores of RewardBench 2, each with two scalars of a response: Borda's and Copeland's.

    ``best_of_<scalar>/<subset>``, ``ties_<scalar>`` and, of a set with all subsets, ``reward_bench_2_<scalar>``;
    ``absent/<subset>`` is 1 for a subset that is not there. Nothing for other sets.

    Args:
        asked: the set.
        logits: ``[n + m]``, of all its pairs.
    """
    if not asked.contests:
        return {}
    found: dict[str, float] = {}
    tables = _tables(asked, logits)
    for scalar, function in _SCALARS.items():
        scores = [function(table) for table in tables]
        by_subset = _by_subset(asked.contests, scores)
        for subset, value in by_subset.items():
            found[f"ties_{scalar}" if subset == TIES else f"best_of_{scalar}/{subset}"] = value
        mean = mean_of_subsets(by_subset)
        if mean is not None:
            found[f"reward_bench_2_{scalar}"] = mean
        found |= {f"absent/{subset}": 1.0 for subset in SUBSETS_2 if subset not in by_subset}
    return found


def _by_subset(contests: tuple[Contest, ...], scores: list[NDArray[np.float64]]) -> dict[str, float]:
    single: dict[str, list[float]] = {}
    kinds: dict[str, dict[str, tuple[npt.ArrayLike, npt.ArrayLike]]] = {"tied": {}, "ref": {}}
    for contest, values in zip(contests, scores, strict=True):
        if contest.subset != TIES:
            single.setdefault(contest.subset, []).append(best_of_score(values, contest.right))
        else:
            # "Ties-tied:7" and "Ties-ref:7" are the same question with several right responses, and with one.
            kind, _, number = contest.name.removeprefix(f"{TIES}-").partition(":")
            kinds[kind][number] = values, contest.right
    found = {subset: float(np.mean(values)) for subset, values in single.items()}
    if kinds["tied"].keys() & kinds["ref"].keys():
        found[TIES] = ties_score(kinds["tied"], kinds["ref"]).score
    return found


def _tables(asked: EvaluationSet, logits: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the logits of all responses to each contest against each other, ``[n, n]``."""
    pair = {
        ends: logit
        for one, other, logit in zip(
            asked.pairs.first[0].tolist(), asked.pairs.second[0].tolist(), logits.tolist(), strict=True
        )
        for ends, logit in (((one, other), logit), ((other, one), -logit))
    }
    tables = []
    for contest in asked.contests:
        members = contest.responses.tolist()
        tables.append(np.array([[pair.get((one, other), 0.0) for other in members] for one in members]))
    return tables
