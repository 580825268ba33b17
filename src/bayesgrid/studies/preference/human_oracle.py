"""People as the oracle of the loop: what they have answered, and the questions that the loop stops for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.errors import StateError
from bayesgrid.random_streams import random_stream
from bayesgrid.store.execution import Waiting
from bayesgrid.studies.preference.label_batches import (
    QuestionBatch,
    batch_rounds,
    open_batch,
    read_tally,
    read_votes,
    tally,
    write_batch,
    write_tally,
)
from bayesgrid.studies.preference.pool import PairPool

__all__ = ["HumanOracle", "awaited_labels", "label_commands", "taken_answers"]


def label_commands(run: str) -> tuple[str, str]:
    """Return the two commands by which a person gives a run its labels."""
    return f"bayesgrid label export {run} FOLDER", f"bayesgrid label import {run} FILE..."


def awaited_labels(state: Path, batch: QuestionBatch) -> str | None:
    """Return what an open batch still lacks, as "waiting for labels: 75 pairs of round 2"; None if it is complete."""
    counted = tally(batch, read_votes(state, batch.round_number))
    lacking = int((~counted.answered).sum())
    if lacking:
        return f"waiting for labels: {lacking} pairs of round {batch.round_number}"
    tested = np.array(batch.tested, dtype=np.bool_)
    if tested.any() and (counted.probability_left[tested] == 0.5).all():
        count = int(tested.sum())
        return f"waiting for labels: all {count} pairs of round {batch.round_number} that are held out are ties"
    return None


def taken_answers(state: Path, run: str, data: PreferencePairs) -> NDArray[np.float64]:
    """Return what people say of each pair, the probability that its first is preferred ``[N]``; NaN if not asked.

    An open batch that is complete is closed by this: the loop goes on with its labels.

    Raises:
        Waiting: if the open batch is not complete.
        StateError: if a file of the run is damaged, or does not fit the data.
    """
    batch = open_batch(state)
    if batch is not None:
        awaited = awaited_labels(state, batch)
        if awaited is not None:
            raise Waiting(awaited, where=run, commands=label_commands(run))
        write_tally(state, batch.round_number, tally(batch, read_votes(state, batch.round_number)))
    place = {pair_id: number for number, pair_id in enumerate(data.pair_ids)}
    answers = np.full(data.count, np.nan)
    for round_number in batch_rounds(state):
        counted = read_tally(state, round_number)
        if counted is None:
            raise StateError(
                f"round {round_number} has no labels, but a later one asked for some",
                where=str(state / "labels"),
                remedy="restore its file from a copy",
            )
        for pair_id, left, share in zip(counted.pair_ids, counted.left, counted.probability_left, strict=True):
            if pair_id not in place:
                raise StateError("a labelled pair is not in the data set", where=str(state / "labels"), given=pair_id)
            first = data.responses[data.first[place[pair_id]]].response_id
            answers[place[pair_id]] = share if left == first else 1 - share
    return answers


class HumanOracle:
    """Stops the loop for the labels that it lacks.

    Args:
        state: state folder of the run.
        run: its id.
        seeds: of the run.
        data: the pairs.
        pool: of the run, with the answers so far as targets.
    """

    def __init__(self, state: Path, run: str, seeds: Sequence[int], data: PreferencePairs, pool: PairPool) -> None:
        self._state, self._run, self._seeds, self._data, self._pool = state, run, seeds, data, pool

    def require(self, labelled: NDArray[np.int64], round_number: int) -> None:
        """Return if all pairs at the places ``labelled [K, n]`` of the pool, and the tested ones, have a label.

        A pair that several seeds want is asked once, from the side of the first of them. The order of questions is
        drawn, so that it tells nothing about them.

        Raises:
            Waiting: if one has none; the questions are in the run's state folder then.
            StateError: if the round has asked for other pairs before.
        """
        sides = self._lacking(labelled)
        if not sides:
            return
        if round_number in batch_rounds(self._state):
            raise StateError(
                f"the run wants labels of other pairs than round {round_number} has asked for",
                where=str(self._state / "batches"),
                given=f"{len(sides)} pairs, such as {self._data.pair_ids[next(iter(sides))]!r}",
                remedy="compute it with the version of the program and of its libraries that asked",
            )
        batch = self._batch(sides, round_number)
        write_batch(self._state, batch)
        what = f"waiting for labels: {batch.count} pairs of round {round_number}"
        raise Waiting(what, where=self._run, commands=label_commands(self._run))

    def _lacking(self, labelled: NDArray[np.int64]) -> dict[int, tuple[int, int, bool]]:
        """Return left and right response, and whether it is tested, of each pair without a label, by its position."""
        sides: dict[int, tuple[int, int, bool]] = {}
        own = self._pool.candidates.at(labelled)
        for slot, places in enumerate(labelled):
            rows = self._pool.rows[slot, places].tolist()
            for row, left, right, target in zip(
                rows, own.first[slot].tolist(), own.second[slot].tolist(), own.target[slot], strict=True
            ):
                if np.isnan(target):
                    sides.setdefault(row, (left, right, False))
        test = self._pool.test
        for row, left, right, target in zip(
            self._pool.test_rows.tolist(), test.first[0].tolist(), test.second[0].tolist(), test.target[0], strict=True
        ):
            if np.isnan(target):
                sides[row] = (left, right, True)
        return sides

    def _batch(self, sides: dict[int, tuple[int, int, bool]], round_number: int) -> QuestionBatch:
        rows = np.array(list(sides))
        order = random_stream(self._seeds[0], "order of questions", round_number).permutation(len(rows))
        data, chosen = self._data, rows[order].tolist()
        return QuestionBatch(
            self._run,
            data.name,
            data.data_version,
            round_number,
            tuple(data.pair_ids[row] for row in chosen),
            tuple(data.prompts[data.prompt[row]].prompt_id for row in chosen),
            tuple(data.responses[sides[row][0]].response_id for row in chosen),
            tuple(data.responses[sides[row][1]].response_id for row in chosen),
            tuple(sides[row][2] for row in chosen),
        )
