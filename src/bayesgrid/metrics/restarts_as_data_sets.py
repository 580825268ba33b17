"""What the tests over data sets would claim if every restart counted as a data set of its own.

For comparison only, never as evidence: restarts on one data set share its peculiarities, so they are not independent,
and the number of rows, and with it the significance, grows with the seeds that were run. The BALSA reference code tests
in this way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError
from bayesgrid.metrics.checked_arrays import FloatArray, checked_array
from bayesgrid.metrics.rank_tests import FriedmanTest, PairwiseSignedRank, friedman_test, pairwise_signed_rank

__all__ = ["RankEvidence", "RestartsAsDataSets", "restarts_as_data_sets"]


@dataclass(frozen=True)
class RankEvidence:
    """Friedman's test and all pairwise signed-rank tests after Holm, on the same rows."""

    rows: int
    friedman: FriedmanTest
    pairs: PairwiseSignedRank


@dataclass(frozen=True)
class RestartsAsDataSets:
    """The two analyses side by side."""

    restarts: RankEvidence
    """Every restart a row: not valid."""
    data_sets: RankEvidence
    """Every data set a row, the mean over its seeds: the one to report."""


def restarts_as_data_sets(values: Sequence[npt.ArrayLike]) -> RestartsAsDataSets:
    """Return the rank tests with restarts as rows, which are not valid, beside those with data sets as rows.

    Args:
        values: D arrays ``[M, S_d]``, a value per method and seed, every method on the same seeds of a data set.

    Raises:
        DataError: for fewer than 2 data sets or methods, unlike numbers of methods, NaN or infinity.
    """
    tables = [checked_array(table, name=f"data set {index}", dimensions=2) for index, table in enumerate(values)]
    methods = sorted({table.shape[0] for table in tables})
    if len(methods) > 1:
        raise DataError("data sets with unlike numbers of methods", given=methods, allowed="one number")
    if len(tables) < 2:
        raise DataError("a test over data sets needs several", given=f"{len(tables)} data set", allowed="at least 2")
    return RestartsAsDataSets(
        restarts=_evidence(np.concatenate([table.T for table in tables])),
        data_sets=_evidence(np.stack([table.mean(axis=1) for table in tables])),
    )


def _evidence(rows: FloatArray) -> RankEvidence:
    return RankEvidence(rows=rows.shape[0], friedman=friedman_test(rows), pairs=pairwise_signed_rank(rows))
