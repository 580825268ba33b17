import hashlib

import pytest

from bayesgrid.data.wheel_member import download_wheel, download_wheel_member
from bayesgrid.errors import DataError

CONTENT = b"a,b\n1,2\n"
SHA = hashlib.sha256(CONTENT).hexdigest()


def test_member_is_extracted_alone(package_index, tmp_path):
    wheel = package_index("toypack", "1.2.0", {"toypack/data/t.csv": CONTENT, "toypack/setup.py": b""})
    destination = tmp_path / "out" / "t.csv"
    download_wheel_member(
        "toypack",
        "1.2.0",
        "toypack/data/t.csv",
        destination,
        sha256=SHA,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
    )
    assert destination.read_bytes() == CONTENT
    assert [path.name for path in destination.parent.iterdir()] == ["t.csv"]


def test_a_file_that_is_there_is_not_downloaded_again(package_index, tmp_path):
    (tmp_path / "t.csv").write_bytes(CONTENT)
    # The index is empty: any download would fail.
    download_wheel_member("toypack", "1.2.0", "t.csv", tmp_path / "t.csv", sha256=SHA)


@pytest.mark.parametrize(
    ("version", "member", "sha256", "wheel_sha256", "words"),
    [
        ("9.9.9", "toypack/t.csv", SHA, None, ["toypack==9.9.9", "pip could not download", "bayesgrid prepare"]),
        ("1.2.0", "toypack/s.csv", SHA, None, ["no such member", "did you mean 'toypack/t.csv'"]),
        ("1.2.0", "toypack/t.csv", "0" * 64, None, ["toypack/t.csv", "SHA-256 differs", f"given: {SHA}"]),
        ("1.2.0", "toypack/t.csv", SHA, "0" * 64, ["toypack-1.2.0-py3-none-any.whl", "SHA-256 differs"]),
    ],
)
def test_failures_say_what_is_wrong_and_leave_nothing(
    package_index, tmp_path, version, member, sha256, wheel_sha256, words
):
    package_index("toypack", "1.2.0", {"toypack/t.csv": CONTENT})
    out = tmp_path / "out"
    with pytest.raises(DataError) as caught:
        download_wheel_member("toypack", version, member, out / "t.csv", sha256=sha256, wheel_sha256=wheel_sha256)
    for word in words:
        assert word in str(caught.value)
    assert not out.exists() or not list(out.iterdir())


def test_failure_leaves_an_earlier_file_as_it_was(package_index, tmp_path):
    package_index("toypack", "1.2.0", {"toypack/t.csv": b"altered"})
    (tmp_path / "t.csv").write_bytes(b"earlier")
    with pytest.raises(DataError):
        download_wheel_member("toypack", "1.2.0", "toypack/t.csv", tmp_path / "t.csv", sha256=SHA)
    assert (tmp_path / "t.csv").read_bytes() == b"earlier"


def test_damaged_wheel_is_a_data_error(package_index, tmp_path):
    wheel = package_index("toypack", "1.2.0", {"toypack/t.csv": CONTENT * 1000})
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(DataError):
        download_wheel_member("toypack", "1.2.0", "toypack/t.csv", tmp_path / "t.csv", sha256=SHA)


def test_source_distributions_are_never_built(package_index, tmp_path):
    (tmp_path / "index" / "toypack-1.2.0.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="pip could not download"):
        download_wheel("toypack", "1.2.0", tmp_path)
