"""Pairs that people or a check judged: PandaLM, Auto-J, LLMBar, JudgeBench and RM-Bench, in their published files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bayesgrid.data.preference_files import Row, read_rows
from bayesgrid.data.preference_rows import FIRST, SECOND, Label, LoadedPairs, PairCollector, Place
from bayesgrid.data.preference_texts import Message
from bayesgrid.errors import DataError

__all__ = [
    "RMBENCH_STYLES",
    "load_autoj",
    "load_judgebench",
    "load_llmbar",
    "load_pandalm",
    "load_rmbench",
    "rmbench_difficulty",
]

RMBENCH_STYLES = ("concise", "plain", "markdown")
"""Styles of RM-Bench's variants in their order: short, with details, with details and Markdown."""

Value = TypeVar("Value")


def load_pandalm(files: Mapping[str, Path]) -> LoadedPairs:
    """PandaLM's test set (Wang et al. 2023): three annotators each say 1, 2, or 0 for a tie."""
    annotators = ("annotator1", "annotator2", "annotator3")
    columns = ("idx", "cmp_key", "instruction", "input", "response1", "response2", *annotators)
    votes = {1: (1, 0, 0), 2: (0, 1, 0), 0: (0, 0, 1)}
    collector = PairCollector()
    for path in files.values():
        for number, row in read_rows(path, columns):
            place = Place(path, number, "instruction", "response1", "response2", "annotator1")
            given = [_labelled(collector, row, column, votes, place) for column in annotators]
            if None in given:
                continue
            counted = (sum(vote[side] for vote in given if vote is not None) for side in range(3))
            first, _, second = row["cmp_key"].partition("_")
            collector.add(
                place,
                f"pandalm-{row['idx']}",
                _asked("\n\n".join(part for part in (row["instruction"], row["input"]) if part)),
                (row["response1"], row["response2"]),
                Label.of_votes(*counted),
                systems=(first, second),
            )
    return collector.loaded()


def load_autoj(files: Mapping[str, Path]) -> LoadedPairs:
    """Auto-J's pairwise test set (Li et al. 2023): label 0 for the first, 1 for the second, 2 for a tie."""
    labels = {0: Label.of_votes(1, 0), 1: Label.of_votes(0, 1), 2: Label.of_votes(0, 0, 1)}
    collector = PairCollector()
    for path in files.values():
        for number, row in read_rows(path, ("scenario", "label", "prompt", "response 1", "response 2")):
            place = Place(path, number, first="response 1", second="response 2")
            label = _labelled(collector, row, place.label, labels, place)
            if label is not None:
                responses = row[place.first], row[place.second]
                asked = _asked(row["prompt"])
                collector.add(place, f"autoj-{number}", asked, responses, label, subset=row["scenario"])
    return collector.loaded()


def load_llmbar(files: Mapping[str, Path]) -> LoadedPairs:
    """LLMBar (Zeng et al. 2024): label 1 or 2; a file's role is the subset, its name in RewardBench if it has one."""
    labels = {1: Label.of_votes(1, 0), 2: Label.of_votes(0, 1)}
    collector = PairCollector()
    for role, path in files.items():
        for number, row in read_rows(path, ("input", "output_1", "output_2", "label")):
            place = Place(path, number, "input", "output_1", "output_2")
            label = _labelled(collector, row, place.label, labels, place)
            if label is not None:
                responses = row[place.first], row[place.second]
                collector.add(place, f"{role}-{number}", _asked(row["input"]), responses, label, subset=role)
    return collector.loaded()


def load_judgebench(files: Mapping[str, Path]) -> LoadedPairs:
    """JudgeBench (Tan et al. 2025): one of two responses of a model is correct, so there are no votes."""
    columns = ("pair_id", "source", "question", "response_model", "response_A", "response_B", "label")
    labels = {"A>B": FIRST, "B>A": SECOND}
    collector = PairCollector()
    for path in files.values():
        for number, row in read_rows(path, columns):
            place = Place(path, number, "question", "response_A", "response_B")
            label = _labelled(collector, row, place.label, labels, place)
            if label is not None:
                model = row["response_model"]
                collector.add(
                    place,
                    row["pair_id"],
                    _asked(row["question"]),
                    (row["response_A"], row["response_B"]),
                    label,
                    systems=(model, model),
                    subset=row["source"],
                )
    return collector.loaded()


def load_rmbench(files: Mapping[str, Path]) -> LoadedPairs:
    """RM-Bench (Liu et al. 2025): a good and a bad answer in three styles each, which makes nine pairs for a prompt.

    The subset is ``<role of the file>/<style of the good answer>/<style of the bad one>``.

    Raises:
        DataError: if a row has not three variants of each.
    """
    collector = PairCollector()
    for role, path in files.items():
        for number, row in read_rows(path, ("id", "prompt", "chosen", "rejected")):
            chosen, rejected = (_variants(row, column, number, path) for column in ("chosen", "rejected"))
            for good, chosen_style in zip(chosen, RMBENCH_STYLES, strict=True):
                for bad, rejected_style in zip(rejected, RMBENCH_STYLES, strict=True):
                    place = Place(path, number)
                    styles = f"{role}/{chosen_style}/{rejected_style}"
                    identity = f"{styles}/{row['id']}"
                    collector.add(place, identity, _asked(row["prompt"]), (good, bad), FIRST, subset=styles)
    return collector.loaded()


def rmbench_difficulty(subset: str) -> str:
    """Return ``easy`` where the good answer's style is the richer one, ``normal`` for equal styles, else ``hard``."""
    _, chosen, rejected = subset.split("/")
    ahead = RMBENCH_STYLES.index(chosen) - RMBENCH_STYLES.index(rejected)
    return "normal" if ahead == 0 else "easy" if ahead > 0 else "hard"


def _asked(text: object) -> tuple[Message, ...]:
    """Return a prompt of one turn; none at all, which the collector refuses, for what is no text."""
    return (Message("user", text),) if isinstance(text, str) else ()


def _labelled(
    collector: PairCollector, row: Row, column: str, labels: Mapping[Any, Value], place: Place
) -> Value | None:
    """Return what the label in ``column`` means, or None after counting its fault."""
    given = row[column]
    allowed = ", ".join(map(str, labels))
    if given is None or given == "":
        collector.leave_out(place.fault("no_label", column, given, allowed))
    elif isinstance(given, bool) or not isinstance(given, (str, int)) or given not in labels:
        collector.leave_out(place.fault("label_outside_scale", column, given, allowed))
    else:
        return labels[given]
    return None


def _variants(row: Row, column: str, number: int, path: Path) -> Sequence[object]:
    variants = row[column]
    if not isinstance(variants, list) or len(variants) != len(RMBENCH_STYLES):
        raise DataError(
            f"row {number}, column {column!r}: not one text for each style",
            where=str(path),
            given=f"{len(variants)} texts" if isinstance(variants, list) else type(variants).__name__,
            allowed=", ".join(RMBENCH_STYLES),
        )
    return variants
