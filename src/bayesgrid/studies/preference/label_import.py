"""What ``bayesgrid label import`` does: check people's answers, and add them to the open batch of a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bayesgrid.errors import RunInUseError, StateError
from bayesgrid.store.execution import record_waiting
from bayesgrid.store.layout import RunFolders, run_folders
from bayesgrid.studies.preference.human_oracle import awaited_labels, label_commands
from bayesgrid.studies.preference.label_batches import (
    QuestionBatch,
    batch_rounds,
    find_labelled_run,
    open_batch,
    read_batch,
    read_votes,
    tally,
    write_votes,
)
from bayesgrid.studies.preference.spec import PreferenceSpec
from bayesgrid.studies.preference.vote_files import merged_votes, read_vote_files

__all__ = ["import_answers", "require_open_batch"]


def import_answers(
    results: Path, state_root: Path, run_name: str, paths: Sequence[Path], *, replace: bool = False
) -> list[str]:
    """Add the answers in files to the open batch of a run, all of them or none, and return what to tell the user.

    Args:
        results: folder of published results.
        state_root: where runs keep their state.
        run_name: id of the run, or the end of one.
        paths: CSV files and files of JSON lines.
        replace: whether an answer takes the place of an earlier import's by the same annotator.

    Raises:
        ConfigurationError: if no run or several have this id.
        StateError: if the run does not wait for labels, or a file of its state is damaged.
        RunInUseError: if the run is being computed.
        DataError: if a file is not what it should be, naming file and line; nothing is changed then.
    """
    run = find_labelled_run(state_root, run_name)
    folders = run_folders(results, state_root, PreferenceSpec.study, run)
    with _held(folders, run):
        batch = require_open_batch(folders.state, run)
        known = read_votes(folders.state, batch.round_number)
        found = read_vote_files(paths, batch, _closed_pairs(folders.state, batch.round_number))
        votes, new = merged_votes(known, found, replace=replace)
        if new:
            write_votes(folders.state, batch.round_number, votes)
        awaited = awaited_labels(folders.state, batch)
        complete = f"labels of round {batch.round_number} are complete: start the run again"
        record_waiting(folders, awaited or complete, label_commands(run) if awaited else ())
    counted = tally(batch, votes)
    annotators = sorted({vote.annotator for vote in votes})
    return [
        f"new answers: {len(new)}, there already: {len(found) - len(new)}",
        f"round {batch.round_number} of {run}: {int(counted.answered.sum())} of {batch.count} pairs are answered, "
        f"votes: {len(votes)}, annotators: {', '.join(annotators) or 'none'}",
        *_open_pairs(batch, [str(batch.pair_ids[place]) for place in (~counted.answered).nonzero()[0].tolist()]),
        awaited or complete,
    ]


def require_open_batch(state: Path, run: str) -> QuestionBatch:
    """Return the batch that a run waits for.

    Raises:
        StateError: if it does not wait.
    """
    batch = open_batch(state)
    if batch is not None:
        return batch
    finished = (state / "finished").is_dir()
    raise StateError(
        "the run is finished" if finished else "the run does not wait for labels",
        where=run,
        given=f"labels of rounds {', '.join(map(str, batch_rounds(state)))}, all taken",
        remedy="a new run asks anew" if finished else "start it again: it asks when it needs labels",
    )


def _closed_pairs(state: Path, round_number: int) -> dict[str, int]:
    earlier = [number for number in batch_rounds(state) if number != round_number]
    return {pair_id: number for number in earlier for pair_id in read_batch(state, number).pair_ids}


def _open_pairs(batch: QuestionBatch, lacking: Sequence[str]) -> list[str]:
    if not lacking:
        return []
    shown = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
    return [f"{len(lacking)} of {batch.count} pairs are open: {shown}"]


@contextmanager
def _held(folders: RunFolders, run: str) -> Iterator[None]:
    """Keep the run from being computed, which would go on with labels that are being added."""
    lock = FileLock(folders.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunInUseError(
            "the run is being computed, or another import runs",
            where=str(folders.lock),
            given=run,
            remedy="wait until it asks for labels; `bayesgrid status` shows how far it is",
        ) from None
    try:
        yield
    finally:
        lock.release()
