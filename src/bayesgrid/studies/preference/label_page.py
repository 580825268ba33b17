"""The page that people answer on: one file with its style, its script and the questions, which asks no network."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

__all__ = ["label_page"]

_TEMPLATE = "label_page.html"
_FIELDS = ("pair_id", "prompt_id", "left", "right", "prompt", "left_text", "right_text")


def label_page(run: str, round_number: int, key: str, questions: Sequence[Mapping[str, Any]]) -> str:
    """Return the page as HTML.

    Texts are data in a block of JSON, which the script puts on the page as text. Its policy admits this script and this
    style alone, by their digests, and no request.

    Args:
        run: id of the run.
        round_number: round of the batch.
        key: under which the browser keeps the answers.
        questions: with ids, ``prompt`` as turns of a role and its content, ``left_text`` and ``right_text``.
    """
    template = files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    shown = [{name: question[name] for name in _FIELDS} for question in questions]
    batch = {"run": run, "round": round_number, "key": key, "questions": shown}
    page = template.replace("%POLICY%", _policy(template), 1)
    # Last, since a text may hold any word.
    return page.replace("%BATCH%", _as_script_data(batch), 1)


def _policy(template: str) -> str:
    return (
        f"default-src 'none'; script-src {_digest(template, '<script>', '</script>')}; "
        f"style-src {_digest(template, '<style>', '</style>')}; base-uri 'none'; form-action 'none'"
    )


def _digest(template: str, start: str, end: str) -> str:
    found = re.search(f"{start}(.*?){end}", template, re.DOTALL)
    assert found is not None  # noqa: S101 - the template is part of the package
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


def _as_script_data(value: Any) -> str:
    """Return JSON that cannot end the element it stands in: no ``<``, ``>`` or ``&``, and ASCII alone."""
    written = json.dumps(value, allow_nan=False)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
