"""Candidates and labelled examples as points between which distances can be taken."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.acquisition.selection import Choice, check_query_size
from bayesgrid.errors import DataError

__all__ = ["FeatureSpace", "feature_space"]


@dataclass(frozen=True)
class FeatureSpace:
    """The m candidates and l labelled examples whose features are finite; candidates left out are chosen last.

    Args:
        candidates: `[m, h]` float64.
        labelled: `[l, h]` float64.
        positions: `[m]`, where the m candidates stand among all n.
        left_out: `[n - m]`, where the others stand.
    """

    candidates: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.float64]
    positions: npt.NDArray[np.int64]
    left_out: npt.NDArray[np.int64]

    def choice(self, chosen: Sequence[int] | npt.NDArray[np.int64], query_size: int) -> Choice:
        """Return ``chosen`` rows of ``candidates`` as positions, filled up to ``query_size`` with those left out."""
        positions = np.concatenate([self.positions[np.asarray(chosen, dtype=np.int64)], self.left_out])
        return Choice(positions=positions[:query_size], nonfinite=len(self.left_out))


def feature_space(
    candidates: npt.NDArray[np.floating],
    labelled: npt.NDArray[np.floating],
    query_size: int,
    *,
    usable: npt.NDArray[np.bool_] | None = None,
    needs_labelled: bool = False,
) -> FeatureSpace:
    """Return the finite rows of ``candidates`` `[n, h]` and ``labelled`` `[l, h]`.

    Args:
        candidates: features to choose from.
        labelled: features already labelled; rows that are not finite count for nothing.
        query_size: q, the number of candidates that will be chosen.
        usable: `[n]`, candidates that something else than their features does not rule out.
        needs_labelled: whether the choice means nothing without a labelled example.

    Raises:
        DataError: if q is not within 1 .. n, the numbers of features differ, or no labelled row is finite where one is
            needed.
    """
    check_query_size(query_size, candidates.shape[0])
    if candidates.ndim != 2 or labelled.ndim != 2 or candidates.shape[1] != labelled.shape[1]:
        raise DataError(
            "candidates and labelled examples have different features",
            given=f"{candidates.shape} and {labelled.shape}",
            allowed="[n, h] and [l, h]",
        )
    finite = np.isfinite(candidates).all(axis=1)
    if usable is not None:
        finite &= usable
    known = np.ascontiguousarray(labelled[np.isfinite(labelled).all(axis=1)], dtype=np.float64)
    if needs_labelled and not known.shape[0]:
        raise DataError("candidates are compared with labelled examples, and none of those is finite")
    return FeatureSpace(
        candidates=np.ascontiguousarray(candidates[finite], dtype=np.float64),
        labelled=known,
        positions=np.flatnonzero(finite).astype(np.int64),
        left_out=np.flatnonzero(~finite).astype(np.int64),
    )
