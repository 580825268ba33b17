import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesgrid.reporting.table import Cell, Section, Table, decimals_for, number, number_with_interval
from bayesgrid.reporting.table_files import latex, markdown, write_table
from bayesgrid.reporting.tables import build_table

SUFFIXES = [".parquet", ".csv", ".md", ".tex"]


def small(text="a_b & 50 % | $x$ #1 ~ ^ \\ {y} <b> *c* `d`", rows=1):
    cells = (Cell(text), Cell("−1.25 ± 0.03", best=True))
    return Table(
        pd.DataFrame({"name": ["é"], "value": [0.1 + 0.2]}),
        ("Name", "Value"),
        (Section("one_two", (cells,) * rows),),
        "A caption",
        ("A note with 5 %.",),
        ("A footnote.",),
    )


def test_the_same_runs_give_the_same_bytes(demo_runs, tmp_path):
    for folder in ("first", "second"):
        for kind in ("learning_curve_summary", "learning_curves"):
            paths = write_table(build_table(kind, demo_runs), tmp_path / folder / kind)
            assert [path.suffix for path in paths] == SUFFIXES
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    assert len(list((tmp_path / "first").iterdir())) == 8


def test_parquet_and_csv_hold_the_numbers_in_full(tmp_path):
    write_table(small(), tmp_path / "table")
    for frame in (pd.read_parquet(tmp_path / "table.parquet"), pd.read_csv(tmp_path / "table.csv")):
        assert frame["value"].tolist() == [0.1 + 0.2]
        assert frame["name"].tolist() == ["é"]


def test_a_stem_with_a_dot_keeps_it(tmp_path):
    assert write_table(small(), tmp_path / "v1.5")[0].name == "v1.5.parquet"


def test_a_write_that_fails_leaves_the_old_files(tmp_path):
    write_table(small(), tmp_path / "table")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = pd.DataFrame({"mixed": [1, "a", {"b": object()}]})
    with pytest.raises(Exception, match="mixed"):
        write_table(Table(broken, (), (), "", ()), tmp_path / "table")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_markdown_rows_have_the_columns_of_their_head():
    lines = [line for line in markdown(small()).splitlines() if line.startswith("|")]
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert counts == {3}
    assert "**−1.25 ± 0.03**" in lines[-1]


@given(st.text(alphabet="abc_&%$#{}~^\\<>|*`±×·—Δ−†\n", max_size=12))
def test_latex_escapes_every_special_character(text):
    body = latex(small(text), label="t").split(r"\midrule")[1]
    row = body.splitlines()[2]
    plain = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[&%$#_{}]|\$[^$]*\$", "", row)
    plain = plain.replace(r"\textbf{", "").removesuffix(r" \\").removesuffix("}")
    assert plain.count("&") == 1
    assert not set(plain.replace(" & ", "")) & set("%$#{}~^\\_−±Δ†")


@pytest.mark.parametrize("rows", [3, 60])
def test_latex_environments_and_braces_are_balanced(rows):
    text = latex(small(rows=rows), label="t")
    begun, ended = re.findall(r"\\begin\{(\w+\*?)\}", text), re.findall(r"\\end\{(\w+\*?)\}", text)
    assert sorted(begun) == sorted(ended)
    assert ("longtable" in begun) == (rows == 60)
    unescaped = re.sub(r"\\[{}\\]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    for command in (
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\caption{A caption.",
        r"\label{tab:t}",
        "[1] A footnote.",
    ):
        assert command in text


@given(st.floats(-1e4, 1e4), st.floats(1e-4, 1e2))
def test_the_half_width_is_shown_with_two_significant_digits(estimate, half):
    decimals = decimals_for([half])
    text = number_with_interval(estimate, estimate - half, estimate + half, decimals)
    shown, width = (float(part.replace("−", "-")) for part in text.split(" ± "))
    assert shown == pytest.approx(estimate, abs=10.0**-decimals)
    assert width == pytest.approx(half, rel=0.051)


def test_numbers_are_never_negative_zeros_nor_nan():
    assert number(-0.0001, 2) == "0.00"
    assert number(float("nan"), 2) == "—"
    assert number(-1.5, 1) == "−1.5"
    assert number_with_interval(1.0, np.nan, np.nan, 1) == "1.0"
    assert decimals_for([0.0, float("nan")]) == 4
