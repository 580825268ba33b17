"""Preference pairs: two responses to one prompt, and how likely the first is preferred; in memory and on disk.

A prepared set is a folder with ``prompts.parquet``, ``responses.parquet``, ``pairs.parquet``, for games
``item_features.parquet``, and ``provenance.json``.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bayesgrid.data.checksums import verify_sha256
from bayesgrid.data.preference_checks import require_sound_pairs
from bayesgrid.data.preference_texts import Message, Prompt, Response
from bayesgrid.data.prepared_folders import PROVENANCE_FILE, read_provenance
from bayesgrid.errors import DataError
from bayesgrid.store.atomic import atomic_write

__all__ = [
    "ITEM_FEATURES_FILE",
    "PAIRS_FILE",
    "PROMPTS_FILE",
    "RESPONSES_FILE",
    "Message",
    "PreferencePairs",
    "Prompt",
    "Response",
    "read_preference_pairs",
    "write_preference_pairs",
]

PROMPTS_FILE = "prompts.parquet"
RESPONSES_FILE = "responses.parquet"
PAIRS_FILE = "pairs.parquet"
ITEM_FEATURES_FILE = "item_features.parquet"


@dataclass(frozen=True, eq=False)
class PreferencePairs:
    """One set of N preference pairs, in the order and with the sides of its source.

    Args:
        name: the set's name in the catalog.
        data_version: the catalog entry's ``data_version()``.
        prompts: P prompts.
        responses: R responses.
        first: position of each pair's first response ``[N]``.
        second: position of its second response ``[N]``.
        prompt: position of the prompt of both ``[N]``.
        votes: votes for the first, for the second, and for a tie ``[N, 3]``; all 0 where nobody voted.
        probability: probability that the first is preferred ``[N]``, NaN where it has no label. With votes it is
            ``(first + tie / 2) / all``.
        pair_ids: N ids.
        subsets: the part of the data set that each pair belongs to, or None.
        item_features: features of the responses ``[R, f]`` that the set itself brings, such as a game's; None mostly.
        margins: by how much the first is better, as the source says ``[N]``, NaN where it does not; None for a set
            without margins.
        groups: what pairs belong together besides their prompt, as the triple of a cycle; None for a set without.

    Raises:
        DataError: if the parts do not fit together, naming the first pair or response that does not.
    """

    name: str
    data_version: str
    prompts: tuple[Prompt, ...]
    responses: tuple[Response, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    prompt: NDArray[np.int64]
    votes: NDArray[np.float32]
    probability: NDArray[np.float64]
    pair_ids: tuple[str, ...]
    subsets: tuple[str | None, ...]
    item_features: NDArray[np.float32] | None = None
    margins: NDArray[np.float32] | None = None
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require_sound_pairs(self)

    @property
    def count(self) -> int:
        """Number N of pairs."""
        return len(self.pair_ids)

    def with_sides(self, swapped: NDArray[np.bool_]) -> Self:
        """Return the same pairs, with first and second exchanged where ``swapped [N]`` is true."""
        return replace(
            self,
            first=np.where(swapped, self.second, self.first),
            second=np.where(swapped, self.first, self.second),
            votes=np.where(swapped[:, None], self.votes[:, [1, 0, 2]], self.votes),
            probability=np.where(swapped, 1 - self.probability, self.probability),
            margins=None if self.margins is None else np.where(swapped, -self.margins, self.margins),
        )

    def take(self, pairs: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Return the set with only the ``pairs`` at these positions, or where this mask is true.

        Prompts and responses stay, so that positions keep pointing at the same rows of stored features.
        """
        positions = np.arange(self.count)[pairs]
        return replace(
            self,
            first=self.first[positions],
            second=self.second[positions],
            prompt=self.prompt[positions],
            votes=self.votes[positions],
            probability=self.probability[positions],
            pair_ids=tuple(self.pair_ids[position] for position in positions.tolist()),
            subsets=tuple(self.subsets[position] for position in positions.tolist()),
            margins=None if self.margins is None else self.margins[positions],
            groups=None if self.groups is None else tuple(self.groups[position] for position in positions.tolist()),
        )


def write_preference_pairs(pairs: PreferencePairs, folder: Path) -> None:
    """Write ``pairs`` into ``folder``, each file atomically and ``pairs.parquet`` last; ids are stored once."""
    prompt_ids = pa.array([prompt.prompt_id for prompt in pairs.prompts], pa.string())
    response_ids = pa.array([response.response_id for response in pairs.responses], pa.string())
    _write(
        folder / PROMPTS_FILE,
        {
            "prompt_id": prompt_ids,
            "messages": pa.array([_as_json(prompt.messages) for prompt in pairs.prompts], pa.string()),
        },
    )
    _write(
        folder / RESPONSES_FILE,
        {
            "response_id": response_ids,
            "prompt_id": _dictionary([response.prompt for response in pairs.responses], prompt_ids),
            "text": pa.array([response.text for response in pairs.responses], pa.large_string()),
            "system": pa.array([response.system for response in pairs.responses], pa.string()),
        },
    )
    if pairs.item_features is not None:
        columns = {f"f{number}": pa.array(column) for number, column in enumerate(pairs.item_features.T)}
        _write(folder / ITEM_FEATURES_FILE, {"response_id": response_ids, **columns})
    margins = {} if pairs.margins is None else {"margin": pa.array(pairs.margins, mask=np.isnan(pairs.margins))}
    groups = {} if pairs.groups is None else {"group": pa.array(pairs.groups, pa.string())}
    _write(
        folder / PAIRS_FILE,
        {
            "pair_id": pa.array(pairs.pair_ids, pa.string()),
            "prompt_id": _dictionary(pairs.prompt, prompt_ids),
            "first": _dictionary(pairs.first, response_ids),
            "second": _dictionary(pairs.second, response_ids),
            "votes_first": pa.array(pairs.votes[:, 0]),
            "votes_second": pa.array(pairs.votes[:, 1]),
            "votes_tie": pa.array(pairs.votes[:, 2]),
            "probability": pa.array(pairs.probability, mask=np.isnan(pairs.probability)),
            "subset": pa.array(pairs.subsets, pa.string()).dictionary_encode(),
            **margins,
            **groups,
        },
    )


def read_preference_pairs(folder: Path) -> PreferencePairs:
    """Return the prepared set of preference pairs in ``folder``.

    Raises:
        DataError: if it is not prepared, or its files were altered since.
    """
    name = folder.name.rpartition("-v")[0] or folder.name
    provenance = read_provenance(folder, name)
    remedy = f"it was altered; remove the folder and run `bayesgrid prepare {name}`"
    try:
        name, version = str(provenance["dataset"]), str(provenance["data_version"])
        digests = {PAIRS_FILE: provenance["parquet_sha256"], **provenance["further_files"]}
    except (KeyError, TypeError) as error:
        raise DataError(
            "the record of a prepared set of preference pairs is damaged",
            where=str(folder / PROVENANCE_FILE),
            remedy=f"remove the folder and run `bayesgrid prepare {name}`",
        ) from error
    for file, digest in digests.items():
        verify_sha256(folder / file, digest, remedy=remedy)
    tables = {file: pq.read_table(folder / file) for file in digests}
    prompt_ids = tables[PROMPTS_FILE]["prompt_id"]
    response_ids = tables[RESPONSES_FILE]["response_id"]
    prompts = tuple(
        Prompt(row["prompt_id"], tuple(Message(**message) for message in json.loads(row["messages"])))
        for row in tables[PROMPTS_FILE].to_pylist()
    )
    of_response = _positions(tables[RESPONSES_FILE]["prompt_id"], prompt_ids).tolist()
    texts, systems = (tables[RESPONSES_FILE][column].to_pylist() for column in ("text", "system"))
    table = tables[PAIRS_FILE]
    features = tables.get(ITEM_FEATURES_FILE)
    votes = [table[f"votes_{side}"].to_numpy() for side in ("first", "second", "tie")]
    return PreferencePairs(
        name,
        version,
        prompts,
        tuple(map(Response, response_ids.to_pylist(), of_response, texts, systems)),
        first=_positions(table["first"], response_ids),
        second=_positions(table["second"], response_ids),
        prompt=_positions(table["prompt_id"], prompt_ids),
        votes=np.stack(votes, axis=1).astype(np.float32),
        probability=table["probability"].to_numpy().astype(np.float64),
        pair_ids=tuple(table["pair_id"].to_pylist()),
        subsets=tuple(table["subset"].to_pylist()),
        item_features=None if features is None else np.stack([c.to_numpy() for c in features.columns[1:]], axis=1),
        margins=table["margin"].to_numpy().astype(np.float32) if "margin" in table.column_names else None,
        groups=tuple(table["group"].to_pylist()) if "group" in table.column_names else None,
    )


def _as_json(messages: tuple[Message, ...]) -> str:
    return json.dumps([{"role": one.role, "content": one.content} for one in messages], ensure_ascii=False)


def _write(path: Path, columns: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def _dictionary(positions: Any, values: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(positions, pa.int32()), values)


def _positions(ids: Any, among: Any) -> NDArray[np.int64]:
    """Return where in ``among`` each of ``ids`` stands; -1 for one that is not there, which the checks refuse."""
    found = pc.index_in(ids.combine_chunks().cast(pa.string()), value_set=among.combine_chunks())
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)
