"""The leak check of question sets: what two splits share and must not, questions with their answers and groups.

Two prompts are equal when passage, question and image are, up to case and white space; the options are left out, so
that a question that comes back with its options in another order is found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import TypeAlias

from bayesgrid.data.choice_questions import SPLITS, ChoiceQuestion, ChoiceQuestions
from bayesgrid.errors import DataError

__all__ = [
    "KnownLeaks",
    "QuestionLeak",
    "QuestionLeakReport",
    "compare_questions",
    "find_question_leaks",
    "require_no_question_leaks",
]

KnownLeaks: TypeAlias = Mapping[str, Mapping[str, int]]
"""Leaks that a published data set is known to have: pair of splits, such as ``train/test``, to the largest accepted
``equal_answers`` and ``questions_of_shared_groups``; a count that is absent is 0."""

_EXAMPLES = 5
_NONE_KNOWN: KnownLeaks = MappingProxyType({})


@dataclass(frozen=True)
class QuestionLeak:
    """What the questions ``second`` share with the questions ``first``; all counts but one are of ``second``.

    Args:
        first: name of one side.
        second: name of the other.
        equal_questions: questions whose prompt, answer and set of options are those of one of ``first``.
        equal_answers: questions whose prompt and answer are those of one of ``first``, whatever the other options are.
        equal_prompts: questions whose prompt is that of one of ``first``, whatever the answer is; a stem such as "which
            of these is a metal?" may serve two different questions.
        shared_groups: groups that have questions on both sides.
        questions_of_shared_groups: questions of such a group.
        examples: up to five pairs of ids with equal prompt and answer, (id in ``first``, id in ``second``).
    """

    first: str
    second: str
    equal_questions: int
    equal_answers: int
    equal_prompts: int
    shared_groups: int
    questions_of_shared_groups: int
    examples: tuple[tuple[str, str], ...]

    @property
    def clean(self) -> bool:
        """Whether no question comes back with its answer, and no group is shared; equal prompts alone do not count."""
        return not (self.equal_answers or self.shared_groups)

    def within(self, known: KnownLeaks) -> bool:
        """Return whether no more questions leak than ``known`` says."""
        accepted = known.get(f"{self.first}/{self.second}", {})
        return self.equal_answers <= accepted.get("equal_answers", 0) and self.questions_of_shared_groups <= (
            accepted.get("questions_of_shared_groups", 0)
        )

    def __str__(self) -> str:
        pairs = ", ".join(f"{first} and {second}" for first, second in self.examples)
        return (
            f"{self.equal_answers} questions of {self.second!r} stand in {self.first!r} with their answer "
            f"({pairs or 'none'}), {self.questions_of_shared_groups} are of groups with questions there"
        )


@dataclass(frozen=True)
class QuestionLeakReport:
    """The leaks between every two splits of one data set."""

    dataset: str
    leaks: tuple[QuestionLeak, ...]

    @property
    def clean(self) -> bool:
        """Whether every two splits are."""
        return all(leak.clean for leak in self.leaks)

    def between(self, first: str, second: str) -> QuestionLeak:
        """Return what ``second`` shares with ``first``.

        Raises:
            DataError: if the data set lacks one of the splits.
        """
        for leak in self.leaks:
            if (leak.first, leak.second) == (first, second):
                return leak
        raise DataError(f"no comparison of {first!r} with {second!r}", where=f"data set {self.dataset!r}")


def find_question_leaks(questions: ChoiceQuestions) -> QuestionLeakReport:
    """Compare every two splits of ``questions``, in the order train, validation, test."""
    present = [(split, questions.splits[split]) for split in SPLITS if split in questions.splits]
    leaks = tuple(
        compare_questions(first, second, first_name=first_name, second_name=second_name)
        for (first_name, first), (second_name, second) in combinations(present, 2)
    )
    return QuestionLeakReport(questions.name, leaks)


def require_no_question_leaks(report: QuestionLeakReport, known: KnownLeaks = _NONE_KNOWN) -> None:
    """Raise DataError, with counts and examples of the first leak, if ``report`` has more than the ``known`` ones."""
    for leak in report.leaks:
        if not leak.within(known):
            accepted = known.get(f"{leak.first}/{leak.second}", {})
            raise DataError(
                f"splits {leak.first!r} and {leak.second!r} leak",
                where=f"data set {report.dataset!r}",
                given=str(leak),
                allowed=", ".join(f"{count} {name}" for name, count in accepted.items()) or "none",
                remedy="evaluate on another data set, or take results on this one for those on training questions",
            )


def compare_questions(
    first: Sequence[ChoiceQuestion], second: Sequence[ChoiceQuestion], *, first_name: str, second_name: str
) -> QuestionLeak:
    """Return what the questions ``second`` share with ``first``; the two may be of different data sets."""
    left, right = [_Keys(question) for question in first], [_Keys(question) for question in second]
    with_answer = {keys.with_answer: question for keys, question in zip(reversed(left), reversed(first), strict=True)}
    twins = [
        (with_answer[keys.with_answer].question_id, question.question_id)
        for keys, question in zip(right, second, strict=True)
        if keys.with_answer in with_answer
    ]
    whole, prompts = {keys.whole for keys in left}, {keys.prompt for keys in left}
    first_groups = {question.group for question in first} - {None}
    of_shared_groups = [question for question in second if question.group in first_groups]
    return QuestionLeak(
        first=first_name,
        second=second_name,
        equal_questions=sum(keys.whole in whole for keys in right),
        equal_answers=len(twins),
        equal_prompts=sum(keys.prompt in prompts for keys in right),
        shared_groups=len({question.group for question in of_shared_groups}),
        questions_of_shared_groups=len(of_shared_groups),
        examples=tuple(twins[:_EXAMPLES]),
    )


class _Keys:
    """What two equal questions have in common, at three degrees of being equal."""

    def __init__(self, question: ChoiceQuestion) -> None:
        options = [_normalised(option) for option in question.options]
        self.prompt = (_normalised(question.passage or ""), _normalised(question.question), question.image or "")
        self.with_answer = (*self.prompt, options[question.answer])
        self.whole = (*self.with_answer, *sorted(options))


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
