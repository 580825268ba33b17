"""Files of labelling by hand, in the state folder of a run: the questions of a round, people's votes, and the labels.

``batches/round_RRRR.parquet`` has the questions of round R, ids only; ``votes/round_RRRR.parquet`` every vote on them;
``labels/round_RRRR.parquet`` what the votes amount to, written when the loop goes on with them. A batch is open until
its labels are there, so that no vote changes what a fit has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bayesgrid.errors import ConfigurationError, StateError, did_you_mean
from bayesgrid.store.atomic import atomic_write

__all__ = [
    "CHOICES",
    "LabelTally",
    "QuestionBatch",
    "Vote",
    "batch_rounds",
    "find_labelled_run",
    "open_batch",
    "read_batch",
    "read_tally",
    "read_votes",
    "tally",
    "write_batch",
    "write_tally",
    "write_votes",
]

CHOICES = ("left", "right", "tie", "both_bad")
"""What a vote can be; both bad is a tie for the label."""

_VOTES = {"pair_id": pa.string(), "choice": pa.string(), "annotator": pa.string(), "seconds": pa.float64()}
_REMEDY = "restore the file from a copy; answers that were exported can be imported again"


@dataclass(frozen=True)
class QuestionBatch:
    """The Q pairs that people are asked about before the fit of a round.

    Args:
        run: id of the run.
        dataset: name of the set of pairs.
        data_version: its version.
        round_number: round, from 0, whose fit waits for the answers.
        pair_ids: ``[Q]``.
        prompt_ids: ``[Q]``.
        left: ``[Q]``, ids of the responses that stand left.
        right: ``[Q]``, ids of those that stand right.
        tested: ``[Q]``, whether the answer is held out for the test; annotators do not see it.
    """

    run: str
    dataset: str
    data_version: str
    round_number: int
    pair_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]
    tested: tuple[bool, ...]

    @property
    def count(self) -> int:
        """Number Q of questions."""
        return len(self.pair_ids)


@dataclass(frozen=True)
class Vote:
    """What one annotator says about one pair: one of :data:`CHOICES`, and after how many seconds, if known."""

    pair_id: str
    choice: str
    annotator: str
    seconds: float | None = None


@dataclass(frozen=True)
class LabelTally:
    """The votes on the Q pairs of a batch, counted.

    Args:
        pair_ids: ``[Q]``.
        left: ``[Q]``, ids of the responses that stood left.
        votes: ``[Q, 4]``, in the order of :data:`CHOICES`.
    """

    pair_ids: tuple[str, ...]
    left: tuple[str, ...]
    votes: NDArray[np.int64]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which pairs have a vote ``[Q]``."""
        return np.asarray(self.votes.sum(axis=1) > 0)

    @property
    def probability_left(self) -> NDArray[np.float64]:
        """Share of votes for the left response, a tie (and both bad) as half ``[Q]``; NaN without a vote."""
        left, _right, *undecided = self.votes.T.astype(np.float64)
        count = self.votes.sum(axis=1)
        share = np.full(len(count), np.nan)
        np.divide(left + sum(undecided) / 2, count, out=share, where=count > 0)
        return share


def tally(batch: QuestionBatch, votes: Sequence[Vote]) -> LabelTally:
    """Return the ``votes`` on the pairs of ``batch``, counted."""
    place = {pair_id: number for number, pair_id in enumerate(batch.pair_ids)}
    counts = np.zeros((batch.count, len(CHOICES)), dtype=np.int64)
    for vote in votes:
        counts[place[vote.pair_id], CHOICES.index(vote.choice)] += 1
    return LabelTally(batch.pair_ids, batch.left, counts)


def find_labelled_run(state_root: Path, name: str) -> str:
    """Return the id of the run with batches that ``name`` is, or is the end of.

    Raises:
        ConfigurationError: if there is none, or several.
    """
    known = sorted(folder.parent.name for folder in state_root.glob("*/batches") if folder.is_dir())
    found = [name] if name in known else [run for run in known if name and run.endswith(name)]
    if len(found) == 1:
        return found[0]
    raise ConfigurationError(
        f"{len(found)} runs end with this id" if found else "no run with this id has asked for labels",
        where=str(state_root),
        given=name,
        allowed=", ".join(found or known) or "(no run has)",
        remedy="name the whole id" if found else did_you_mean(name, known) or "a run asks when it is started",
    )


def batch_rounds(state: Path) -> list[int]:
    """Return the rounds that asked for labels, ascending."""
    return sorted(int(path.stem.removeprefix("round_")) for path in (state / "batches").glob("round_*.parquet"))


def open_batch(state: Path) -> QuestionBatch | None:
    """Return the batch that a run waits for, or None if it does not wait."""
    rounds = batch_rounds(state)
    if not rounds or _path(state, "labels", rounds[-1]).is_file():
        return None
    return read_batch(state, rounds[-1])


def write_batch(state: Path, batch: QuestionBatch) -> None:
    """Write the questions of a round, atomically."""
    columns = {
        "pair_id": pa.array(batch.pair_ids, pa.string()),
        "prompt_id": pa.array(batch.prompt_ids, pa.string()),
        "left": pa.array(batch.left, pa.string()),
        "right": pa.array(batch.right, pa.string()),
        "round": pa.array([batch.round_number] * batch.count, pa.int64()),
        "tested": pa.array(batch.tested, pa.bool_()),
    }
    origin = {"run": batch.run, "dataset": batch.dataset, "data_version": batch.data_version}
    _write(_path(state, "batches", batch.round_number), pa.table(columns).replace_schema_metadata(origin))


def read_batch(state: Path, round_number: int) -> QuestionBatch:
    """Return the questions of a round.

    Raises:
        StateError: if their file is damaged.
    """
    path = _path(state, "batches", round_number)
    table = _read(path, ("pair_id", "prompt_id", "left", "right", "round", "tested"))
    origin = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    missing = {"run", "dataset", "data_version"} - set(origin)
    if missing:
        raise StateError(f"the batch does not say its {sorted(missing)}", where=str(path), remedy=_REMEDY)
    ids = (tuple(table[name].to_pylist()) for name in ("pair_id", "prompt_id", "left", "right", "tested"))
    return QuestionBatch(origin["run"], origin["dataset"], origin["data_version"], round_number, *ids)


def write_votes(state: Path, round_number: int, votes: Sequence[Vote]) -> None:
    """Write all votes on the questions of a round, atomically."""
    columns = {name: pa.array([getattr(vote, name) for vote in votes], kind) for name, kind in _VOTES.items()}
    _write(_path(state, "votes", round_number), pa.table(columns))


def read_votes(state: Path, round_number: int) -> list[Vote]:
    """Return the votes on the questions of a round; none if no file was imported yet.

    Raises:
        StateError: if their file is damaged.
    """
    path = _path(state, "votes", round_number)
    if not path.is_file():
        return []
    return [Vote(**row) for row in _read(path, tuple(_VOTES)).select(list(_VOTES)).to_pylist()]


def write_tally(state: Path, round_number: int, counted: LabelTally) -> None:
    """Write the labels that the loop goes on with, atomically; from then on the batch is closed."""
    columns = {
        "pair_id": pa.array(counted.pair_ids, pa.string()),
        "left": pa.array(counted.left, pa.string()),
        **{f"votes_{choice}": pa.array(counted.votes[:, number]) for number, choice in enumerate(CHOICES)},
        "probability_left": pa.array(counted.probability_left),
    }
    _write(_path(state, "labels", round_number), pa.table(columns))


def read_tally(state: Path, round_number: int) -> LabelTally | None:
    """Return the labels of a round, or None while its batch is open.

    Raises:
        StateError: if their file is damaged.
    """
    path = _path(state, "labels", round_number)
    if not path.is_file():
        return None
    names = [f"votes_{choice}" for choice in CHOICES]
    table = _read(path, ("pair_id", "left", *names))
    votes = np.stack([table[name].to_numpy() for name in names], axis=1)
    return LabelTally(tuple(table["pair_id"].to_pylist()), tuple(table["left"].to_pylist()), votes)


def _path(state: Path, what: str, round_number: int) -> Path:
    return state / what / f"round_{round_number:04d}.parquet"


def _write(path: Path, table: pa.Table) -> None:
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StateError(f"the file cannot be read: {error}", where=str(path), remedy=_REMEDY) from error
    lacking = [name for name in columns if name not in table.column_names]
    if lacking:
        raise StateError(f"the file lacks the columns {lacking}", where=str(path), remedy=_REMEDY)
    return table
