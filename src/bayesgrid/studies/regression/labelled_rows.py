"""The rows of a table as a block of seeds sees them: scaled, split, and labelled one query at a time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.data.leakage import Leak, find_leaks, require_no_leaks
from bayesgrid.data.regression_tables import RegressionTable
from bayesgrid.data.splits import Protocol, RowSplit, initial_labels, published_split, split_rows, split_validation
from bayesgrid.errors import DataError
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression.spec import LabelProtocol
from bayesgrid.studies.regression.training import LabelledBlock

__all__ = ["BlockRows", "block_rows", "leaks_of_test_split"]


@dataclass(frozen=True)
class BlockRows:
    """A scaled table of n rows and the roles of its rows for each of S seeds.

    Args:
        features: float32 `[n, d]`, each column scaled to [0, 1] on the rows outside the test split.
        targets: float64 `[n]`, scaled likewise.
        test: `[m]`, test rows, one split for all seeds.
        validation: S arrays `[V]`; whole groups give each seed another V.
        training: S arrays `[N]`, rows whose labels are known or can be bought.
        initial: `[S, l]`, rows labelled at the start.
        location: `[S]`, what the network's targets are reduced by: the mean of the initial targets, or 0.
        scale: `[S]`, what they are divided by: the standard deviation of the initial targets, or 1.
        spread: `[S]`, the standard deviation of the initial targets.
    """

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float64]
    test: npt.NDArray[np.int64]
    validation: tuple[npt.NDArray[np.int64], ...]
    training: tuple[npt.NDArray[np.int64], ...]
    initial: npt.NDArray[np.int64]
    location: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]

    def labelled_block(self, labelled: npt.NDArray[np.int64], *, copies: int = 1) -> LabelledBlock:
        """Return what the fit sees when rows `[S, k]` are labelled, each seed ``copies`` times in succession."""
        counts = np.array([len(rows) for rows in self.validation])
        # Seeds with fewer validation rows are filled up with row 0, which the fit does not count.
        validation = np.zeros((len(counts), counts.max()), dtype=np.int64)
        for filled, rows in zip(validation, self.validation, strict=True):
            filled[: len(rows)] = rows
        block = LabelledBlock(
            self.features[labelled],
            self._standardised(labelled),
            self.features[validation],
            self._standardised(validation),
            counts,
        )
        return block if copies == 1 else block.repeated(copies)

    def pool(self, place: int, labelled: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the unlabelled training rows of the seed at ``place``, sorted, given its ``labelled`` rows `[k]`."""
        return np.setdiff1d(self.training[place], labelled, assume_unique=True)

    def _standardised(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return ((self.targets[rows] - self.location[:, None]) / self.scale[:, None]).astype(np.float32)


def block_rows(table: RegressionTable, labels: LabelProtocol, seeds: tuple[int, ...]) -> BlockRows:
    """Scale and split ``table`` for ``seeds``.

    Raises:
        ConfigurationError: if a split would be empty, or the table has no groups or published split to split by.
        DataError: if the targets of a seed's initial labels are all equal.
    """
    split = _test_split(table, labels)
    columns = [_scaled(column, column[split.kept]) for column in (*np.moveaxis(table.features, 1, 0), table.target)]
    targets = columns.pop()
    validation, training, initial = [], [], []
    for seed in seeds:
        own = split_validation(split.kept, table.groups, _protocol(labels), labels.validation_fraction, seed)
        validation.append(_at_most(own.held_out, labels.validation_rows, seed))
        training.append(own.kept)
        count = len(own.kept) if labels.initial == "all" else labels.initial
        initial.append(initial_labels(own.kept, count, seed).labelled)
    first = np.stack(initial)
    location, spread = targets[first].mean(axis=1), targets[first].std(axis=1)
    if not np.all(spread > 0):
        raise DataError(
            "the initial labels of a seed are all equal",
            where=table.name,
            given=f"seed {seeds[int(np.argmin(spread))]}",
            remedy="raise labels.initial",
        )
    return BlockRows(
        features=np.stack(columns, axis=1).astype(np.float32),
        targets=targets,
        test=split.held_out,
        validation=tuple(validation),
        training=tuple(training),
        initial=first,
        location=np.zeros_like(location) if labels.target_scale == "unit" else location,
        scale=np.ones_like(spread) if labels.target_scale == "unit" else spread,
        spread=spread,
    )


def leaks_of_test_split(table: RegressionTable, labels: LabelProtocol) -> Leak:
    """Return what the test rows share with the rest; a random split may leak, a grouped one must not.

    Raises:
        DataError: if a grouped split leaks.
    """
    split = _test_split(table, labels)
    report = find_leaks(table, {"training and validation": split.kept, "test": split.held_out})
    if labels.split == "grouped":
        require_no_leaks(report)
    return report.leaks[0]


def _protocol(labels: LabelProtocol) -> Protocol:
    return "grouped" if labels.split == "grouped" else "random"


def _test_split(table: RegressionTable, labels: LabelProtocol) -> RowSplit:
    if labels.split == "published":
        return published_split(table.test_masks, labels.published_split)
    return split_rows(
        table.groups if labels.split == "grouped" and table.groups is not None else table.rows,
        _protocol(labels),
        labels.test_fraction,
        labels.test_split_seed,
    )


def _at_most(rows: npt.NDArray[np.int64], limit: int | None, seed: int) -> npt.NDArray[np.int64]:
    if limit is None or limit >= len(rows):
        return rows
    return np.sort(random_stream(seed, "validation_rows").choice(rows, size=limit, replace=False))


def _scaled(column: npt.NDArray[np.float64], training: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lowest, highest = training.min(), training.max()
    return np.asarray((column - lowest) / (highest - lowest if highest > lowest else 1.0))
