"""The predictions of one method on one evaluation set, from the files of its runs to arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bayesgrid.errors import StateError
from bayesgrid.metrics.answer_scores import AnswerScores, answer_scores
from bayesgrid.metrics.checked_arrays import FloatArray
from bayesgrid.metrics.drawn_probabilities import drawn_log_probabilities
from bayesgrid.reporting.collect import RunRecord, collect_metrics

__all__ = ["AnswerPredictions", "read_answer_metrics", "read_answer_predictions"]

_GROUP = "group"
_KEYS = ("seed", "split", "example", "answer", "options", "draw")
_REMEDY = "delete the file and start the workflow again: it is published anew from the run's state, or computed again"


@dataclass(frozen=True)
class AnswerPredictions:
    """Logits of every seed on the same N questions of the test split, ordered by question."""

    examples: tuple[str, ...]
    answers: npt.NDArray[np.int64]
    options: npt.NDArray[np.int64]
    logits: Mapping[int, FloatArray]
    """``[S, N, C]`` for each seed, absent options not masked."""
    groups: tuple[str, ...]
    """Group of each question, such as the picture it is about; empty where it stands alone."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds in increasing order."""
        return tuple(self.logits)

    def scores(
        self, seed: int, *, inverse_temperature: float = 1.0, draws: Sequence[int] | None = None
    ) -> AnswerScores:
        """Return the scores of one seed.

        Args:
            seed: one of :attr:`seeds`.
            inverse_temperature: by which logits are multiplied.
            draws: places of the draws that are averaged; None takes all.
        """
        logits = self.logits[seed] if draws is None else self.logits[seed][list(draws)]
        log_probabilities = drawn_log_probabilities(logits, self.options, inverse_temperature=inverse_temperature)
        return answer_scores(log_probabilities, self.answers)


def read_answer_predictions(runs: Sequence[RunRecord]) -> AnswerPredictions:
    """Return the test predictions of ``runs``, which are finished and hold different seeds of one method.

    Raises:
        StateError: if a file is missing, damaged or lacks a column or the test split, seeds have other questions, or
            there is a seed twice.
    """
    logits: dict[int, FloatArray] = {}
    groups: tuple[str, ...] = ()
    first: pd.DataFrame | None = None
    for run in runs:
        path = run.folder / "predictions.parquet"
        frame = _read(path)
        columns = [f"logit_{place}" for place in range(sum(name.startswith("logit_") for name in frame.columns))]
        for seed, own in frame.groupby("seed", sort=True):
            questions = own.drop_duplicates("example")[["example", "answer", "options"]].reset_index(drop=True)
            draws, examples = own["draw"].nunique(), len(questions)
            if first is None:
                first = questions
            if len(own) != draws * examples or not questions.equals(first):
                raise StateError(
                    "seeds of one method answered other questions",
                    where=str(path),
                    given=f"seed {seed}: {len(own)} rows, {examples} questions, {draws} draws",
                    allowed=f"the {len(first)} questions of the first seed, each with every draw",
                    remedy="evaluate all seeds on the same version of the data",
                )
            if int(str(seed)) in logits:
                raise StateError(
                    "a seed of one method is there twice",
                    where=str(path),
                    given=f"seed {seed} in {', '.join(one.run_id for one in runs)}",
                    allowed="each seed once",
                    remedy="use the same seed blocks in all experiments that feed a table or a claim",
                )
            # Files from before groups were kept lack the column; what another seed says of the questions holds for all.
            if _GROUP in own and not any(groups):
                groups = tuple(map(str, own.drop_duplicates("example")[_GROUP].fillna("")))
            values = own[columns].to_numpy(dtype=np.float64).reshape(examples, draws, len(columns))
            logits[int(str(seed))] = np.ascontiguousarray(values.transpose(1, 0, 2))
    if first is None:
        raise StateError("no run to read predictions of", allowed="at least one finished run")
    return AnswerPredictions(
        examples=tuple(map(str, first["example"])),
        answers=first["answer"].to_numpy(dtype=np.int64),
        options=first["options"].to_numpy(dtype=np.int64),
        logits=dict(sorted(logits.items())),
        groups=groups or ("",) * len(first),
    )


def read_answer_metrics(runs: Sequence[RunRecord]) -> dict[str, dict[int, float]]:
    """Return the published metrics of the test split of ``runs``: by name, then by seed.

    Raises:
        StateError: if a file is missing or damaged.
    """
    frame = collect_metrics(runs)
    test = frame[frame["split"] == "test"]
    found: dict[str, dict[int, float]] = {}
    for metric, seed, value in zip(test["metric"], test["seed"], test["value"], strict=True):
        found.setdefault(str(metric), {})[int(seed)] = float(value)
    return found


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pq.ParquetFile(path)
        names = table.schema_arrow.names
        missing = [name for name in (*_KEYS, "logit_0", "logit_1") if name not in names]
        if not missing:
            kept = [*_KEYS, *([_GROUP] if _GROUP in names else [])]
            frame = table.read(columns=[*kept, *(name for name in names if name.startswith("logit_"))]).to_pandas()
            # Where the validation slice has more labels than the test split, the columns of these are empty in it.
            test = frame[frame["split"] == "test"].dropna(axis=1, how="all")
            if len(test):
                return test.sort_values(["seed", "example", "draw"], kind="stable")
            missing = ["rows of the test split"]
    except FileNotFoundError:
        raise StateError("a result file is missing", where=str(path), remedy=_REMEDY) from None
    except (OSError, pa.ArrowException, ValueError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StateError(f"the Parquet file is damaged: {message}", where=str(path), remedy=_REMEDY) from None
    raise StateError(f"the file lacks {', '.join(missing)}", where=str(path), remedy=_REMEDY)
