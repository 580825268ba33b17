"""The notebooks that draw figures: that they exist, and which kinds of tables they can draw.

A notebook says so in the header that jupytext reads: ``bayesgrid: {tables: [answer_metrics]}`` below ``jupyter:``. One
that says nothing is taken to draw whatever it is given.
"""

from pathlib import Path
from typing import Any

from bayesgrid.errors import ConfigurationError, did_you_mean
from bayesgrid.grid.used_in import FigureDefinition
from bayesgrid.grid.yaml_files import parse_yaml

__all__ = ["check_drawn_kind", "drawn_kinds", "require_notebook"]

_FENCE = "# ---"


def require_notebook(figure: str, definition: FigureDefinition, notebooks: Path) -> Path:
    """Return the notebook of figure ``figure``, a file of the folder ``notebooks``.

    Raises:
        ConfigurationError: if there is none, naming the nearest.
    """
    path = notebooks / f"{definition.notebook}.py"
    if not path.is_file():
        known = sorted(file.stem for file in notebooks.glob("*.py"))
        raise ConfigurationError(
            f"figure {figure!r}: unknown notebook",
            where=str(notebooks),
            given=definition.notebook,
            allowed=", ".join(known),
            remedy=did_you_mean(definition.notebook, known),
        )
    return path


def check_drawn_kind(figure: str, definition: FigureDefinition, kind: str, notebooks: Path, where: str) -> None:
    """Raise ConfigurationError if the notebook of figure ``figure`` does not exist, or draws no tables of ``kind``."""
    kinds = drawn_kinds(require_notebook(figure, definition, notebooks))
    if kinds is None or kind in kinds:
        return
    fitting = [path.stem for path in sorted(notebooks.glob("*.py")) if kind in (drawn_kinds(path) or ())]
    raise ConfigurationError(
        f"figure {figure!r}: notebook {definition.notebook!r} cannot draw table {definition.table!r}",
        where=where,
        given=f"a table of kind {kind}",
        allowed=f"a table of kind {' or '.join(kinds)}",
        remedy=f"notebooks for {kind} are {', '.join(fitting)}" if fitting else None,
    )


def drawn_kinds(notebook: Path) -> tuple[str, ...] | None:
    """Return the kinds of tables that the file ``notebook`` says it draws; None if it says nothing.

    Raises:
        ConfigurationError: if its header is not valid YAML, or names the kinds in another form than a list.
    """
    lines = notebook.read_text(encoding="utf-8").splitlines()
    if _FENCE not in lines[:1] or _FENCE not in lines[1:]:
        return None
    header = parse_yaml("\n".join(line.removeprefix("# ") for line in lines[1 : lines.index(_FENCE, 1)]), notebook)
    said = _below(_below(_below(header, "jupyter"), "bayesgrid"), "tables")
    if said is None:
        return None
    if not isinstance(said, list) or not all(isinstance(kind, str) for kind in said):
        raise ConfigurationError(
            "key 'bayesgrid.tables' of the header is no list of kinds of tables",
            where=str(notebook),
            given=repr(said),
            allowed="[answer_metrics], for example",
        )
    return tuple(said)


def _below(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, dict) else None
