"""Reading YAML 1.2 files, in which ``1e-4`` is a number and ``no`` is a word."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from bayesgrid.errors import ConfigurationError

__all__ = ["parse_yaml", "read_yaml"]


def read_yaml(path: Path) -> Any:
    """Return the content of the YAML file at ``path``.

    Raises:
        ConfigurationError: if the file is missing, is not valid YAML, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError("the file does not exist", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError("the file is not UTF-8 text", where=str(path), given=str(error)) from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> Any:
    """Return the content of the YAML ``text``, which comes from ``path``.

    Raises:
        ConfigurationError: if it is not valid YAML, or repeats a key.
    """
    reader = YAML(typ="safe", pure=True)
    try:
        return reader.load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"not valid YAML: {error.problem}", where=f"{path}{line}") from None
