"""Running a figure's notebook: a py:percent file in, an executed notebook and its HTML page out."""

import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jupytext
import nbconvert
import papermill
from papermill.exceptions import PapermillException, PapermillExecutionError

from bayesgrid.errors import ConfigurationError, StateError
from bayesgrid.store.atomic import atomic_write, write_text

__all__ = ["render_notebook"]

_KERNEL = "python3"


def render_notebook(source_py: Path, output_ipynb: Path, parameters: Mapping[str, Any]) -> list[Path]:
    """Execute the notebook ``source_py`` with ``parameters`` and return the paths of the .ipynb and .html written.

    The kernel is the running interpreter. The parameters replace those of the cell tagged ``parameters``; paths are to
    be absolute, because the notebook runs in a folder of its own.

    Args:
        source_py: a notebook in jupytext's py:percent format.
        output_ipynb: where the executed notebook goes; the page is written beside it.
        parameters: plain values by name.

    Raises:
        ConfigurationError: if the notebook is missing, has no ``parameters`` cell, or lacks one of the parameters.
        StateError: if a cell fails; the notebook up to it is kept as ``<stem>.failed.ipynb``.
    """
    notebook = _read(source_py, parameters)
    failed = output_ipynb.with_name(f"{output_ipynb.stem}.failed.ipynb")
    with tempfile.TemporaryDirectory(prefix="bayesgrid-notebook-") as folder, _own_kernel(Path(folder)), _quiet():
        plain, executed = Path(folder) / "source.ipynb", Path(folder) / "executed.ipynb"
        plain.write_text(jupytext.writes(notebook, fmt="ipynb"), encoding="utf-8")
        try:
            papermill.execute_notebook(
                plain,
                executed,
                parameters={name: _plain(value) for name, value in parameters.items()},
                kernel_name=_KERNEL,
                progress_bar=False,
                log_output=False,
                cwd=folder,
            )
        except PapermillExecutionError as error:
            write_text(failed, executed.read_text(encoding="utf-8"))
            raise StateError(
                f"a cell of the notebook failed: {error.ename}: {error.evalue}",
                where=str(source_py),
                remedy=f"see {failed}",
            ) from None
        except PapermillException as error:
            raise ConfigurationError(f"the notebook cannot be run: {error}", where=str(source_py)) from None
        text = executed.read_text(encoding="utf-8")
        exporter: Any = nbconvert.HTMLExporter
        page, _ = exporter(exclude_input_prompt=True, exclude_output_prompt=True).from_filename(str(executed))
    html = output_ipynb.with_suffix(".html")
    with atomic_write(output_ipynb) as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_text(html, page)
    failed.unlink(missing_ok=True)
    return [output_ipynb, html]


def _read(source: Path, parameters: Mapping[str, Any]) -> Any:
    try:
        notebook = jupytext.read(source, fmt="py:percent")
    except FileNotFoundError:
        raise ConfigurationError("the notebook does not exist", where=str(source)) from None
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ConfigurationError(
            "a figure's notebook has one cell tagged parameters",
            where=str(source),
            given=f"{len(tagged)} such cells",
            allowed='`# %% tags=["parameters"]` above one cell',
        )
    defined = {
        line.partition("=")[0].partition(":")[0].strip() for line in tagged[0].source.splitlines() if "=" in line
    }
    unknown = sorted(set(parameters) - defined)
    if unknown:
        raise ConfigurationError(
            f"the notebook has no parameter {', '.join(unknown)}", where=str(source), allowed=", ".join(sorted(defined))
        )
    notebook.metadata["kernelspec"] = {"name": _KERNEL, "display_name": "Python 3", "language": "python"}
    return notebook


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


@contextmanager
def _own_kernel(folder: Path) -> Iterator[None]:
    # A kernel of this name in the user's home may belong to another Python; the first entry of JUPYTER_PATH wins.
    kernel = folder / "jupyter" / "kernels" / _KERNEL
    kernel.mkdir(parents=True)
    command = [
        sys.executable,
        "-Xfrozen_modules=off",
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
        "--log-level=CRITICAL",
    ]
    description = {"argv": command, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(description), encoding="utf-8")
    before = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "IPYTHONDIR", "PYTHONPATH")}
    paths = [str(folder / "jupyter"), before["JUPYTER_PATH"]]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(path for path in paths if path)
    # Without a folder of its own IPython writes to the user's home, which may be missing on a compute node.
    os.environ["IPYTHONDIR"] = str(folder / "ipython")
    # The kernel imports what this process imports, also from a source tree that is not installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in sys.path if path))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("papermill")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
