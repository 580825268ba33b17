import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.io import savemat

from bayesgrid.data.regression_tables import LOADERS, RegressionTable, bimodal_sine, table_digest
from bayesgrid.errors import DataError
from bayesgrid.grid.sources import BimodalSineParameters, load_dataset_catalog

CATALOG = Path(__file__).parents[3] / "config" / "datasets.yaml"


def column(table, name):
    return table.features[:, table.feature_names.index(name)]


def test_parkinsons_has_the_published_features_and_drops_the_motor_score(parkinsons_data):
    table = LOADERS["parkinsons"]({"table": parkinsons_data(subjects=(1, 2, 42))})
    assert table.features.shape == (9, 61)
    assert table.groups.tolist() == [1, 1, 1, 2, 2, 2, 42, 42, 42]
    assert not any("UPDRS" in name for name in table.feature_names)
    np.testing.assert_array_equal(column(table, "subject=42"), [0] * 6 + [1] * 3)
    np.testing.assert_array_equal(table.features[:, 19:].sum(axis=1), 1)
    # The numbers of a row count up in thousandths: test_time 0, motor 1, total 2, Jitter(%) 3, ...
    np.testing.assert_allclose(table.target, column(table, "test_time") + 0.002)
    np.testing.assert_allclose(column(table, "Jitter(%)"), column(table, "test_time") + 0.003)


def test_parkinsons_subject_outside_the_study_is_refused(parkinsons_data):
    with pytest.raises(DataError, match=r"column 'subject#', line 5: unknown level; given: '43'"):
        LOADERS["parkinsons"]({"table": parkinsons_data(subjects=(1, 43))})


def test_diamonds_are_one_hot_and_equal_features_form_a_group(diamonds_csv):
    table = LOADERS["diamonds"]({"table": diamonds_csv()})
    assert table.features.shape == (5, 26)
    assert table.groups.tolist() == [0, 0, 0, 1, 2]
    assert table.target.tolist() == [326, 326, 400, 1000, 5000]
    on = [name for name, value in zip(table.feature_names, table.features[3], strict=True) if "=" in name and value]
    assert on == ["cut=Very Good", "color=J", "clarity=IF"]


def test_diamonds_of_unknown_cut_are_refused(diamonds_csv):
    with pytest.raises(DataError, match=r"column 'cut', line 2: unknown level; given: 'Superb'; allowed: Fair, Good"):
        LOADERS["diamonds"]({"table": diamonds_csv(rows=['0.2,"Superb","E","SI2",61,55,326,3.9,3.9,2.4'])})


def test_sarcos_matlab_takes_inputs_first_torque_and_blocks(tmp_path):
    matrix = np.random.default_rng(1).normal(size=(1100, 28))
    savemat(tmp_path / "sarcos_inv.mat", {"sarcos_inv": matrix})
    table = LOADERS["sarcos_matlab"]({"table": tmp_path / "sarcos_inv.mat"})
    np.testing.assert_array_equal(table.features, matrix[:, :21])
    np.testing.assert_array_equal(table.target, matrix[:, 21])
    assert np.bincount(table.groups).tolist() == [500, 500, 100]


@pytest.fixture
def trajectory(tmp_path):
    """Write a smooth movement of 3,000 rows in three files: nine rows of ten with their place, the others without."""

    def write(torque_error=0.0):
        time = np.arange(3000)
        # Every row of the second half passes where a row of the first half passed, so inputs alone do not locate it.
        phase = np.where(time < 1500, time, 2999 - time)
        inputs = np.round(np.sin(phase[:, None] / 300 * np.linspace(1, 1.5, 21)), 6)
        torques = np.round(np.random.default_rng(2).normal(size=(3000, 7)), 1)
        extra = time % 10 == 5
        names = [f"{quantity}{joint}" for quantity in ("q", "qd", "qdd") for joint in range(1, 8)]

        def save(path, columns, rows):
            lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
            (tmp_path / path).write_text("\n".join(lines) + "\n")
            return tmp_path / path

        located = ([row, "somewhere", *inputs[row], *torques[row]] for row in time[~extra])
        taus = [f"tau{joint}" for joint in range(1, 8)]
        files = {
            "table": save("table.csv", ["train_row", "origin", *names, *taus], located),
            "extra": save("extra.csv", [*names, "tau1"], ([*inputs[row], torques[row, 0]] for row in time[extra])),
            "torques": save("torques.csv", ["target"], ([value + torque_error] for value in torques.T.ravel())),
        }
        return files, time[extra]

    return write


def test_sarcos_rows_of_unknown_place_get_the_block_they_come_from(trajectory):
    files, places = trajectory()
    table = LOADERS["sarcos_subset"](files)
    assert table.features.shape == (3000, 21)
    # Torques are coarse, so a few rows may be taken for another pass at the same spot.
    assert (table.groups[-places.size :] == places // 500).mean() > 0.9


def test_sarcos_torques_of_other_rows_are_refused(trajectory):
    files, _ = trajectory(torque_error=0.5)
    with pytest.raises(DataError, match="not those of the rows in the table"):
        LOADERS["sarcos_subset"](files)


@pytest.fixture
def superconductors(tmp_path):
    def write(formulas, temperatures, formula_temperatures=None):
        from bayesgrid.data.regression_tables import SUPERCONDUCTOR_FEATURES

        table = [",".join([*SUPERCONDUCTOR_FEATURES, "critical_temp"])]
        table += [",".join([*map(str, range(81)), str(temperature)]) for temperature in temperatures]
        materials = ["H,He,critical_temp,material"]
        pairs = zip(formulas, formula_temperatures or temperatures, strict=True)
        materials += [f"0,0,{temperature},{formula}" for formula, temperature in pairs]
        (tmp_path / "train.csv").write_text("\n".join(table) + "\n")
        (tmp_path / "unique_m.csv").write_text("\n".join(materials) + "\n")
        return {"table": tmp_path / "train.csv", "materials": tmp_path / "unique_m.csv"}

    return write


def test_superconductors_of_the_same_elements_are_one_family(superconductors):
    formulas = ["Ba0.2La1.8Cu1O4", "La1.8Ba0.2Cu1O3.9", "Nb3Sn1", "N1B1S1", "Co1O1", "C1O1"]
    table = LOADERS["superconductors_uci"](superconductors(formulas, [29, 26, 18.3, 1, 2, 3]))
    assert table.features.shape == (6, 81)
    assert table.groups.tolist() == [0, 0, 1, 2, 3, 4]  # NbSn is not N, B, S, n; Co is not C, O
    assert table.target.tolist() == [29, 26, 18.3, 1, 2, 3]


def test_formulas_of_other_rows_are_refused(superconductors):
    with pytest.raises(DataError, match="critical temperatures differ"):
        LOADERS["superconductors_uci"](superconductors(["Nb1", "Pb1"], [9.2, 7.2], [7.2, 9.2]))
    with pytest.raises(DataError, match=r"line 3: not a chemical formula; given: '12'"):
        LOADERS["superconductors_uci"](superconductors(["Nb1", "12"], [9.2, 7.2]))


VALUES = [[1, 10, 0.5], [2, 20, 1.5], [1, 10, 2.5], [3, 30, 3.5]]
MASKS = [[1, 0], [0, 1], [0, 1], [1, 0]]


@pytest.mark.parametrize("name", ["kin40k", "pol", "skillcraft", "sml", "yacht"])
def test_files_of_the_uci_collection_are_features_target_and_test_masks(uci_folder, name):
    entry = load_dataset_catalog(CATALOG).entry(name)
    table = {}
    for source in entry.sources:
        table[source.kind] = LOADERS[source.loader](
            {role: path for role, path in uci_folder(VALUES, MASKS).items() if role in source.files}
        )
    for one in table.values():
        np.testing.assert_array_equal(one.features, [[1, 10], [2, 20], [1, 10], [3, 30]])
        assert one.target.tolist() == [0.5, 1.5, 2.5, 3.5]
        assert one.groups.tolist() == [0, 1, 0, 2]
        assert one.test_masks.dtype == bool
        assert one.test_masks.tolist() == [[True, False], [False, True], [False, True], [True, False]]
    assert set(table) == {"mirror", "file"}


@pytest.mark.parametrize(
    ("values", "masks", "words"),
    [
        (VALUES, MASKS[:3], r"test masks are not those of the table; given: 3 rows; allowed: the 4 rows"),
        (VALUES, [[1, 0], [0, 1], [0, 2], [1, 0]], "column 2, line 3: neither 0 nor 1"),
        (VALUES, [[1, 0], [0, 0], [0, 0], [1, 0]], "published split 1 leaves one side empty"),
        (VALUES, [[1, 1], [0, 1], [0, 1], [1, 1]], "published split 1 leaves one side empty"),
        ([[1], [2]], [[1], [0]], "no column beside the target"),
        ([[1, "?"], [2, 3]], [[1], [0]], "column 2, line 1: not a finite number"),
    ],
)
def test_faulty_files_of_the_uci_collection_are_refused(uci_folder, values, masks, words):
    with pytest.raises(DataError, match=words):
        LOADERS["uci_test_masks"](uci_folder(values, masks))


def test_bimodal_sine_has_two_modes_of_the_stated_width():
    table = bimodal_sine(BimodalSineParameters(rows=20000, offset=0.5, noise=0.2, seed=3))
    x = table.features[:, 0]
    assert stats.kstest(x, stats.uniform(-4, 8).cdf).pvalue > 1e-3
    residual = table.target - np.sin(x)

    def mixture(value):
        return (stats.norm.cdf(value, 0.5, 0.2) + stats.norm.cdf(value, -0.5, 0.2)) / 2

    assert stats.kstest(residual, mixture).pvalue > 1e-3
    # The mode must not depend on the input.
    assert abs(np.corrcoef(x, residual > 0)[0, 1]) < 4 / np.sqrt(20000)


def test_more_rows_extend_the_bimodal_sine():
    short, long = (bimodal_sine(BimodalSineParameters(rows=rows)) for rows in (50, 80))
    np.testing.assert_array_equal(long.features[:50], short.features)
    np.testing.assert_array_equal(long.target[:50], short.target)


def test_digest_sees_every_part_of_a_table():
    def table(**changes):
        parts = {
            "features": np.arange(6.0).reshape(3, 2),
            "target": np.arange(3.0),
            "feature_names": ("a", "b"),
            "groups": np.array([0, 0, 1]),
        }
        return RegressionTable(name="any", **{**parts, **changes})

    masks = np.array([[True, False], [False, True], [False, False]])
    changed = [
        table(),
        table(test_masks=masks),
        table(test_masks=masks[:, ::-1]),
        table(test_masks=masks[:, :1]),
        table(features=np.arange(1.0, 7.0).reshape(3, 2)),
        table(target=np.array([0.0, 1.0, np.nextafter(2.0, 3.0)])),
        table(feature_names=("a", "c")),
        table(groups=np.array([0, 1, 1])),
        table(groups=None),
    ]
    assert len({table_digest(one) for one in changed}) == len(changed)
    fortran = np.asfortranarray(np.arange(6.0).reshape(3, 2))
    assert table_digest(table(features=fortran)) == table_digest(table())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": np.arange(4.0)}, "features have another shape"),
        ({"groups": np.array([0])}, "groups have another shape"),
        ({"target": np.array([0.0, np.nan, 1.0])}, "not finite"),
        ({"feature_names": ("a", "a")}, "repeat"),
        ({"feature_names": ("a", "target")}, "'target'"),
        ({"feature_names": ("a", "test_masks")}, "'test_masks'"),
        ({"test_masks": np.array([[True], [False]])}, "test masks have another shape"),
        ({"test_masks": np.array([True, False, False])}, "test masks have another shape"),
    ],
)
def test_a_table_that_does_not_fit_together_is_refused(changes, words):
    parts = {
        "features": np.arange(6.0).reshape(3, 2),
        "target": np.arange(3.0),
        "feature_names": ("a", "b"),
        "groups": None,
    }
    with pytest.raises(DataError, match=words):
        RegressionTable(name="any", **{**parts, **changes})


def test_digest_is_the_stated_hash():
    import hashlib

    table = RegressionTable("any", np.array([[1.0], [2.0]]), np.array([3.0, 4.0]), ("a",), None)
    header = json.dumps({"features": ["a"], "groups": False, "rows": 2}).encode()
    assert table_digest(table) == hashlib.sha256(header + np.array([1.0, 2.0, 3.0, 4.0], "<f8").tobytes()).hexdigest()
