import gzip
import os
import zipfile
from pathlib import Path

import pytest

PARKINSONS_HEADER = (
    "subject#,age,sex,test_time,motor_UPDRS,total_UPDRS,Jitter(%),Jitter(Abs),Jitter:RAP,Jitter:PPQ5,Jitter:DDP,"
    "Shimmer,Shimmer(dB),Shimmer:APQ3,Shimmer:APQ5,Shimmer:APQ11,Shimmer:DDA,NHR,HNR,RPDE,DFA,PPE"
)


@pytest.fixture
def mirror():
    """Root of the local mirror of public data sets; tests of the real files are skipped without one."""
    root = os.environ.get("BAYESGRID_MIRROR")
    if not root:
        pytest.skip("BAYESGRID_MIRROR is not set: no real data files on this machine")
    return Path(root)


@pytest.fixture
def diamonds_csv(tmp_path):
    """Write a file of diamonds; the first two rows repeat each other, the third has their features at another price."""

    def write(path=None, rows=None):
        path = path or tmp_path / "diamonds.csv"
        rows = rows or [
            '0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43',
            '0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43',
            '0.23,"Ideal","E","SI2",61.5,55,400,3.95,3.98,2.43',
            '0.30,"Very Good","J","IF",62,56,1000,4.1,4.2,0',
            '1e0,"Fair","D","I1",60,57,5000,6,6.1,3.5',
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "\n".join(['"carat","cut","color","clarity","depth","table","price","x","y","z"', *rows]) + "\n"
        )
        return path

    return write


@pytest.fixture
def parkinsons_data(tmp_path):
    """Write a file of ``subjects`` with three rows each, whose numbers are all different."""

    def write(subjects=(1, 2, 42)):
        path = tmp_path / "parkinsons_updrs.data"
        lines = [PARKINSONS_HEADER]
        for subject in subjects:
            for visit in range(3):
                numbers = [round(subject + visit / 10 + column / 1000, 6) for column in range(18)]
                lines.append(",".join(map(str, [subject, 60 + subject % 10, subject % 2, *numbers, 0.5])))
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def uci_folder(tmp_path):
    """Write the two files of a set in the layout of the UCI collection: no names, the last column the target."""

    def write(values, masks, folder=None):
        folder = folder or tmp_path / "uci"
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in (("data.csv.gz", values), ("test_mask.csv.gz", masks)):
            text = "".join(",".join(map(str, row)) + "\n" for row in rows)
            (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
        return {"table": folder / "data.csv.gz", "test_masks": folder / "test_mask.csv.gz"}

    return write


@pytest.fixture
def package_index(tmp_path, monkeypatch):
    """A folder that serves as pip's only index, and a function that puts a wheel with given members into it."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    def add(package, version, members):
        path = folder / f"{package}-{version}-py3-none-any.whl"
        information = f"{package}-{version}.dist-info"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            archive.writestr(
                f"{information}/METADATA",
                f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\nRequires-Dist: does-not-exist\n",
            )
            archive.writestr(
                f"{information}/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            archive.writestr(f"{information}/RECORD", "")
        return path

    return add
