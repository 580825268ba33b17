"""Sets of classes that contain the label with a stated probability, by split conformal prediction.

The promise holds for examples exchangeable with the calibration examples, on average over both: not for each input,
class or shifted data set. Over calibration sets of n examples the coverage of one varies as Beta(k, n + 1 - k),
``k = ceil((n + 1) level)``.

- Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world.
- Sadinle, Lei & Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels: LAC.
- Romano, Sesia & Candes (2020), Classification with valid and adaptive coverage: APS.
"""

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array
from bayesgrid.metrics.class_probabilities import checked_class_labels, checked_class_probabilities

__all__ = [
    "BooleanArray",
    "adaptive_scores",
    "conformal_threshold",
    "least_ambiguous_scores",
    "mean_set_size",
    "set_coverage",
    "split_conformal_sets",
]

BooleanArray: TypeAlias = npt.NDArray[np.bool_]


def least_ambiguous_scores(probabilities: npt.ArrayLike) -> FloatArray:
    """Return the LAC score ``1 - p_k`` of every class, ``[N, K]``; sets can be empty.

    On average the smallest sets at their coverage when the probabilities are the true ones.

    Raises:
        DataError: for NaN, negative probabilities or rows that do not sum to 1.
    """
    return np.asarray(1 - checked_class_probabilities(probabilities), dtype=np.float64)


def adaptive_scores(probabilities: npt.ArrayLike, *, generator: np.random.Generator | None = None) -> FloatArray:
    """Return the APS score of every class: the probability of the classes at least as probable as it.

    ``sum_{j ranked before k} p_j + U p_k`` with ``U = 1``, or, given a generator, one U ~ uniform(0, 1) an example
    (Romano et al. 2020). Without U coverage exceeds the level, by much if models are confident. Equal
    probabilities are ranked by class index.

    Args:
        probabilities: ``[N, K]``.
        generator: source of U; None for the deterministic score.

    Raises:
        DataError: for NaN, negative probabilities or rows that do not sum to 1.
    """
    table = checked_class_probabilities(probabilities)
    order = np.argsort(-table, axis=1, kind="stable")
    ranked = np.take_along_axis(table, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    share = 1.0 if generator is None else generator.random((table.shape[0], 1))
    scores = np.empty_like(table)
    np.put_along_axis(scores, order, before + share * ranked, axis=1)
    return scores


def conformal_threshold(scores: npt.ArrayLike, *, level: float = 0.9) -> float:
    """Return the ``ceil((n + 1) level)``-th smallest score; infinity, every class, when n is too small for the level.

    Args:
        scores: ``[n]``, of the labels of the calibration examples.
        level: probability with which a new score is to be at most the threshold.

    Raises:
        DataError: for no score, NaN, infinity, or a level outside (0, 1).
    """
    values = np.sort(checked_array(scores, name="calibration scores", dimensions=1))
    if not 0 < level < 1:
        raise DataError("not a coverage level", where="level", given=level, allowed="between 0 and 1")
    # (n + 1) level may exceed an integer by rounding alone.
    rank = int(np.ceil((values.size + 1) * level - 1e-9))
    return float(values[rank - 1]) if rank <= values.size else float("inf")


def split_conformal_sets(
    calibration_probabilities: npt.ArrayLike,
    calibration_labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    level: float = 0.9,
    score: Literal["least_ambiguous", "adaptive"] = "adaptive",
    generator: np.random.Generator | None = None,
) -> BooleanArray:
    """Return the classes whose score is at most the threshold that the calibration examples set.

    ``level <= P(label in set)``, and ``< level + 1 / (n + 1)`` where scores do not tie.

    Args:
        calibration_probabilities: ``[n, K]``, of examples neither trained on nor evaluated.
        calibration_labels: ``[n]``, integers from 0 to K - 1.
        probabilities: ``[N, K]``, of the examples to make sets for.
        level: coverage.
        score: LAC or APS.
        generator: randomises APS; None leaves it deterministic, and LAC always is.

    Returns:
        ``[N, K]``, True for the classes in the set.

    Raises:
        DataError: for NaN, negative probabilities, rows that do not sum to 1, unlike numbers of classes, labels that
            are no class, or a level outside (0, 1).
    """
    held_out = checked_class_probabilities(calibration_probabilities)
    table = checked_class_probabilities(probabilities)
    target = checked_class_labels(calibration_labels, held_out)
    if held_out.shape[1] != table.shape[1]:
        raise DataError("unlike numbers of classes", given=table.shape[1], allowed=held_out.shape[1])
    if score == "least_ambiguous":
        calibration, new = least_ambiguous_scores(held_out), least_ambiguous_scores(table)
    else:
        calibration = adaptive_scores(held_out, generator=generator)
        new = adaptive_scores(table, generator=generator)
    return np.asarray(new <= conformal_threshold(calibration[np.arange(target.size), target], level=level))


def set_coverage(sets: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the share of examples whose label is in their set.

    Args:
        sets: ``[N, K]``, Boolean.
        labels: ``[N]``, integers from 0 to K - 1.

    Raises:
        DataError: for sets that are not Boolean, or labels that are no class.
    """
    members = _members(sets)
    target = checked_class_labels(labels, members.astype(np.float64))
    return float(members[np.arange(target.size), target].mean())


def mean_set_size(sets: npt.ArrayLike) -> float:
    """Return the mean number of classes in a set ``[N, K]``; at equal coverage smaller is better.

    Raises:
        DataError: for sets that are not Boolean.
    """
    return float(_members(sets).sum(axis=1).mean())


def _members(sets: npt.ArrayLike) -> BooleanArray:
    members = np.asarray(sets)
    if members.dtype != np.bool_ or members.ndim != 2 or members.size == 0:
        raise DataError("not sets of classes", given=f"{members.dtype} of shape {members.shape}", allowed="bool [N, K]")
    return members
