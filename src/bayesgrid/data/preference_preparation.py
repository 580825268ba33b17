"""Sets of preference pairs on the way from their source to disk: read or played, compared with the catalog, stored."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bayesgrid.data.checksums import sha256_of_file
from bayesgrid.data.preference_games import game_pairs
from bayesgrid.data.preference_loaders import PREFERENCE_LOADERS
from bayesgrid.data.preference_pairs import (
    ITEM_FEATURES_FILE,
    PROMPTS_FILE,
    RESPONSES_FILE,
    PreferencePairs,
    write_preference_pairs,
)
from bayesgrid.data.preference_rows import LoadedPairs
from bayesgrid.errors import DataError
from bayesgrid.grid.preference_sets import PreferenceFault
from bayesgrid.grid.sources import AnySource, GeneratorSource, PreferenceGameSource, PreferencePairsEntry

__all__ = ["check_pairs", "load_pairs", "pairs_digest", "store_pairs"]

logger = logging.getLogger(__name__)

_DESCRIPTION = {"label", "version", "licence", "citation", "prompts", "responses", "pairs", "note"}
_DECIMALS = 6
"""Of a probability in the checksum: logarithms of two machines differ in the last bit."""


def load_pairs(name: str, entry: PreferencePairsEntry, source: AnySource, paths: Mapping[str, Path]) -> LoadedPairs:
    """Return the pairs of ``source``, read from ``paths`` or played, under the name and version of the ``entry``.

    Raises:
        DataError: if a file is not what the loader expects.
    """
    if isinstance(source, GeneratorSource):
        assert isinstance(source, PreferenceGameSource)  # noqa: S101 - the only generator the entry admits
        loaded = LoadedPairs(game_pairs(source.parameters))
    else:
        # The entry has refused the loaders of other kinds of data sets.
        loaded = PREFERENCE_LOADERS[source.loader](paths)  # type: ignore[index]
    named = replace(loaded.pairs, name=name, data_version=entry.data_version())
    return replace(loaded, pairs=named)


def check_pairs(name: str, entry: PreferencePairsEntry, loaded: LoadedPairs) -> str:
    """Return the digest of the pairs once they are what the catalog's ``entry`` for data set ``name`` says.

    Raises:
        DataError: if they are not, or rows were left out for faults that the catalog does not know.
    """
    where = f"data set {name!r}"
    _check_faults(name, loaded, entry.known_faults)
    pairs = loaded.pairs
    if not pairs.count:
        raise DataError("the files give no pair", where=where, given=f"{len(loaded.faults)} faulty rows")
    found = {"prompts": len(pairs.prompts), "responses": len(pairs.responses), "pairs": pairs.count}
    allowed = {key: getattr(entry, key) for key in found}
    if any(allowed[key] not in (None, count) for key, count in found.items()):
        raise DataError(
            "the data set has another size than the catalog says", where=where, given=found, allowed=allowed
        )
    digest = pairs_digest(pairs)
    if entry.pairs_sha256 is not None and digest != entry.pairs_sha256:
        raise DataError(
            "the pairs are not those the catalog means: 'pairs_sha256' differs",
            where=where,
            given=digest,
            allowed=entry.pairs_sha256,
            remedy="if the change is meant, raise 'version' and correct 'pairs_sha256' in the catalog",
        )
    return digest


def _check_faults(name: str, loaded: LoadedPairs, known: Mapping[PreferenceFault, int] | None) -> None:
    for kind, count in Counter(fault.kind for fault in loaded.faults).items():
        first = next(fault for fault in loaded.faults if fault.kind == kind)
        expected = 0 if known is None else known.get(kind, 0)
        if known is None:
            logger.warning("data set %s: %d rows left out (%s), the first: %s", name, count, kind, first.error())
        elif count > expected:
            raise first.error(
                f"{count} such rows in all, and the catalog knows of {expected}: mend them, or declare them under "
                f"'known_faults' of {name!r}, which leaves them out"
            )


def store_pairs(entry: PreferencePairsEntry, loaded: LoadedPairs, digest: str, folder: Path) -> dict[str, Any]:
    """Write the pairs into ``folder`` and return what the record of the data set says about them."""
    pairs = loaded.pairs
    write_preference_pairs(pairs, folder)
    further = (PROMPTS_FILE, RESPONSES_FILE, *(() if pairs.item_features is None else (ITEM_FEATURES_FILE,)))
    return {
        **entry.model_dump(mode="json", include=_DESCRIPTION),
        "prompts": len(pairs.prompts),
        "responses": len(pairs.responses),
        "pairs": pairs.count,
        "pairs_sha256": digest,
        "left_out": dict(Counter(fault.kind for fault in loaded.faults)),
        "further_files": {file: sha256_of_file(folder / file) for file in further},
    }


def pairs_digest(pairs: PreferencePairs) -> str:
    """Return a SHA-256 over prompts, responses, pairs and labels; probabilities count to six decimals.

    Equal pairs have equal digests, whatever file they were in. Features of items are left out: the
    parameters of a game, or the ids of responses, say what they are.
    """
    digest = hashlib.sha256()
    for prompt in pairs.prompts:
        turns = [[message.role, message.content] for message in prompt.messages]
        digest.update(json.dumps([prompt.prompt_id, turns], ensure_ascii=False).encode() + b"\n")
    for response in pairs.responses:
        row = [response.response_id, response.prompt, response.text, response.system]
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    named = [pairs.pair_ids, pairs.subsets, *([] if pairs.groups is None else [pairs.groups])]
    digest.update(json.dumps(named, ensure_ascii=False).encode() + b"\n")
    margins = np.full(pairs.count, np.nan) if pairs.margins is None else pairs.margins
    for places in (pairs.first, pairs.second, pairs.prompt):
        digest.update(places.astype("<i8").tobytes())
    for values in (pairs.votes, pairs.probability, margins):
        scaled = np.nan_to_num(np.round(np.asarray(values, dtype=np.float64) * 10**_DECIMALS), nan=-(2**53))
        digest.update(scaled.astype("<i8").tobytes())
    return digest.hexdigest()
