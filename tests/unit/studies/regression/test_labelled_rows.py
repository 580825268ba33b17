import os
from pathlib import Path

import numpy as np
import pytest

from bayesgrid.data.prepare import prepare_dataset
from bayesgrid.data.regression_tables import RegressionTable, read_regression_table
from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.sources import load_dataset_catalog
from bayesgrid.studies.regression.labelled_rows import block_rows, leaks_of_test_split
from bayesgrid.studies.regression.spec import LabelProtocol

CATALOG = load_dataset_catalog(Path(__file__).parents[4] / "config" / "datasets.yaml")


def table_with_folds(rows: int = 60, splits: int = 4, groups: np.ndarray | None = None) -> RegressionTable:
    rng = np.random.default_rng(1)
    masks = rng.permutation(rows)[:, None] % splits == np.arange(splits)
    features = rng.normal(size=(rows, 2))
    return RegressionTable("folds", features, rng.normal(size=rows), ("a", "b"), groups, {}, masks)


@pytest.mark.parametrize("index", range(4))
def test_published_test_rows_are_the_mask_and_no_seed_trains_or_validates_on_them(index: int) -> None:
    table = table_with_folds()
    labels = LabelProtocol(initial=10, budget=5, query_size=5, split="published", published_split=index)
    rows = block_rows(table, labels, seeds=(0, 1, 7))
    assert rows.test.tolist() == np.flatnonzero(table.test_masks[:, index]).tolist()
    for validation, training, initial in zip(rows.validation, rows.training, rows.initial, strict=True):
        assert sorted([*rows.test, *validation, *training]) == list(range(table.rows))
        assert set(initial) <= set(training)
    assert len({tuple(validation) for validation in rows.validation}) == 3


def test_columns_are_scaled_on_the_rows_outside_the_published_test_rows() -> None:
    table = table_with_folds()
    rows = block_rows(table, LabelProtocol(initial=10, split="published", published_split=2), seeds=(0,))
    kept = ~table.test_masks[:, 2]
    assert (rows.targets[kept].min(), rows.targets[kept].max()) == (0, 1)
    np.testing.assert_array_equal(rows.features[kept].min(axis=0), [0, 0])
    np.testing.assert_array_equal(rows.features[kept].max(axis=0), [1, 1])


def test_what_a_published_split_leaks_is_counted_and_no_error() -> None:
    groups = np.repeat(np.arange(30), 2)
    table = table_with_folds(groups=groups)
    leak = leaks_of_test_split(table, LabelProtocol(split="published", published_split=1))
    tested = table.test_masks[:, 1]
    assert leak.rows_of_shared_groups == sum(group in set(groups[~tested]) for group in groups[tested]) > 0


def test_published_split_of_a_table_without_one_is_refused() -> None:
    table = table_with_folds()
    bare = RegressionTable(table.name, table.features, table.target, table.feature_names, None)
    with pytest.raises(ConfigurationError, match="no test splits are published"):
        block_rows(bare, LabelProtocol(initial=10, split="published"), seeds=(0,))
    with pytest.raises(ConfigurationError, match="allowed: 0 to 3"):
        block_rows(table, LabelProtocol(initial=10, split="published", published_split=4), seeds=(0,))


@pytest.mark.parametrize("name", ["parkinsons", "superconductors", "sarcos", "diamonds"])
def test_grouped_roles_of_a_real_set_share_neither_groups_nor_equal_rows(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = real_table(name, tmp_path_factory)
    rows = block_rows(table, LabelProtocol(split="grouped"), seeds=(0, 1))
    assert table.groups is not None
    values = np.column_stack([table.features, table.target])
    tested = set(table.groups[rows.test])
    tested_rows = {row.tobytes() for row in values[rows.test]}
    for validation, training in zip(rows.validation, rows.training, strict=True):
        validated, trained = set(table.groups[validation]), set(table.groups[training])
        assert not tested & validated
        assert not tested & trained
        assert not validated & trained
        assert not any(row.tobytes() in tested_rows for row in values[np.concatenate([validation, training])])
    assert leaks_of_test_split(table, LabelProtocol(split="grouped")).shared_groups == 0
    assert leaks_of_test_split(table, LabelProtocol(split="random")).shared_groups > 0


def real_table(name: str, tmp_path_factory: pytest.TempPathFactory) -> RegressionTable:
    mirror = os.environ.get("BAYESGRID_MIRROR")
    if not mirror:
        pytest.skip("BAYESGRID_MIRROR is not set: no real data files on this machine")
    folder = tmp_path_factory.mktemp("prepared")
    entry = CATALOG.entry(name)
    prepare_dataset(name, entry, folder, mirror=Path(mirror))
    return read_regression_table(folder, name, entry.data_version())
