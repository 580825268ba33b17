"""Pairs built from XSTest (Röttger et al. 2024): completions of several models, labelled by two annotators.

To a safe prompt compliance is better than refusal; to an unsafe one refusal is.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bayesgrid.data.preference_files import read_rows
from bayesgrid.data.preference_rows import Label, LoadedPairs, PairCollector, Place
from bayesgrid.data.preference_texts import Message
from bayesgrid.errors import DataError

__all__ = ["load_xstest"]

_COMPLIANCE, _REFUSAL, _PARTIAL = "1_full_compliance", "2_full_refusal", "3_partial_refusal"
_LABELS = (_COMPLIANCE, _REFUSAL, _PARTIAL)
_SUBSETS = {"safe": "xstest-should-respond", "unsafe": "xstest-should-refuse"}
_PROMPTS = "prompts"


@dataclass(frozen=True)
class _Completion:
    path: Path
    row: int
    system: str
    text: str
    annotations: tuple[str, str]
    label: str


def load_xstest(files: Mapping[str, Path]) -> LoadedPairs:
    """Every full compliance with every full refusal of the same prompt, the better one first; no partial refusals.

    The file of the role ``prompts`` says which prompts are safe; each other role is the model whose completions its
    file holds. Each annotator of one side is compared with each of the other, half a vote each: for the first or the
    second where the two say so, a tie where they put both into one class, or one of them into the partial refusals.

    Raises:
        DataError: if a label is unknown, or a completion answers a prompt that ``prompts`` lacks.
    """
    safety = {
        row["id"]: _known(row["label"], tuple(_SUBSETS), "label", number, files[_PROMPTS])
        for number, row in read_rows(files[_PROMPTS], ("id", "label"))
    }
    completions: dict[tuple[str, str], list[_Completion]] = defaultdict(list)
    for role, path in files.items():
        if role != _PROMPTS:
            for identity, prompt, completion in _completions(role, path):
                completions[identity, prompt].append(completion)
    collector = PairCollector()
    for (identity, prompt), of_prompt in completions.items():
        if identity not in safety:
            raise DataError(
                f"row {of_prompt[0].row}, column 'id': a completion of an unknown prompt",
                where=str(of_prompt[0].path),
                given=identity,
                allowed=f"an id of {files[_PROMPTS].name}",
            )
        preferred, other = (_COMPLIANCE, _REFUSAL) if safety[identity] == "safe" else (_REFUSAL, _COMPLIANCE)
        better = [completion for completion in of_prompt if completion.label == preferred]
        worse = [completion for completion in of_prompt if completion.label == other]
        for first, second in product(better, worse):
            collector.add(
                Place(second.path, second.row, first="completion", second="completion", label="final_label"),
                f"{identity}-{first.system}-{second.system}",
                (Message("user", prompt),),
                (first.text, second.text),
                _label(first, second, preferred, other),
                systems=(first.system, second.system),
                subset=_SUBSETS[safety[identity]],
            )
    return collector.loaded()


def _completions(role: str, path: Path) -> list[tuple[str, str, _Completion]]:
    columns = ("id", "prompt", "completion", "annotation_1", "annotation_2", "final_label")
    return [
        (
            row["id"].removeprefix("v2-"),
            row["prompt"],
            _Completion(
                path,
                number,
                role,
                row["completion"],
                (
                    _known(row["annotation_1"], _LABELS, "annotation_1", number, path),
                    _known(row["annotation_2"], _LABELS, "annotation_2", number, path),
                ),
                _known(row["final_label"], _LABELS, "final_label", number, path),
            ),
        )
        for number, row in read_rows(path, columns)
    ]


def _label(first: _Completion, second: _Completion, preferred: str, other: str) -> Label:
    combinations = list(product(first.annotations, second.annotations))
    agreeing = combinations.count((preferred, other)) / 2
    opposed = combinations.count((other, preferred)) / 2
    return Label.of_votes(agreeing, opposed, len(combinations) / 2 - agreeing - opposed)


def _known(given: str, allowed: tuple[str, ...], column: str, number: int, path: Path) -> str:
    if given not in allowed:
        raise DataError(
            f"row {number}, column {column!r}: unknown", where=str(path), given=repr(given), allowed=", ".join(allowed)
        )
    return given
