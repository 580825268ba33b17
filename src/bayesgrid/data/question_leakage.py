"""The leak check of question sets: what two splits share and must not, questions with their answers and groups.

Two prompts are equal when passage, question and image are, up to case and white space; the options are left out, so
that a question that comes back with its options in another order is found.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from bayesgrid.data.choice_questions import SPLITS, ChoiceQuestion, ChoiceQuestions
from bayesgrid.errors import DataError

__all__ = [
    "QuestionLeak",
    "QuestionLeakReport",
    "compare_questions",
    "find_question_leaks",
    "require_no_question_leaks",
]

_EXAMPLES = 5


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


def require_no_question_leaks(report: QuestionLeakReport) -> None:
    """Raise DataError, with counts and examples of the first leak, unless ``report`` is clean."""
    for leak in report.leaks:
        if not leak.clean:
            pairs = ", ".join(f"{first} and {second}" for first, second in leak.examples)
            raise DataError(
                f"splits {leak.first!r} and {leak.second!r} leak",
                where=f"data set {report.dataset!r}",
                given=(
                    f"{leak.equal_answers} questions of {leak.second!r} stand in {leak.first!r} with their answer "
                    f"({pairs or 'none'}), {leak.questions_of_shared_groups} are of groups with questions there"
                ),
                remedy="evaluate on another data set, or take results on this one for those on training questions",
            )


def compare_questions(
    first: Sequence[ChoiceQuestion], second: Sequence[ChoiceQuestion], *, first_name: str, second_name: str
) -> QuestionLeak:
    """Return what the questions ``second`` share with ``first``; the two may be of different data sets."""
    with_answer = _by_key(first, _prompt_and_answer)
    twins = [question for question in second if _prompt_and_answer(question) in with_answer]
    first_groups = {question.group for question in first} - {None}
    of_shared_groups = [question for question in second if question.group in first_groups]
    return QuestionLeak(
        first=first_name,
        second=second_name,
        equal_questions=_found(first, second, _whole),
        equal_answers=len(twins),
        equal_prompts=_found(first, second, _prompt),
        shared_groups=len({question.group for question in of_shared_groups}),
        questions_of_shared_groups=len(of_shared_groups),
        examples=tuple(
            (with_answer[_prompt_and_answer(question)].question_id, question.question_id)
            for question in twins[:_EXAMPLES]
        ),
    )


def _found(
    first: Sequence[ChoiceQuestion], second: Sequence[ChoiceQuestion], key: Callable[[ChoiceQuestion], Hashable]
) -> int:
    known = _by_key(first, key)
    return sum(key(question) in known for question in second)


def _by_key(
    questions: Sequence[ChoiceQuestion], key: Callable[[ChoiceQuestion], Hashable]
) -> Mapping[Hashable, ChoiceQuestion]:
    return {key(question): question for question in reversed(questions)}


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def _prompt(question: ChoiceQuestion) -> tuple[str, ...]:
    return (_normalised(question.passage or ""), _normalised(question.question), question.image or "")


def _prompt_and_answer(question: ChoiceQuestion) -> tuple[str, ...]:
    return (*_prompt(question), _normalised(question.options[question.answer]))


def _whole(question: ChoiceQuestion) -> tuple[str, ...]:
    return (*_prompt_and_answer(question), *sorted(map(_normalised, question.options)))
