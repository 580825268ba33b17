import gzip

import numpy as np
import pytest
from scipy.io import savemat

from bayesgrid.data.table_files import (
    integers,
    labels,
    numbers,
    read_columns,
    read_matrix,
    read_unnamed_columns,
)
from bayesgrid.errors import DataError


@pytest.fixture
def csv(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_columns_come_in_the_order_asked_for_whatever_the_order_in_the_file(csv):
    path = csv("b,a\n2,1\n4,3\n")
    assert numbers(read_columns(path, ("a", "b")), path).tolist() == [[1, 2], [3, 4]]


def test_numbers_are_the_nearest_doubles(csv):
    written = ["0.1", "2.2250738585072011e-308", "123456.78901234567890", "1e22", "3.38e-005"]
    path = csv("a\n" + "\n".join(written) + "\n")
    assert numbers(read_columns(path, ("a",)), path)[:, 0].tolist() == [float(text) for text in written]


def test_byte_order_mark_windows_line_ends_and_gzip_are_read(csv):
    path = csv(gzip.compress("\ufeffa,b\r\n1,2\r\n".encode()), "table.csv.gz")
    assert numbers(read_columns(path, ("a", "b")), path).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("", "table.csv", ["empty"]),
        ("a,b\n", "table.csv", ["no rows"]),
        ("a,c\n1,2\n", "table.csv", ["missing ['b']", "unexpected ['c']", "allowed: a, b"]),
        ("a,b,c\n1,2,3\n", "table.csv", ["unexpected ['c']"]),
        ("a,b\n1,2,3\n1,2,3,4\n", "table.csv", ["cannot be read as a table"]),
        (b"a,b\n\xff\xfe,2\n", "table.csv", ["cannot be read as a table"]),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 1000, mtime=0)[:-20], "table.csv.gz", ["cannot be read", "cut off"]),
        (b"not gzip", "table.csv.gz", ["cannot be read"]),
    ],
)
def test_bad_files_are_named_with_what_is_wrong(csv, content, name, words):
    path = csv(content, name)
    with pytest.raises(DataError) as caught:
        read_columns(path, ("a", "b"))
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_columns(tmp_path / "absent.csv", ("a",))


@pytest.mark.parametrize("cell", ["", "NaN", "inf", "-inf", "?", "1,5", "NA"])
def test_cells_that_are_no_finite_numbers_are_named_by_column_and_line(csv, cell):
    path = csv(f'a,b\n1,2\n3,"{cell}"\n')
    with pytest.raises(DataError, match=r"column 'b', line 3: not a finite number"):
        numbers(read_columns(path, ("a", "b")), path)


def test_file_without_names_loses_no_row(csv):
    path = csv(gzip.compress(b"1,2.5e-3,3\n4,5,6\n"), "table.csv.gz")
    assert numbers(read_unnamed_columns(path), path, first_line=1).tolist() == [[1, 0.0025, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1,2\n3,x\n", r"column 2, line 2: not a finite number.*'x'"),
        ("1,2\n3\n", r"column 2, line 2: not a finite number"),
        ("1,2\n3,4,5\n", "cannot be read as a table"),
        ("", "empty"),
    ],
)
def test_faults_of_a_file_without_names_are_named_by_column_and_line(csv, content, words):
    path = csv(content)
    with pytest.raises(DataError, match=words):
        numbers(read_unnamed_columns(path), path, first_line=1)


def test_integers_refuse_fractions(csv):
    path = csv("a\n1\n2.0\n2.5\n")
    with pytest.raises(DataError, match="line 4: not a whole number"):
        integers(read_columns(path, ("a",)), "a", path)


def test_labels_are_one_hot_in_the_order_of_the_levels(csv):
    path = csv("a\nlow\nhigh\nlow\n")
    assert labels(read_columns(path, ("a",)), "a", ("low", "high"), path).tolist() == [[1, 0], [0, 1], [1, 0]]


def test_unknown_level_is_named_with_its_line(csv):
    path = csv("a\nlow\nmiddle\n")
    with pytest.raises(DataError, match=r"line 3: unknown level; given: 'middle'; allowed: low, high"):
        labels(read_columns(path, ("a",)), "a", ("low", "high"), path)


def test_matrix_is_read_as_written(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(5, 3))
    savemat(tmp_path / "m.mat", {"values": matrix})
    np.testing.assert_array_equal(read_matrix(tmp_path / "m.mat", "values", 3), matrix)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"other": np.ones((2, 3))}, "no such variable"),
        ({"values": np.ones((2, 4))}, "given: 2 × 4; allowed: rows × 3 numbers"),
        ({"values": np.array([[1.0, 2.0, np.nan]])}, "row 1, column 3: not a finite number"),
    ],
)
def test_bad_matrices_are_data_errors(tmp_path, variables, words):
    savemat(tmp_path / "m.mat", variables)
    with pytest.raises(DataError, match=words):
        read_matrix(tmp_path / "m.mat", "values", 3)


def test_damaged_or_missing_matlab_file_is_a_data_error(tmp_path):
    savemat(tmp_path / "m.mat", {"values": np.ones((50, 3))}, do_compression=True)
    whole = (tmp_path / "m.mat").read_bytes()
    for length in (0, 100, len(whole) - 30):
        (tmp_path / "m.mat").write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_matrix(tmp_path / "m.mat", "values", 3)
    with pytest.raises(DataError, match="does not exist"):
        read_matrix(tmp_path / "absent.mat", "values", 3)
