import subprocess
import sys
from pathlib import Path

from bayesgrid.acquisition import compilation


def test_edit_of_a_called_function_reaches_callers_in_other_files(tmp_path: Path) -> None:
    """Numba alone would go on with the caller that was compiled before the edit."""
    package = tmp_path / "toy" / "acquisition"
    package.mkdir(parents=True)
    (package / "compilation.py").write_text(Path(compilation.__file__).read_text())
    header = "from toy.acquisition.compilation import compiled\n"
    (package / "callee.py").write_text(header + "@compiled\ndef callee(x):\n    return x + 1.0\n")
    (package / "caller.py").write_text(
        header + "from toy.acquisition.callee import callee\n@compiled\ndef caller(x):\n    return 2.0 * callee(x)\n"
    )
    script = "from toy.acquisition.caller import caller; print(caller(1.0), sum(caller.stats.cache_hits.values()))"

    def run() -> list[str]:
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert run() == ["4.0", "0"]
    assert run() == ["4.0", "1"], "an unchanged function is not compiled again"
    (package / "callee.py").write_text(header + "@compiled\ndef callee(x):\n    return x + 2.0\n")
    assert run() == ["6.0", "0"]
