import hashlib
import json
import logging
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat

from bayesgrid.data.prepare import prepare_dataset
from bayesgrid.data.regression_tables import LOADERS, read_regression_table, table_digest
from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.grid.sources import RegressionTableEntry


@pytest.fixture
def diamonds_entry(diamonds_csv):
    """Five diamonds from a mirror or from a wheel, and the bytes of the file."""
    path = diamonds_csv()
    content = path.read_bytes()
    digest = table_digest(LOADERS["diamonds"]({"table": path}))
    sha256 = hashlib.sha256(content).hexdigest()

    def entry(**changes):
        values = {
            "kind": "regression_table",
            "label": "five diamonds",
            "version": 1,
            "licence": "MIT",
            "citation": "nobody",
            "rows": 5,
            "features": 26,
            "groups": "rows with equal features",
            "table_sha256": digest,
            "sources": [
                {"kind": "mirror", "loader": "diamonds", "files": {"table": {"path": "d/d.csv", "sha256": sha256}}},
                {
                    "kind": "wheel",
                    "loader": "diamonds",
                    "package": "toypack",
                    "version": "1.0",
                    "member": "toypack/d.csv",
                    "sha256": sha256,
                },
            ],
        }
        return RegressionTableEntry.model_validate_json(json.dumps({**values, **changes}))

    return entry, content


@pytest.fixture
def full_mirror(tmp_path, diamonds_entry):
    _, content = diamonds_entry
    (tmp_path / "mirror" / "d").mkdir(parents=True)
    (tmp_path / "mirror" / "d" / "d.csv").write_bytes(content)
    return tmp_path / "mirror"


def user_entry(sha256=None, rows=700):
    return RegressionTableEntry.model_validate_json(
        json.dumps(
            {
                "kind": "regression_table",
                "label": "arm",
                "version": 1,
                "licence": "none",
                "citation": "nobody",
                "rows": rows,
                "features": 21,
                "groups": "block",
                "sources": [
                    {
                        "kind": "file",
                        "loader": "sarcos_matlab",
                        "files": {"table": {"name": "sarcos_inv.mat", "sha256": sha256}},
                    }
                ],
            }
        )
    )


def test_prepared_table_is_read_back_as_it_was(diamonds_entry, full_mirror, tmp_path):
    make, content = diamonds_entry
    entry = make()
    prepared = prepare_dataset("five", entry, tmp_path / "data", mirror=full_mirror)
    assert prepared.folder == tmp_path / "data" / f"five-{entry.data_version()}"
    table = read_regression_table(tmp_path / "data", "five", entry.data_version())
    original = LOADERS["diamonds"]({"table": full_mirror / "d" / "d.csv"})
    np.testing.assert_array_equal(table.features, original.features)
    np.testing.assert_array_equal(table.target, original.target)
    np.testing.assert_array_equal(table.groups, original.groups)
    assert (table.name, table.feature_names) == ("five", original.feature_names)
    assert table.provenance["label"] == "five diamonds"
    assert table.provenance["source"]["files"]["table"] == {
        "name": "d.csv",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert str(tmp_path) not in json.dumps(dict(table.provenance))


def test_mirror_without_the_file_falls_through_to_the_wheel_with_the_same_result(
    diamonds_entry, full_mirror, package_index, tmp_path
):
    make, content = diamonds_entry
    package_index("toypack", "1.0", {"toypack/d.csv": content})
    (tmp_path / "empty").mkdir()
    from_wheel = prepare_dataset("five", make(), tmp_path / "a", mirror=tmp_path / "empty")
    from_mirror = prepare_dataset("five", make(), tmp_path / "b", mirror=full_mirror)
    assert [one.provenance["source"]["kind"] for one in (from_wheel, from_mirror)] == ["wheel", "mirror"]
    assert from_wheel.provenance["table_sha256"] == from_mirror.provenance["table_sha256"]
    assert from_wheel.data_version == from_mirror.data_version


def test_altered_mirror_is_warned_of_and_passed_over(diamonds_entry, full_mirror, package_index, tmp_path, caplog):
    make, content = diamonds_entry
    package_index("toypack", "1.0", {"toypack/d.csv": content})
    (full_mirror / "d" / "d.csv").write_bytes(content + b"\n")
    with caplog.at_level(logging.WARNING):
        prepared = prepare_dataset("five", make(), tmp_path / "data", mirror=full_mirror)
    assert prepared.provenance["source"]["kind"] == "wheel"
    assert "SHA-256 differs" in caplog.text


def test_no_source_is_an_error_that_lists_each_and_the_command(diamonds_entry, package_index, tmp_path):
    make, _ = diamonds_entry
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        prepare_dataset("five", make(), tmp_path / "data", mirror=tmp_path / "empty")
    message = str(caught.value)
    for words in ["mirror: ", "empty/d/d.csv", "no such file", "wheel: ", "toypack==1.0", "`bayesgrid prepare five`"]:
        assert words in message
    with pytest.raises(DataError, match=r"nowhere: the mirror's folder does not exist; correct `mirror:`"):
        prepare_dataset("five", make(), tmp_path / "data", mirror=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no mirror is set.*BAYESGRID_MIRROR"):
        prepare_dataset("five", make(), tmp_path / "data")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 6}, "given: 5 rows, 26 features; allowed: 6 rows, 26 features"),
        ({"features": 25}, "another size"),
        ({"groups": None}, "disagree on whether the rows have groups"),
        ({"table_sha256": "0" * 64}, "'table_sha256' differs"),
    ],
)
def test_table_that_is_not_what_the_catalog_says_is_refused(
    diamonds_entry, full_mirror, package_index, tmp_path, changes, words
):
    make, _ = diamonds_entry
    entry = make(**changes)
    with pytest.raises(DataError, match=words):
        prepare_dataset("five", entry, tmp_path / "data", mirror=full_mirror)
    with pytest.raises(DataError, match=r"not prepared.*bayesgrid prepare five"):
        read_regression_table(tmp_path / "data", "five", entry.data_version())


def test_prepared_data_needs_no_source_again(diamonds_entry, full_mirror, package_index, tmp_path):
    make, _ = diamonds_entry
    first = prepare_dataset("five", make(), tmp_path / "data", mirror=full_mirror)
    written = (first.folder / "table.parquet").stat().st_mtime_ns
    again = prepare_dataset("five", make(), tmp_path / "data")
    assert again == first
    assert (first.folder / "table.parquet").stat().st_mtime_ns == written


@pytest.mark.parametrize("part", ["table.parquet", "provenance.json"])
def test_damaged_prepared_data_is_refused_by_the_reader_and_made_again(diamonds_entry, full_mirror, tmp_path, part):
    make, _ = diamonds_entry
    version = make().data_version()
    folder = prepare_dataset("five", make(), tmp_path / "data", mirror=full_mirror).folder
    whole = (folder / part).read_bytes()
    (folder / part).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="remove the folder and run `bayesgrid prepare five`"):
        read_regression_table(tmp_path / "data", "five", version)
    prepare_dataset("five", make(), tmp_path / "data", mirror=full_mirror)
    assert read_regression_table(tmp_path / "data", "five", version).rows == 5


def test_of_processes_that_prepare_at_once_one_does_and_all_agree(diamonds_entry, full_mirror, tmp_path):
    make, _ = diamonds_entry
    program = (
        "import logging, sys, time; from pathlib import Path; logging.basicConfig(level=logging.INFO); "
        "from bayesgrid.data.prepare import prepare_dataset; from bayesgrid.grid.sources import RegressionTableEntry; "
        "entry = RegressionTableEntry.model_validate_json(sys.argv[1]); Path(sys.argv[4]).touch(); "
        "go = Path(sys.argv[2]).parent / 'go'\nwhile not go.exists(): time.sleep(0.001)\n"
        "made = prepare_dataset('five', entry, Path(sys.argv[2]), mirror=Path(sys.argv[3])); "
        "print(made.provenance['parquet_sha256'])"
    )
    command = [sys.executable, "-c", program, make().model_dump_json(), str(tmp_path / "data"), str(full_mirror)]
    ready = [tmp_path / f"ready{number}" for number in range(3)]
    running = [
        subprocess.Popen([*command, str(flag)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for flag in ready
    ]
    while not all(flag.exists() for flag in ready) and all(process.poll() is None for process in running):
        time.sleep(0.01)
    (tmp_path / "go").touch()
    said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert len({printed for printed, _ in said}) == 1
    assert sum(logged.count("prepared five") for _, logged in said) == 1
    assert read_regression_table(tmp_path / "data", "five", make().data_version()).rows == 5


def test_user_supplies_a_file_or_its_folder(tmp_path):
    savemat(tmp_path / "sarcos_inv.mat", {"sarcos_inv": np.random.default_rng(0).normal(size=(700, 28))})
    for position, supplied in enumerate([tmp_path / "sarcos_inv.mat", tmp_path]):
        prepared = prepare_dataset("arm", user_entry(), tmp_path / f"data{position}", user_files={"arm": supplied})
        assert prepared.provenance["rows"] == 700


def test_supplied_file_that_does_not_do_is_an_error(tmp_path):
    savemat(tmp_path / "sarcos_inv.mat", {"sarcos_inv": np.zeros((700, 28))})
    with pytest.raises(DataError, match=r"700 rows.*allowed: 44484 rows"):
        prepare_dataset("arm", user_entry(rows=44484), tmp_path / "d", user_files={"arm": tmp_path / "sarcos_inv.mat"})
    with pytest.raises(DataError, match="SHA-256 differs"):
        prepare_dataset("arm", user_entry("0" * 64), tmp_path / "d", user_files={"arm": tmp_path / "sarcos_inv.mat"})
    with pytest.raises(DataError, match="does not exist"):
        prepare_dataset("arm", user_entry(), tmp_path / "d", user_files={"arm": tmp_path / "absent.mat"})
    with pytest.raises(DataError, match=r"user_files: arm:"):
        prepare_dataset("arm", user_entry(), tmp_path / "d")


def test_supplied_file_that_changed_after_preparation_is_noticed(tmp_path):
    path = tmp_path / "sarcos_inv.mat"
    savemat(path, {"sarcos_inv": np.zeros((700, 28))})
    prepare_dataset("arm", user_entry(), tmp_path / "data", user_files={"arm": path})
    prepare_dataset("arm", user_entry(), tmp_path / "data", user_files={"arm": path})
    savemat(path, {"sarcos_inv": np.ones((700, 28))})
    with pytest.raises(DataError, match="changed since"):
        prepare_dataset("arm", user_entry(), tmp_path / "data", user_files={"arm": path})


def test_file_for_a_data_set_that_takes_none_is_a_configuration_error(diamonds_entry, tmp_path):
    make, _ = diamonds_entry
    with pytest.raises(ConfigurationError, match="no source of kind 'file'"):
        prepare_dataset("five", make(), tmp_path / "data", user_files={"five": tmp_path})


def test_several_user_files_need_a_folder(tmp_path):
    values = json.loads(user_entry().model_dump_json())
    values["sources"][0] = {
        "kind": "file",
        "loader": "superconductors_uci",
        "files": {"table": {"name": "train.csv"}, "materials": {"name": "unique_m.csv"}},
    }
    entry = RegressionTableEntry.model_validate_json(json.dumps(values))
    (tmp_path / "train.csv").write_text("a\n")
    with pytest.raises(DataError, match=r"supply the folder.*train.csv, unique_m.csv"):
        prepare_dataset("arm", entry, tmp_path / "data", user_files={"arm": tmp_path / "train.csv"})


def test_hub_source_without_its_client_or_network_leaves_the_turn_to_the_next(
    diamonds_entry, full_mirror, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make, content = diamonds_entry
    sources = json.loads(make().model_dump_json())["sources"]
    hub = {
        "kind": "hub",
        "loader": "diamonds",
        "repo": "nobody/diamonds",
        "revision": "0" * 40,
        "files": {"table": {"path": "d.csv", "sha256": hashlib.sha256(content).hexdigest()}},
    }
    entry = make(sources=[hub, sources[0]])
    prepared = prepare_dataset("five", entry, tmp_path / "data", mirror=full_mirror)
    assert prepared.provenance["source"]["kind"] == "mirror"
    with pytest.raises(DataError, match=r"hub nobody/diamonds @ 00000000, d\.csv"):
        prepare_dataset("five", make(sources=[hub]), tmp_path / "other")


@pytest.fixture
def folds_entry(uci_folder, tmp_path):
    """A set with three published splits from a mirror or a user, known by the checksums of its files alone."""
    rng = np.random.default_rng(0)
    masks = np.arange(12)[:, None] % 4 == np.arange(3)
    files = uci_folder(np.round(rng.normal(size=(12, 3)), 3).tolist(), masks.astype(int).tolist(), tmp_path / "own")
    sha = {role: hashlib.sha256(path.read_bytes()).hexdigest() for role, path in files.items()}

    def entry(**changes):
        values = {
            "kind": "regression_table",
            "label": "folds",
            "version": 1,
            "licence": "none",
            "citation": "nobody",
            "rows": 12,
            "features": 2,
            "groups": "rows with equal features",
            "published_splits": 3,
            "origin": "the attic",
            "sources": [
                {
                    "kind": "mirror",
                    "loader": "uci_test_masks",
                    "files": {role: {"path": f"m/{path.name}", "sha256": sha[role]} for role, path in files.items()},
                },
                {
                    "kind": "file",
                    "loader": "uci_test_masks",
                    "files": {role: {"name": path.name, "sha256": sha[role]} for role, path in files.items()},
                },
            ],
        }
        return RegressionTableEntry.model_validate_json(json.dumps({**values, **changes}))

    return entry, files, masks


def test_published_splits_are_kept_with_the_table(folds_entry, tmp_path):
    make, files, masks = folds_entry
    own = {"folds": tmp_path / "own"}
    prepared = prepare_dataset("folds", make(), tmp_path / "data", user_files=own)
    table = read_regression_table(tmp_path / "data", "folds", prepared.data_version)
    np.testing.assert_array_equal(table.test_masks, masks)
    assert table.test_masks.dtype == bool
    assert table.feature_names == ("x1", "x2")
    assert table_digest(table) == prepared.provenance["table_sha256"] == table_digest(LOADERS["uci_test_masks"](files))
    assert prepared.provenance["published_splits"] == 3


def test_set_known_by_its_files_alone_is_the_same_from_a_mirror_and_from_a_user(folds_entry, tmp_path):
    make, files, _ = folds_entry
    mirror = tmp_path / "mirror" / "m"
    mirror.mkdir(parents=True)
    for path in files.values():
        (mirror / path.name).write_bytes(path.read_bytes())
    from_mirror = prepare_dataset("folds", make(), tmp_path / "a", mirror=mirror.parent)
    from_user = prepare_dataset("folds", make(), tmp_path / "b", user_files={"folds": tmp_path / "own"})
    assert [one.provenance["source"]["kind"] for one in (from_mirror, from_user)] == ["mirror", "file"]
    assert from_mirror.data_version == from_user.data_version
    assert from_mirror.provenance["table_sha256"] == from_user.provenance["table_sha256"]


def test_set_that_nobody_has_is_an_error_that_says_where_to_get_it(folds_entry, tmp_path):
    make, files, _ = folds_entry
    (tmp_path / "mirror").mkdir()
    with pytest.raises(DataError) as caught:
        prepare_dataset("folds", make(), tmp_path / "data", mirror=tmp_path / "mirror")
    for words in [
        "mirror has no such file",
        "m/data.csv.gz",
        "`user_files: folds:`",
        "get them from the attic, and name them under `user_files: folds:`; then run `bayesgrid prepare folds`",
    ]:
        assert words in str(caught.value)
    files["table"].write_bytes(files["table"].read_bytes()[:-1])
    with pytest.raises(DataError, match="SHA-256 differs"):
        prepare_dataset("folds", make(), tmp_path / "data", user_files={"folds": tmp_path / "own"})


@pytest.mark.parametrize("number", [None, 2, 10])
def test_catalog_that_counts_other_published_splits_than_the_table_has_is_refused(folds_entry, tmp_path, number):
    make, _, _ = folds_entry
    with pytest.raises(DataError, match=rf"number of published splits.*given: 3; allowed: {number or 0}"):
        prepare_dataset("f", make(published_splits=number), tmp_path / "data", user_files={"f": tmp_path / "own"})


def test_prepared_data_of_before_published_splits_were_kept_is_read_on(tmp_path):
    # The layout then: feature columns, target and group, and a record without the number of splits.
    folder = tmp_path / "old-v1-abc"
    folder.mkdir()
    pq.write_table(pa.table({"a": [1.0, 2.0], "target": [3.0, 4.0], "group": [0, 1]}), folder / "table.parquet")
    digest = hashlib.sha256((folder / "table.parquet").read_bytes()).hexdigest()
    (folder / "provenance.json").write_text(json.dumps({"parquet_sha256": digest}))
    table = read_regression_table(tmp_path, "old", "v1-abc")
    assert (table.feature_names, table.target.tolist(), table.groups.tolist()) == (("a",), [3.0, 4.0], [0, 1])
    assert table.test_masks is None


def test_bimodal_sine_is_prepared_without_any_source_file(tmp_path):
    entry = RegressionTableEntry.model_validate_json(
        json.dumps(
            {
                "kind": "regression_table",
                "label": "sine",
                "version": 1,
                "licence": "MIT",
                "citation": "nobody",
                "rows": 30,
                "features": 1,
                "sources": [{"kind": "generator", "name": "bimodal_sine", "parameters": {"rows": 30}}],
            }
        )
    )
    prepare_dataset("sine", entry, tmp_path)
    table = read_regression_table(tmp_path, "sine", entry.data_version())
    assert table.features.shape == (30, 1)
    assert table.groups is None
