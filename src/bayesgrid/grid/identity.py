"""Run identity: the same specification has the same id, whichever experiment asks for it, on every machine.

The id is a readable slug and 16 hexadecimal digits of a SHA-256 over canonical JSON. The JSON is sparse (a parameter at
its default is left out), so a new parameter with a default keeps every id; it holds the study's ``revision``, so a
change of numbers under unchanged parameters is made visible by hand; and it holds the versions of the data, of the base
model, and the ids of the runs that are built upon. Resources, device, paths and experiment names are not in it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.specification import RunSpec

__all__ = ["HASH_DIGITS", "canonical_json", "identity_record", "run_id"]

HASH_DIGITS = 16
_SLUG = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_LONGEST_SLUG = 120


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys and no spaces, so that equal values give equal text.

    Raises:
        ValueError: if the value holds NaN or infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def identity_record(
    spec: RunSpec,
    *,
    data_versions: Mapping[str, str],
    model_revision: str | None = None,
    needs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return everything that enters the hash of a run.

    Args:
        spec: the resolved specification.
        data_versions: version of each data set the run reads.
        model_revision: revision of the base model, if the study loads one.
        needs: ids of the runs it builds on, by role.
    """
    record: dict[str, Any] = {
        "study": spec.study,
        "revision": spec.revision,
        "parameters": spec.sparse_parameters(),
    }
    if data_versions:
        record["data_versions"] = dict(data_versions)
    if model_revision is not None:
        record["model_revision"] = model_revision
    if needs:
        record["needs"] = dict(needs)
    return record


def run_id(slug: str, record: Mapping[str, Any]) -> str:
    """Return ``<slug>-<16 hex digits>`` for an identity record.

    Raises:
        ConfigurationError: if the slug has characters that do not belong in a file name, or is too long for one.
    """
    if not _SLUG.fullmatch(slug) or len(slug) > _LONGEST_SLUG:
        raise ConfigurationError(
            "the readable part of a run id does not fit a file name",
            where=f"study {record['study']}",
            given=slug,
            allowed=f"lower-case letters, digits, '_', '.', '-', at most {_LONGEST_SLUG} characters",
        )
    return f"{slug}-{hashlib.sha256(canonical_json(record).encode()).hexdigest()[:HASH_DIGITS]}"
