"""Judgements of AlpacaEval (Li et al. 2023; Dubois et al. 2024): many models' answers, each against one baseline's.

The file has rows of two kinds: ``prompt`` (pid, instruction, baseline_output) and ``pair`` (pid, model, output,
p_beats_baseline: the judge's probability that the model's answer is better than the baseline's).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from bayesgrid.data.preference_files import Row, read_rows
from bayesgrid.data.preference_pairs import PreferencePairs
from bayesgrid.data.preference_rows import Label, LoadedPairs, PairCollector, Place, RowFault
from bayesgrid.data.preference_texts import Message, Prompt, Response, prompt_id
from bayesgrid.errors import DataError

__all__ = ["load_alpacaeval_baseline", "load_alpacaeval_models"]

_BASELINE = "text_davinci_003"
_HARD_LABELS = {1.0: Label.of_votes(1, 0), 0.0: Label.of_votes(0, 1), 0.5: Label.of_votes(0, 0, 1)}


@dataclass(frozen=True)
class _Answer:
    row: int
    model: str
    text: str
    beats_baseline: float


@dataclass
class _Pool:
    """Pairs of models prompt by prompt; their number makes arrays of them, not lists of rows."""

    prompts: list[Prompt] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    first: list[NDArray[np.int64]] = field(default_factory=list)
    second: list[NDArray[np.int64]] = field(default_factory=list)
    probability: list[NDArray[np.float64]] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)

    def add(self, path: Path, instruction: str, answers: list[_Answer]) -> None:
        """Add all pairs of different texts among ``answers`` to one instruction."""
        messages = (Message("user", instruction),)
        start, position, identity = len(self.responses), len(self.prompts), prompt_id(messages)
        self.prompts.append(Prompt(identity, messages))
        texts: dict[str, int] = {}
        same = np.array([texts.setdefault(answer.text.strip(), len(texts)) for answer in answers], dtype=np.int64)
        logits = logit(np.array([answer.beats_baseline for answer in answers]))
        first, second = np.triu_indices(len(answers), k=1)
        equal = same[first] == same[second]
        for one, other in zip(first[equal].tolist(), second[equal].tolist(), strict=True):
            place = Place(path, answers[other].row)
            allowed = f"another text than that of {answers[one].model}"
            self.faults.append(place.fault("equal_responses", "output", answers[other].text, allowed))
        first, second = first[~equal], second[~equal]
        for answer in answers:
            number = len(self.responses) - start
            self.responses.append(Response(f"{identity}-{number}", position, answer.text, answer.model))
        self.first.append(first + start)
        self.second.append(second + start)
        self.probability.append(expit(logits[first] - logits[second]))

    def loaded(self) -> LoadedPairs:
        first, second = np.concatenate(self.first), np.concatenate(self.second)
        probability = np.concatenate(self.probability)
        of_response = np.array([response.prompt for response in self.responses], dtype=np.int64)
        prompt = of_response[first]
        start = np.searchsorted(of_response, prompt)
        places = zip(prompt.tolist(), (first - start).tolist(), (second - start).tolist(), strict=True)
        pairs = PreferencePairs(
            "",
            "",
            tuple(self.prompts),
            tuple(self.responses),
            first=first,
            second=second,
            prompt=prompt,
            votes=np.zeros((first.size, 3), dtype=np.float32),
            probability=probability,
            pair_ids=tuple(f"{prompt}-{one}-{other}" for prompt, one, other in places),
            subsets=(None,) * first.size,
        )
        return LoadedPairs(pairs, tuple(self.faults))


def load_alpacaeval_models(files: Mapping[str, Path]) -> LoadedPairs:
    """All pairs of models on an instruction, by a judge that gives probabilities (``weighted_alpaca_eval_gpt4_turbo``).

    ``P(a preferred to b) = sigmoid(logit p_a - logit p_b)``, as if preferences followed a difference of scores. An
    answer whose probability is not strictly between 0 and 1 has no logit, and is left out. Models are in the order of
    their names, and the baseline's own answers are no part of the pool.

    Raises:
        DataError: if an answer comes before its prompt, or a row lacks a column.
    """
    pool = _Pool()
    for path in files.values():
        instructions, answers = _instructions_and_answers(path, pool)
        for pid, instruction in instructions.items():
            if pid in answers:
                pool.add(path, instruction, sorted(answers[pid], key=lambda answer: answer.model))
    return pool.loaded()


def _instructions_and_answers(path: Path, pool: _Pool) -> tuple[dict[int, str], dict[int, list[_Answer]]]:
    instructions: dict[int, str] = {}
    answers: dict[int, list[_Answer]] = {}
    seen: set[tuple[int, str]] = set()
    for number, row in _checked_rows(path):
        if row["kind"] == "prompt":
            instructions[row["pid"]] = row["instruction"]
            continue
        fault = _fault(Place(path, number, label="p_beats_baseline"), row, seen)
        if fault is not None:
            pool.faults.append(fault)
            continue
        seen.add((row["pid"], row["model"]))
        answer = _Answer(number, row["model"], row["output"], float(row["p_beats_baseline"]))
        answers.setdefault(row["pid"], []).append(answer)
    return instructions, answers


def _fault(place: Place, row: Row, seen: set[tuple[int, str]]) -> RowFault | None:
    given, text = row[place.label], row["output"]
    if not isinstance(text, str):
        return place.fault("not_text", "output", text, "a string")
    if not text.strip():
        return place.fault("empty_response", "output", text, "a response with text")
    if given is None:
        return place.fault("no_label", place.label, given, "a probability")
    if not isinstance(given, (int, float)) or not 0 < given < 1:
        return place.fault("label_outside_scale", place.label, given, "strictly between 0 and 1")
    if (row["pid"], row["model"]) in seen:
        return place.fault("duplicate_id", "model", row["model"], "one answer of a model to a prompt")
    return None


def load_alpacaeval_baseline(files: Mapping[str, Path]) -> LoadedPairs:
    """Each model's answer against that of text-davinci-003, by a judge that chooses one (``alpaca_eval_gpt4``).

    The model's answer stands first. One vote each: 1 for it, 0 for the baseline, 0.5 for neither.
    """
    collector = PairCollector()
    allowed = ", ".join(map(str, _HARD_LABELS))
    for path in files.values():
        prompts: dict[int, Row] = {}
        for number, row in _checked_rows(path):
            if row["kind"] == "prompt":
                prompts[row["pid"]] = row
                continue
            place = Place(path, number, "instruction", "output", "baseline_output", "p_beats_baseline")
            given = row[place.label]
            if given is None:
                collector.leave_out(place.fault("no_label", place.label, given, allowed))
                continue
            if given not in _HARD_LABELS:
                collector.leave_out(place.fault("label_outside_scale", place.label, given, allowed))
                continue
            prompt = prompts[row["pid"]]
            collector.add(
                place,
                f"{row['pid']}-{row['model']}",
                (Message("user", prompt["instruction"]),),
                (row["output"], prompt["baseline_output"]),
                _HARD_LABELS[given],
                systems=(row["model"], _BASELINE),
            )
    return collector.loaded()


_COLUMNS = {"prompt": ("pid", "instruction", "baseline_output"), "pair": ("pid", "model", "output", "p_beats_baseline")}


def _checked_rows(path: Path) -> Iterator[tuple[int, Row]]:
    prompts: set[int] = set()
    for number, row in read_rows(path, ("kind",)):
        if row["kind"] not in _COLUMNS:
            raise DataError(
                f"row {number}, column 'kind': unknown",
                where=str(path),
                given=repr(row["kind"]),
                allowed=", ".join(_COLUMNS),
            )
        lacking = [column for column in _COLUMNS[row["kind"]] if column not in row]
        if lacking:
            raise DataError(
                f"row {number} has no column {lacking[0]!r}",
                where=str(path),
                given=", ".join(row),
                allowed=", ".join(_COLUMNS[row["kind"]]),
            )
        if row["kind"] == "prompt":
            prompts.add(row["pid"])
        elif row["pid"] not in prompts:
            raise DataError(
                f"row {number}, column 'pid': an answer to a prompt that no earlier row gives",
                where=str(path),
                given=row["pid"],
            )
        yield number, row
