"""Regression data sets as tables of numbers: their files, their features, groups of rows, and published test splits.

Sizes and features of the four sets of BALSA (arXiv 2501.01248) are those of its table 2. Features are unscaled: scaling
belongs to a training set, not to a data set.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bayesgrid.data.checksums import verify_sha256
from bayesgrid.data.equal_rows import equal_row_classes
from bayesgrid.data.prepared_folders import prepared_folder, read_provenance
from bayesgrid.data.table_files import integers, labels, numbers, read_columns, read_matrix, read_unnamed_columns
from bayesgrid.errors import DataError
from bayesgrid.grid.sources import BimodalSineParameters
from bayesgrid.random_streams import random_stream

__all__ = [
    "LOADERS",
    "RegressionTable",
    "bimodal_sine",
    "prepared_folder",
    "read_regression_table",
    "table_digest",
    "write_table",
]

TABLE_FILE = "table.parquet"
_TARGET = "target"
_GROUP = "group"
_TEST_MASKS = "test_masks"
_RESERVED = (_TARGET, _GROUP, _TEST_MASKS)


@dataclass(frozen=True)
class RegressionTable:
    """One regression data set.

    Args:
        name: the data set's name in the catalog.
        features: float64 ``[n, d]``, unscaled.
        target: float64 ``[n]``, in the data set's own unit.
        feature_names: ``d`` names.
        groups: int64 ``[n]``, the group of each row for grouped splits, or None.
        provenance: where the rows came from and what they are.
        test_masks: bool ``[n, k]``, the test rows of each of k splits published with the data set, or None.

    Raises:
        DataError: if shapes disagree, a value is not finite, names repeat, or a published split has an empty side.
    """

    name: str
    features: NDArray[np.float64]
    target: NDArray[np.float64]
    feature_names: tuple[str, ...]
    groups: NDArray[np.int64] | None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    test_masks: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        rows = self.target.size
        expected = {
            "features": (self.features.shape, (rows, len(self.feature_names))),
            "target": (self.target.shape, (rows,)),
        }
        if self.groups is not None:
            expected["groups"] = (self.groups.shape, (rows,))
        if self.test_masks is not None:
            expected["test masks"] = (self.test_masks.shape, (rows, self.published_splits))
        for part, (found, wanted) in expected.items():
            if found != wanted:
                raise DataError(f"the {part} have another shape", where=self.name, given=found, allowed=wanted)
        if not (np.isfinite(self.features).all() and np.isfinite(self.target).all()):
            raise DataError("the table holds a value that is not finite", where=self.name)
        if len({*self.feature_names, *_RESERVED}) != len(self.feature_names) + len(_RESERVED):
            raise DataError(f"feature names repeat, or are one of {', '.join(map(repr, _RESERVED))}", where=self.name)
        if self.test_masks is not None:
            one_sided = np.flatnonzero(self.test_masks.all(axis=0) | ~self.test_masks.any(axis=0))
            if one_sided.size:
                raise DataError(f"published split {one_sided[0]} leaves one side empty", where=self.name)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.target.size)

    @property
    def published_splits(self) -> int:
        """Number of test splits published with the data set."""
        return 0 if self.test_masks is None else int(self.test_masks.shape[-1])


def read_regression_table(data_root: Path, name: str, data_version: str) -> RegressionTable:
    """Return the prepared data set ``name`` in the version that the catalog entry's ``data_version()`` names.

    Raises:
        DataError: if it is not prepared, or its files were altered since.
    """
    folder = prepared_folder(data_root, name, data_version)
    remedy = f"run `bayesgrid prepare {name}`"
    provenance = read_provenance(folder, name)
    recorded = provenance["parquet_sha256"]
    verify_sha256(folder / TABLE_FILE, recorded, remedy=f"it was altered; remove the folder and {remedy}")
    stored = pq.read_table(folder / TABLE_FILE)
    feature_names = tuple(column for column in stored.column_names if column not in _RESERVED)
    columns = [stored.column(column).to_numpy() for column in feature_names]
    return RegressionTable(
        name=name,
        features=np.stack(columns, axis=1).astype(np.float64, copy=False),
        target=stored.column(_TARGET).to_numpy().astype(np.float64, copy=False),
        feature_names=feature_names,
        groups=stored.column(_GROUP).to_numpy() if _GROUP in stored.column_names else None,
        provenance=provenance,
        test_masks=_stored_masks(stored) if _TEST_MASKS in stored.column_names else None,
    )


def _stored_masks(stored: pa.Table) -> NDArray[np.bool_]:
    masks = stored.column(_TEST_MASKS).combine_chunks()
    return np.asarray(masks.flatten().to_numpy(zero_copy_only=False), dtype=np.bool_).reshape(len(masks), -1)


def write_table(table: RegressionTable, path: Path) -> None:
    """Write the values of ``table`` to ``path`` as Parquet.

    There is a column per feature, ``target``, and, where the table has them, ``group`` and ``test_masks``, whose cells
    are lists of one truth value per published split.
    """
    columns = {name: pa.array(table.features[:, j]) for j, name in enumerate(table.feature_names)}
    columns[_TARGET] = pa.array(table.target)
    if table.groups is not None:
        columns[_GROUP] = pa.array(table.groups)
    if table.test_masks is not None:
        flat = pa.array(np.ascontiguousarray(table.test_masks).ravel())
        columns[_TEST_MASKS] = pa.FixedSizeListArray.from_arrays(flat, table.published_splits)
    pq.write_table(pa.table(columns), path, compression="zstd")


def table_digest(table: RegressionTable) -> str:
    """Return a SHA-256 over names, values, groups and published splits.

    Equal tables have equal digests, whatever file they were in.
    """
    digest = hashlib.sha256()
    header: dict[str, Any] = {
        "features": table.feature_names,
        "rows": table.rows,
        "groups": table.groups is not None,
    }
    if table.test_masks is not None:
        # Named only where there are any, so that tables without have the digests they had before splits were kept.
        header["published_splits"] = table.published_splits
    digest.update(json.dumps(header, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(table.features, dtype="<f8").tobytes())
    digest.update(np.ascontiguousarray(table.target, dtype="<f8").tobytes())
    if table.groups is not None:
        digest.update(np.ascontiguousarray(table.groups, dtype="<i8").tobytes())
    if table.test_masks is not None:
        digest.update(np.ascontiguousarray(table.test_masks, dtype=np.bool_).tobytes())
    return digest.hexdigest()


PARKINSONS_VOICE = (
    "Jitter(%)",
    "Jitter(Abs)",
    "Jitter:RAP",
    "Jitter:PPQ5",
    "Jitter:DDP",
    "Shimmer",
    "Shimmer(dB)",
    "Shimmer:APQ3",
    "Shimmer:APQ5",
    "Shimmer:APQ11",
    "Shimmer:DDA",
    "NHR",
    "HNR",
    "RPDE",
    "DFA",
    "PPE",
)
PARKINSONS_SUBJECTS = 42


def _parkinsons(files: Mapping[str, Path]) -> RegressionTable:
    """Parkinsons telemonitoring: age, sex, time, 16 voice measures and the subject (one-hot) predict total UPDRS.

    The motor UPDRS, of which the total is partly made, is left out. Groups are subjects.
    """
    path = files["table"]
    numeric = ("age", "sex", "test_time", *PARKINSONS_VOICE)
    frame = read_columns(path, ("subject#", *numeric, "motor_UPDRS", "total_UPDRS"))
    subject = integers(frame, "subject#", path)
    levels = [str(number) for number in range(1, PARKINSONS_SUBJECTS + 1)]
    return RegressionTable(
        name="parkinsons",
        features=np.hstack([numbers(frame[list(numeric)], path), labels(frame, "subject#", levels, path)]),
        target=numbers(frame[["total_UPDRS"]], path)[:, 0],
        feature_names=(*numeric, *(f"subject={level}" for level in levels)),
        groups=subject,
    )


DIAMOND_LEVELS = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("D", "E", "F", "G", "H", "I", "J"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}


def _diamonds(files: Mapping[str, Path]) -> RegressionTable:
    """Diamonds: carat, depth, table, three lengths, and cut, colour and clarity (one-hot) predict the price.

    Rows with equal features form a group, so that a grouped split has no row of one side repeated on the other.
    """
    path = files["table"]
    numeric = ("carat", "depth", "table", "x", "y", "z")
    frame = read_columns(path, (*numeric, *DIAMOND_LEVELS, "price"))
    indicators = [labels(frame, column, levels, path) for column, levels in DIAMOND_LEVELS.items()]
    features = np.hstack([numbers(frame[list(numeric)], path), *indicators])
    return RegressionTable(
        name="diamonds",
        features=features,
        target=numbers(frame[["price"]], path)[:, 0],
        feature_names=(
            *numeric,
            *(f"{column}={level}" for column, levels in DIAMOND_LEVELS.items() for level in levels),
        ),
        groups=equal_row_classes(features),
    )


SARCOS_INPUTS = tuple(f"{quantity}{joint}" for quantity in ("q", "qd", "qdd") for joint in range(1, 8))
SARCOS_TORQUES = tuple(f"tau{joint}" for joint in range(1, 8))
SARCOS_BLOCK = 500
"""Consecutive training rows that form one group; at 100 Hz, five seconds of the arm's movement."""


def _sarcos_matlab(files: Mapping[str, Path]) -> RegressionTable:
    """SARCOS from its own training file: 21 positions, velocities and accelerations predict the first joint's torque.

    Groups are blocks of consecutive rows, because neighbouring rows of the trajectory are nearly equal.
    """
    matrix = read_matrix(files["table"], "sarcos_inv", len(SARCOS_INPUTS) + len(SARCOS_TORQUES))
    return RegressionTable(
        name="sarcos",
        features=matrix[:, : len(SARCOS_INPUTS)],
        target=matrix[:, len(SARCOS_INPUTS)],
        feature_names=SARCOS_INPUTS,
        groups=np.arange(len(matrix)) // SARCOS_BLOCK,
    )


def _sarcos_subset(files: Mapping[str, Path]) -> RegressionTable:
    """SARCOS, the part of its training rows that is public in smaller files, in two pieces.

    ``table`` holds rows with their place in the training file, ``extra`` rows without it; the first-joint torques of
    the whole training file, ``torques``, locate the latter, so that they fall in the right block.
    """
    frame = read_columns(files["table"], ("train_row", "origin", *SARCOS_INPUTS, *SARCOS_TORQUES))
    place = integers(frame, "train_row", files["table"])
    if (np.diff(place) <= 0).any():
        raise DataError("column 'train_row' does not increase from row to row", where=str(files["table"]))
    located = numbers(frame[[*SARCOS_INPUTS, "tau1"]], files["table"])
    extra = numbers(read_columns(files["extra"], (*SARCOS_INPUTS, "tau1")), files["extra"])
    torques = numbers(read_columns(files["torques"], ("target",)), files["torques"])[:, 0]
    if torques.size % len(SARCOS_TORQUES):
        raise DataError(
            "the torques do not come in seven equal parts", where=str(files["torques"]), given=f"{torques.size} rows"
        )
    first_joint = torques[: torques.size // len(SARCOS_TORQUES)]
    if place[-1] >= first_joint.size or not np.array_equal(first_joint[place], located[:, -1]):
        raise DataError(
            "the torques are not those of the rows in the table",
            where=str(files["torques"]),
            remedy="take both files from the same mirror",
        )
    values = np.vstack([located, extra])
    return RegressionTable(
        name="sarcos",
        features=values[:, :-1],
        target=values[:, -1],
        feature_names=SARCOS_INPUTS,
        groups=np.concatenate([place, _trajectory_rows(extra, place, located, first_joint)]) // SARCOS_BLOCK,
    )


def _trajectory_rows(
    rows: NDArray[np.float64],
    place: NDArray[np.int64],
    located: NDArray[np.float64],
    first_joint: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the likeliest training row of each of ``rows [m, 22]`` (21 inputs, first torque).

    Of the training rows with the same torque, it is the one whose inputs, interpolated linearly between the located
    rows around it, come nearest in units of each input's standard deviation. A row whose torque occurs nowhere is
    compared with all located rows instead.
    """
    scale = located[:, :-1].std(axis=0)
    inputs = located[:, :-1] / scale
    order = np.argsort(first_joint, kind="stable")
    ordered = first_joint[order]
    found = np.empty(len(rows), dtype=np.int64)
    for index, row in enumerate(rows):
        same = order[np.searchsorted(ordered, row[-1], "left") : np.searchsorted(ordered, row[-1], "right")]
        candidates = np.sort(same) if same.size else place
        interpolated = np.stack([np.interp(candidates, place, column) for column in inputs.T], axis=1)
        distances = ((interpolated - row[:-1] / scale) ** 2).sum(axis=1)
        found[index] = candidates[np.argmin(distances)]
    return found


SUPERCONDUCTOR_PROPERTIES = (
    "atomic_mass",
    "fie",
    "atomic_radius",
    "Density",
    "ElectronAffinity",
    "FusionHeat",
    "ThermalConductivity",
    "Valence",
)
_STATISTICS = ("mean", "gmean", "entropy", "range", "std")
SUPERCONDUCTOR_FEATURES = (
    "number_of_elements",
    *(
        f"{weight}{statistic}_{quantity}"
        for quantity in SUPERCONDUCTOR_PROPERTIES
        for statistic in _STATISTICS
        for weight in ("", "wtd_")
    ),
)
_ELEMENT = re.compile(r"[A-Z][a-z]?")


def _superconductors_rebuilt(files: Mapping[str, Path]) -> RegressionTable:
    """Superconductors with Hamidieh's 81 features rebuilt from the formulas; groups are chemical families."""
    frame = read_columns(files["table"], ("uci_row", *SUPERCONDUCTOR_FEATURES, "critical_temp"))
    materials = read_columns(files["materials"], ("uci_row", "material", "critical_temp"))
    rows = integers(frame, "uci_row", files["table"])
    if not np.array_equal(rows, integers(materials, "uci_row", files["materials"])):
        raise DataError(
            "column 'uci_row' differs from that of the features",
            where=str(files["materials"]),
            remedy="take both files from the same mirror",
        )
    return _superconductors(frame, files["table"], materials, files["materials"])


def _superconductors_uci(files: Mapping[str, Path]) -> RegressionTable:
    """Superconductors from the two files of the UCI repository: features, and formulas for the chemical families."""
    frame = read_columns(files["table"], (*SUPERCONDUCTOR_FEATURES, "critical_temp"))
    materials = read_columns(files["materials"], ("critical_temp", "material"), others_allowed=True)
    return _superconductors(frame, files["table"], materials, files["materials"])


def _superconductors(frame: Any, path: Path, materials: Any, materials_path: Path) -> RegressionTable:
    target = numbers(frame[["critical_temp"]], path)[:, 0]
    if not np.array_equal(target, numbers(materials[["critical_temp"]], materials_path)[:, 0]):
        raise DataError(
            "the critical temperatures differ from those beside the features",
            where=str(materials_path),
            given=f"{len(materials)} rows",
            allowed=f"the {len(frame)} rows of {path.name}, in the same order",
        )
    return RegressionTable(
        name="superconductors",
        features=numbers(frame[list(SUPERCONDUCTOR_FEATURES)], path),
        target=target,
        feature_names=SUPERCONDUCTOR_FEATURES,
        groups=_chemical_families(materials["material"].tolist(), materials_path),
    )


def _chemical_families(formulas: list[str], path: Path) -> NDArray[np.int64]:
    """Return a number per formula that two formulas share when they are made of the same elements."""
    families: dict[frozenset[str], int] = {}
    groups = np.empty(len(formulas), dtype=np.int64)
    for index, formula in enumerate(formulas):
        elements = frozenset(_ELEMENT.findall(formula))
        if not elements:
            raise DataError(
                f"column 'material', line {index + 2}: not a chemical formula", where=str(path), given=repr(formula)
            )
        groups[index] = families.setdefault(elements, len(families))
    return groups


def _uci_test_masks(files: Mapping[str, Path]) -> RegressionTable:
    """UCI sets as Evans collected them (treforevans/uci_datasets): columns without names, the last is the target.

    ``test_masks`` marks with 1 the test rows of one published split per column. Values are those of the collection,
    which subtracted their means and took the logarithm of some targets. Rows with equal features form a group.
    """
    path, masks_path = files["table"], files["test_masks"]
    values = numbers(read_unnamed_columns(path), path, first_line=1)
    masks = numbers(read_unnamed_columns(masks_path), masks_path, first_line=1)
    if values.shape[1] < _FEWEST_COLUMNS:
        raise DataError("the table has no column beside the target", where=str(path))
    if len(masks) != len(values):
        raise DataError(
            "the test masks are not those of the table",
            where=str(masks_path),
            given=f"{len(masks)} rows",
            allowed=f"the {len(values)} rows of {path.name}",
        )
    if not np.isin(masks, (0, 1)).all():
        line, column = (int(place) + 1 for place in np.argwhere(~np.isin(masks, (0, 1)))[0])
        raise DataError(f"column {column}, line {line}: neither 0 nor 1", where=str(masks_path))
    features = values[:, :-1]
    return RegressionTable(
        name="uci",
        features=features,
        target=values[:, -1],
        feature_names=tuple(f"x{column}" for column in range(1, values.shape[1])),
        groups=equal_row_classes(features),
        test_masks=masks.astype(np.bool_),
    )


_FEWEST_COLUMNS = 2

LOADERS: Mapping[str, Callable[[Mapping[str, Path]], RegressionTable]] = {
    "parkinsons": _parkinsons,
    "diamonds": _diamonds,
    "sarcos_subset": _sarcos_subset,
    "sarcos_matlab": _sarcos_matlab,
    "superconductors_rebuilt": _superconductors_rebuilt,
    "superconductors_uci": _superconductors_uci,
    "uci_test_masks": _uci_test_masks,
}
"""Loader by name: files by role in, table out. ``bayesgrid.grid.sources.Loader`` lists the names."""


def bimodal_sine(parameters: BimodalSineParameters) -> RegressionTable:
    """Draw the bimodal sine of BALSA: ``y = sin(x) ± offset + N(0, noise²)`` with ``x ~ U(-half_width, half_width)``.

    Inputs, signs and noise have streams of their own, so that more rows extend the table without changing its start.
    """
    inputs = random_stream(parameters.seed, "bimodal_sine", 0).uniform(
        -parameters.half_width, parameters.half_width, size=parameters.rows
    )
    signs = np.where(random_stream(parameters.seed, "bimodal_sine", 1).random(parameters.rows) < 0.5, -1.0, 1.0)
    noise = random_stream(parameters.seed, "bimodal_sine", 2).standard_normal(parameters.rows)
    return RegressionTable(
        name="bimodal_sine",
        features=inputs[:, None],
        target=np.sin(inputs) + parameters.offset * signs + parameters.noise * noise,
        feature_names=("x",),
        groups=None,
    )
