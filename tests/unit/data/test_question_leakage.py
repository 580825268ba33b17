import pytest

from bayesgrid.data.choice_questions import ChoiceQuestion, ChoiceQuestions
from bayesgrid.data.question_leakage import compare_questions, find_question_leaks, require_no_question_leaks
from bayesgrid.errors import DataError

FIRST = ChoiceQuestion("t0", "Which  is Red?", ("Blood", "grass"), 0)


def leak_of(second, first=FIRST):
    return compare_questions([first], [second], first_name="train", second_name="test")


@pytest.mark.parametrize(
    ("second", "counts"),
    [
        (ChoiceQuestion("s", "which is\nred?", ("grass", " blood "), 1), (1, 1, 1)),
        (ChoiceQuestion("s", "which is red?", ("sky", "blood"), 1), (0, 1, 1)),
        (ChoiceQuestion("s", "which is red?", ("blood", "grass"), 1), (0, 0, 1)),
        (ChoiceQuestion("s", "which is blue?", ("blood", "grass"), 0), (0, 0, 0)),
        (ChoiceQuestion("s", "which is red?", ("blood", "grass"), 0, passage="A text."), (0, 0, 0)),
        (ChoiceQuestion("s", "which is red?", ("blood", "grass"), 0, image="i.png"), (0, 0, 0)),
    ],
)
def test_a_question_comes_back_whole_with_its_answer_or_with_its_prompt_alone(second, counts):
    leak = leak_of(second)
    assert (leak.equal_questions, leak.equal_answers, leak.equal_prompts) == counts
    assert leak.clean == (counts[1] == 0)
    assert leak.examples == ((("t0", "s"),) if counts[1] else ())


def test_groups_count_once_and_their_questions_each():
    rows = [
        ChoiceQuestion(f"s{i}", f"{i}?", ("a", "b"), 0, group=group) for i, group in enumerate(["g", "g", "h", None])
    ]
    first = [ChoiceQuestion("t0", "?", ("a", "b"), 0, group="g"), ChoiceQuestion("t1", "!", ("a", "b"), 0)]
    leak = compare_questions(first, rows, first_name="train", second_name="test")
    assert (leak.shared_groups, leak.questions_of_shared_groups, leak.equal_prompts) == (1, 2, 0)
    assert not leak.clean


def test_every_two_splits_are_compared_and_a_leak_is_an_error():
    splits = {
        "test": (ChoiceQuestion("s0", "One?", ("a", "b"), 0),),
        "train": (ChoiceQuestion("t0", "Two?", ("a", "b"), 0),),
        "validation": (ChoiceQuestion("v0", "one? ", ("A", "c"), 0),),
    }
    report = find_question_leaks(ChoiceQuestions("quiz", "v1-0", ("A", "B"), "lettered_choices", splits))
    assert [(leak.first, leak.second, leak.equal_answers) for leak in report.leaks] == [
        ("train", "validation", 0),
        ("train", "test", 0),
        ("validation", "test", 1),
    ]
    with pytest.raises(DataError, match=r"'quiz'.*'validation' and 'test' leak.*1 questions.*v0 and s0"):
        require_no_question_leaks(report)
    with pytest.raises(DataError, match="no comparison"):
        report.between("test", "train")
